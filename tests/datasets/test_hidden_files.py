"""Hidden files and those of operating systems are skipped in every folder, and counted in a note."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from datasets.index.build import walk
from datasets.index.clips import Clip, Index, Source
from datasets.index.hidden import is_hidden
from datasets.registry import BUILT_IN, find
from datasets.store.prepare import prepare
from datasets.store.settings import Frames, Limits
from datasets.store.store import Manifest
from tests.support import media_trees
from tests.support.films import jpegs, moving
from tests.support.tells import tells

APPLE_DOUBLE = bytes.fromhex("00051607000200004d6163204f5320582020202020202020") + bytes(4000)
LEFT = (".DS_Store", "Thumbs.db", "desktop.ini", ".hidden.jpg", "__MACOSX")
FOLDERS_OF_CLIPS = {"cremad": "VideoFlash", "vggsound": ".", "ave": "AVE", "kinetics_sounds": ".", "ucf101": "UCF-101"}


def leave(folder: Path) -> int:
    """Write what macOS and Windows leave in a folder; return the number of names."""
    for file in [f for f in folder.iterdir() if f.is_file()]:
        (folder / f"._{file.name}").write_bytes(APPLE_DOUBLE)
    for name in LEFT[:-1]:
        (folder / name).write_bytes(APPLE_DOUBLE)
    shutil.copytree(folder, folder / LEFT[-1])  # as when an archive is unpacked: with the names of the files
    return sum(f.name.startswith(".") or f.name in LEFT for f in folder.iterdir())


@pytest.mark.parametrize("name", FOLDERS_OF_CLIPS)
def test_hidden_files_beside_a_publishers_are_skipped_and_counted(tmp_path, name):
    options = find(name)(**getattr(media_trees, name)(tmp_path))
    before = options.index()
    top = Path(options.source) / FOLDERS_OF_CLIPS[name]
    left = leave(next((f for f in sorted(top.iterdir()) if name == "ucf101"), top))
    (top / ".gitattributes").write_text("*.mp4 filter=lfs\n")
    index = options.index()
    assert index.clips == before.clips
    (note,) = set(index.notes) - set(before.notes)
    tells(note, f"hidden files are skipped: {left} files (")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("._a.jpg", True), (".Spotlight-V100", True), (".nfs0001", True), ("Thumbs.db", True), ("THUMBS.DB", True),
        ("Desktop.ini", True), ("__MACOSX", True), ("@eaDir", True), ("#recycle", True), ("lost+found", True),
        ("_a.jpg", False), ("a..jpg", False), ("thumbs.db.jpg", False), ("macosx", False), ("~take1.mp4", False),
    ],
)  # fmt: skip
def test_names_that_are_hidden(name, expected):
    assert is_hidden(name) == expected


def test_a_hidden_folder_that_is_named_by_the_user_is_searched(tmp_path):
    top = tmp_path / ".data"
    top.mkdir()
    (top / "a.mp4").touch()
    assert [*walk(top, set())] == [top / "a.mp4"]


def test_each_publisher_is_tried():
    assert FOLDERS_OF_CLIPS.keys() == BUILT_IN.keys() - {"digits", "table"}


def test_hidden_files_among_pictures_are_skipped_and_counted_in_a_note(tmp_path):
    paths = [jpegs(tmp_path / f"clip{i}", moving(4, 32, 48, seed=i)) for i in range(3)]
    flows = [
        [jpegs(tmp_path / f"{axis}{i}", [p[..., 0] for p in moving(4, 32, 48)]) for axis in "uv"] for i in range(3)
    ]
    sources = [
        {"visual": Source("images", (p,)), "flow": Source("flow", tuple(f))} for p, f in zip(paths, flows, strict=True)
    ]
    index = Index(("x",), tuple(Clip(f"clip{i}", "x", "train", None, s) for i, s in enumerate(sources)))
    settings = {"visual": Frames(per_clip=4), "flow": Frames(per_clip=4)}

    def run(folder: Path):
        return prepare("pictures", index, settings, folder, parallel=map, limits=Limits(max_quarantined=1.0))

    plain = run(tmp_path / "plain")
    leave(paths[0])
    left = leave(flows[1][0])
    leave(flows[1][1])
    (paths[2] / "Thumbs.db").write_bytes(APPLE_DOUBLE)
    report = run(tmp_path / "store")
    assert (plain.clips, plain.notes, report.clips, report.quarantined) == (3, (), 3, ())
    (note,) = report.notes
    tells(note, f"hidden files are skipped in 3 clips, e.g. clip0: {left} files (", ".DS_Store")
    stores = [Manifest.read(tmp_path / name)[0] for name in ("plain", "store")]
    assert stores[0].shards[0].sha256 == stores[1].shards[0].sha256
    assert stores[1].notes == (note,)


def test_a_folder_of_hidden_files_has_no_picture(tmp_path):
    folder = jpegs(tmp_path / "a", [np.zeros((32, 32), np.uint8)])
    leave(folder)
    (folder / "frame000001.jpg").unlink()
    index = Index(("x",), (Clip("a", "x", "train", None, {"visual": Source("images", (folder,))}),))
    limits, settings = Limits(max_quarantined=1.0), {"visual": Frames(per_clip=1)}
    report = prepare("pictures", index, settings, tmp_path / "store", parallel=map, limits=limits)
    assert report.quarantined[0][1] == "no picture: the folder has no JPEG or PNG files"
    (folder / ".DS_Store").write_bytes(b"changed")  # concerns no picture
    again = prepare("pictures", index, settings, tmp_path / "store", parallel=map, limits=limits)
    assert again.skipped_shards == 1
