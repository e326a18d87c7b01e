"""UCF101: 101 actions in videos of a few seconds (Soomro et al., 2012), with optical flow."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from datasets.index import build, list_files
from datasets.index.clips import Index, Source, SplitName
from datasets.index.one_file import one_file_each
from datasets.publishers.common import HoldOutOptions
from datasets.registry import expand
from datasets.store.settings import PART, Settings

ROWS = 13320  # of each of the three splits: 9,537 + 3,783, 9,586 + 3,734, 9,624 + 3,696
EXPECTED: dict[SplitName, str] = {"train": "Class/video.avi number", "test": "Class/video.avi"}
CELLS: dict[SplitName, int] = {"train": 2, "test": 1}  # cells of a row
VIDEO = re.compile(r"v_\w+_g(?P<group>\d+)_c\d+")


@dataclass(frozen=True, kw_only=True)
class UCF101(HoldOutOptions):
    """Options of UCF101.

    Args:
        source: folder with the lists and the videos, `UCF-101/{Class}/v_….avi`. Frames in `jpegs_256/{video}` replace
            those of the videos; flow in `tvl1_flow/u/{video}` and `tvl1_flow/v/{video}` replaces computed flow.
        split: number of the publisher's division into training and test.
        list_folder: folder with `classInd.txt`, `trainlist0N.txt` and `testlist0N.txt`; as for the next three, a path
            relative to `source`, or absolute.
        films: folder with the videos, directly in it or in subfolders; optional if frames and flow are given as JPEGs.
        pictures: folder with pictures (JPEG files, for example) that replace the frames of the videos; optional.
        flow: folder with pictures of flow; optional, without it flow is computed from the videos.
        frames: number of frames that the model sees of each clip, both of images and of flow.
        silence_dbfs: no effect, because the audio of these videos is not stored.
        validation_fraction: share of each class's training clips that is held out, in whole groups (videos cut from one
            recording).
        split_seed: seed that selects the training groups to hold out.
    """

    name: Literal["ucf101"] = "ucf101"
    split: Literal[1, 2, 3] = 1
    list_folder: str = "ucfTrainTestlist"
    films: str = "UCF-101"
    pictures: str = "jpegs_256"
    flow: str = "tvl1_flow"
    validation_fraction: float = field(default=0.1, metadata=PART)

    def index(self) -> Index:
        """Return the clips of the split's two lists with their images and flow."""
        source = build.folder(self.source, "UCF-101 and its lists")
        path = self._list(source, "classInd.txt")
        classes = list_files.read(path, _class, expected="a number and a class", separator=" ")
        rows = []
        for split, expected in EXPECTED.items():
            parse = partial(_row, split=split, numbers=dict(classes))
            path = self._list(source, f"{split}list0{self.split}.txt")
            rows += list_files.read(path, parse, expected=expected, separator=" ")
        files = _Files(source, self.films, self.pictures, self.flow)
        names = [name for _, name in classes]
        return files.add_notes(self.gather(rows, files.find, names, source, expected_rows=ROWS, hidden=files.hidden))

    def _list(self, source: Path, name: str) -> Path:
        return build.list_file(source / expand(self.list_folder), name, "list_folder")

    def settings(self) -> Settings:
        """Return settings for images and flow; most of the videos have no sound."""
        return {"visual": self.images, "flow": self.images}


class _Files:
    """Videos and folders by name, in lower case: `v_HandStandPushups_…` belongs to the class HandstandPushups."""

    def __init__(self, source: Path, videos: str, images: str, flow: str) -> None:
        top, given = (source / expand(name) for name in (videos, flow))
        self.hidden: set[str] = set()
        files, on_videos = one_file_each(
            build.walk(top, self.hidden, (".avi",)), lambda path: path.stem.casefold(), top
        )
        folders, on_images = _folders(source / expand(images))
        (u, on_u), (v, on_v) = _folders(given / "u"), _folders(given / "v")
        self.notes = [*on_videos, *on_images, *on_u, *on_v]
        self.visual = {name: Source("video", (path,)) for name, path in files.items()}
        self.visual |= {name: Source("images", (path,)) for name, path in folders.items()}
        self.flow = {name: Source("flow", (path,)) for name, path in files.items()}
        self.flow |= {name: Source("flow", (u[name], v[name])) for name in u.keys() & v.keys()}
        self.without_flow = 0

    def find(self, row: build.Row) -> dict[str, Source] | None:
        key = row.id.casefold()
        visual, flow = self.visual.get(key), self.flow.get(key)
        self.without_flow += flow is None and visual is not None
        return {"visual": visual, "flow": flow} if visual and flow else None

    def add_notes(self, index: Index) -> Index:
        """Return the index with notes on the files, and on where the flow comes from."""
        computed = sum(len(clip.sources["flow"].paths) == 1 for clip in index.clips)
        notes = [f"flow: {list_files.count(len(index.clips) - computed, 'clip')} from files, {computed:,} computed"]
        if self.without_flow:
            notes.append(
                f"clips missing because they have images, but neither flow (u and v) nor a video to compute it from: "
                f"{self.without_flow:,}"
            )
        return replace(index, notes=(*index.notes, *self.notes, *notes))


def _folders(top: Path) -> tuple[dict[str, Path], list[str]]:
    folders = sorted(path for path in top.iterdir() if path.is_dir()) if top.is_dir() else []
    return one_file_each(folders, lambda path: path.name.casefold(), top)


def _row(cells: list[str], split: SplitName, numbers: Mapping[int, str]) -> build.Row:
    """Return a row of a list; only the training list holds class numbers."""
    list_files.check_cells(cells, CELLS[split])
    folder, _, name = cells[0].rpartition("/")
    video = name.removesuffix(".avi")
    parts = VIDEO.fullmatch(video)
    if parts is None:
        raise ValueError(f"a video's name must look like v_Archery_g08_c01.avi, but is {name!r}")
    if folder not in numbers.values():
        raise ValueError(f"{folder!r} is not a class in classInd.txt")
    for cell in cells[1:]:
        if numbers.get(list_files.whole_number(cell, "the class")) != folder:
            raise ValueError(f"{cell} is not the number of {folder} in classInd.txt")
    return build.Row(video, folder, split, group=f"{folder}_g{parts['group']}")


def _class(cells: list[str]) -> tuple[int, str]:
    list_files.check_cells(cells, 2)
    return list_files.whole_number(cells[0], "the number"), cells[1]
