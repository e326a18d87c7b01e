"""Parts of folders of images are cut in proportion, as long as the sound of the same clip lasts."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from datasets.index.clips import Source
from datasets.publishers.table import Table
from datasets.registry import DatasetError
from datasets.store.frames import frames
from datasets.store.optical_flow import flow
from datasets.store.prepare import prepare
from datasets.store.source_file import Unusable
from datasets.store.store import Store
from tests.support.films import jpegs, level, numbered, wav
from tests.support.tells import tells
from tests.support.tracks import Pictures, Sine, write_tracks

RATE, SECONDS = 16000, 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with 100 images and sounds of ten seconds."""
    tmp_path = tmp_path_factory.mktemp("parts")
    jpegs(tmp_path / "images", numbered(100, 16, 16))
    wave = 0.3 * np.sin(np.arange(SECONDS * RATE) * 0.2, dtype=np.float32)
    wav(tmp_path / "sound.wav", wave[None], RATE)
    write_tracks(tmp_path / "sound.mp4", (Pictures(), Sine(seconds=SECONDS)))
    write_tracks(tmp_path / "sound.mkv", (Sine("flac", seconds=SECONDS), Pictures()))
    write_tracks(tmp_path / "sound.mp3", (Sine("libmp3lame", 44100, seconds=SECONDS),))
    return tmp_path


def seen(folder: Path, begin: float, end: float | None, sound: str = "sound.wav", images: str = "images") -> list[int]:
    source = Source("images", (folder / images,), begin, end, folder / sound)
    return [level(jpeg) for jpeg in frames(source, 1000, 256, 90)]


@pytest.mark.parametrize("sound", ["sound.wav", "sound.mp4", "sound.mkv", "sound.mp3"])
@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [(0, 2, range(20)), (4, 6, range(40, 60)), (8, None, range(80, 100)), (9, 99, range(90, 100)), (3.31, 3.39, [33])],
)
def test_a_part_has_its_share_of_the_images(folder, sound, begin, end, expected):
    found = np.array(seen(folder, begin, end, sound))
    tolerance = 0 if sound == "sound.wav" else 1  # images of padding
    assert abs(len(found) - len(expected)) <= tolerance
    assert abs(found[0] - expected[0]) <= tolerance
    assert (np.diff(found) == 1).all()


def test_the_whole_folder_needs_no_sound(folder):
    assert len(frames(Source("images", (folder / "images",)), 1000, 256, 90)) == 100


def test_a_single_image_is_that_of_each_part(folder):
    jpegs(folder / "one", numbered(1))
    assert seen(folder, 4, 6, images="one") == [0]


def test_flow_images_are_cut_in_pairs(folder):
    for name in "uv":
        jpegs(folder / name, [np.full((16, 16), 2 * i, np.uint8) for i in range(100)])
    pairs = (folder / "u", folder / "v")
    whole = flow(Source("flow", pairs), 1000, 256, 90)
    assert flow(Source("flow", pairs, 4, 6, folder / "sound.wav"), 1000, 256, 90) == whole[80:120]


@pytest.mark.parametrize("begin", [10, 12])
def test_a_part_after_the_sounds_end_is_too_short(folder, begin):
    with pytest.raises(Unusable, match=r"^too short: ") as found:
        seen(folder, begin, begin + 1)
    tells(found.value, "10.0 s", f"{begin} s")


def test_a_part_whose_length_is_not_known_is_not_taken(folder):
    with pytest.raises(Unusable, match=r"^no length: "):
        frames(Source("images", (folder / "images",), 2, 4), 1000, 256, 90)


def table(folder: Path, **columns: str) -> Table:
    rows = [f"sound.wav,images,{'cat' if k % 2 else 'dog'},train,{2 * k},{2 * k + 2}" for k in range(5)]
    (folder / "clips.csv").write_text("\n".join(["sound,shown,label,split,from,to", *rows]))
    places = {"source": str(folder / "clips.csv"), "store": str(folder / "store")}
    return Table(**places, visual="shown", validation_fraction=0.3, stored_frames=20, **columns)


def test_the_clips_of_a_table_have_the_images_of_their_parts(folder):
    options = table(folder, audio="sound", begin="from", end="to")
    report = prepare("table", options.index(), options.settings(), folder / "store", parallel=map)
    assert (report.clips, report.quarantined) == (5, ())
    store = Store(folder / "store")
    found = [[level(blob) for blob in store.blobs(clip, "visual", range(20))] for clip in store.entries()]
    assert found == [list(range(20 * k, 20 * k + 20)) for k in range(5)]


def test_a_table_without_sounds_cannot_take_parts_of_folders(folder):
    with pytest.raises(DatasetError) as found:
        table(folder, begin="from", end="to", id="from").index()
    tells(found.value, "clips.csv", "line 2", "line 6", "`dataset.audio`", "`dataset.begin`", "`dataset.end`")
    assert re.search(r"\bpart of a folder\b", str(found.value))
    assert len(table(folder, id="from").index().clips) == 5  # whole folders
