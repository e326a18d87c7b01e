"""Kinetics-Sounds: the classes of Kinetics-400 that are both seen and heard (Arandjelovic and Zisserman, 2017)."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from datasets.index import build, list_files
from datasets.index.clips import Index, SplitName
from datasets.publishers.common import HoldOutOptions
from datasets.registry import DatasetError
from datasets.store.settings import PART, Audio, Settings

CLASSES = (
    "blowing nose", "blowing out candles", "bowling", "chopping wood", "dribbling basketball", "laughing",
    "mowing lawn", "playing accordion", "playing bagpipes", "playing bass guitar", "playing clarinet", "playing drums",
    "playing guitar", "playing harmonica", "playing keyboard", "playing organ", "playing piano", "playing saxophone",
    "playing trombone", "playing trumpet", "playing violin", "playing xylophone", "ripping paper", "shoveling snow",
    "shuffling cards", "singing", "stomping grapes", "tap dancing", "tapping guitar", "tapping pen", "tickling",
)  # fmt: skip
COLUMNS = ("label", "youtube_id", "time_start")  # `time_end` and `split` are not used


@dataclass(frozen=True, kw_only=True)
class KineticsSounds(HoldOutOptions):
    """Options of Kinetics-Sounds.

    A list is a CSV file in one of two forms. Kinetics' own lists have a header with `label`, `youtube_id` and
    `time_start`; rows of other classes are skipped. The OGM-GE authors' lists have no header and rows of
    `{id}_{start},10,class`, where the class is a name, or a number from 0 in the sorted list of classes.

    Args:
        source: folder with the videos, `{id}_{start}_{end}.mp4`, directly in it or in subfolders.
        classes: names of at least two classes, as in Kinetics' lists.
        train_list: file that lists the training clips; as for the next two, a path relative to `source`, or absolute.
        validation_list: file that lists the validation clips; if null, part of the training clips is held out.
        test_list: file that lists the test clips; if null, there is no test split.
        validation_fraction: share of each class's training clips that is held out if there is no validation list.
    """

    name: Literal["kinetics_sounds"] = "kinetics_sounds"
    classes: tuple[str, ...] = CLASSES
    train_list: str = "train.csv"
    validation_list: str | None = "validate.csv"
    test_list: str | None = "test.csv"
    validation_fraction: float = field(default=0.1, metadata=PART)

    def mistakes(self) -> Iterator[str]:
        yield from super().mistakes()
        twice = sorted(name for name, times in Counter(self.classes).items() if times > 1)
        if twice or len(self.classes) < 2:
            yield f"`classes` must be two or more different names, but got {twice or list(self.classes)}"

    def index(self) -> Index:
        """Return the listed clips of the selected classes with their videos.

        Raises:
            DatasetError: if a list is missing, rows are broken, a class is in no list, no video is found, or a class
                has no clips.
        """
        source = build.folder(self.source, "Kinetics' videos and lists")
        classes = sorted(self.classes)
        listed = self._rows(source, classes)
        rows = [row for row in listed if row.label in self.classes]
        labels = {row.label for row in listed}
        _check_known(set(classes) - labels, labels.difference(classes), source)
        hidden: set[str] = set()
        find, notes = build.youtube_finder(source, 2, hidden)
        return self.gather(rows, find, classes, source, notes=notes, hidden=hidden)

    def _rows(self, source: Path, classes: Sequence[str]) -> list[build.Row]:
        """Return the rows of all lists, including those of other classes."""
        names: dict[SplitName, str | None] = {
            "train": self.train_list,
            "validation": self.validation_list,
            "test": self.test_list,
        }
        rows: list[build.Row] = []
        for split, name in names.items():
            if name is not None:
                rows += _read_list(build.list_file(source, name, f"{split}_list"), split, classes)
        return rows

    def hold_out_options(self) -> dict[str, Any]:
        options = super().hold_out_options()
        return options if self.validation_list is None else options | {"held_out_fraction": None}

    def settings(self) -> Settings:
        """Return settings for 128 mel bands at 16 kHz: 1,024 windows of 25 ms, one every 10 ms."""
        audio = Audio(sample_rate_hz=16000, seconds=10.24, n_fft=400, hop=160, feature="mel_filter_bank")
        return {"audio": audio, "visual": self.images}


def _read_list(path: Path, split: SplitName, classes: Sequence[str]) -> list[build.Row]:
    if list_files.is_header(list_files.first_cells(path), {"label", "youtube_id"}):
        return list_files.read_columns(path, COLUMNS, lambda row: _kinetics_row(row, split))
    return list_files.read(path, lambda cells: _authors_row(cells, split, classes), expected="id_start,10,class")


def _kinetics_row(row: Mapping[str, str], split: SplitName) -> build.Row:
    if not row["youtube_id"] or not row["label"]:
        raise ValueError("the id or the label is empty")
    start = list_files.whole_number(row["time_start"], "time_start")
    return build.Row(f"{row['youtube_id']}_{start:06d}", row["label"], split)


def _authors_row(cells: list[str], split: SplitName, classes: Sequence[str]) -> build.Row:
    list_files.check_cells(cells, 3, "; there is no header with `label` and `youtube_id` either")
    key = build.youtube_start(cells[0], 1)
    if key is None:
        raise ValueError(f"the first cell must look like ID_START, but is {cells[0]!r}")
    return build.Row(f"{key[0]}_{key[1]:06d}", _class_name(cells[2], classes), split)


def _class_name(cell: str, classes: Sequence[str]) -> str:
    """Return the class that a cell names, directly or by number."""
    if not (cell.isascii() and cell.isdigit()):
        return cell
    if int(cell) >= len(classes):
        raise ValueError(f"a class number must be below {len(classes)}, but is {cell}")
    return classes[int(cell)]


def _check_known(unknown: set[str], others: set[str], source: Path) -> None:
    if not unknown:
        return
    said = []
    for name in sorted(unknown):
        close = difflib.get_close_matches(name, others, n=1)
        said.append(f"{name!r}" + (f" (did you mean {close[0]!r}?)" if close else ""))
    raise DatasetError(
        f"{source}: every name in `dataset.classes` must occur in the lists, but they lack {', '.join(said)}"
    )
