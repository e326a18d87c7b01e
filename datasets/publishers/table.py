"""Custom data: a CSV or Parquet file with one row per clip."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from operator import attrgetter
from pathlib import Path
from sys import intern
from typing import Literal

from datasets.index import build, list_files, parquet_rows
from datasets.index.clips import Index, SplitName
from datasets.publishers.common import HoldOutOptions
from datasets.publishers.table_files import RowFiles, TableFiles
from datasets.registry import DatasetError, expand
from datasets.store.settings import COUNT, LENGTH, Audio, Frames, Settings

SPLIT: dict[str, SplitName] = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
KINDS: dict[str, Literal["audio", "video"]] = {"audio": "audio", "visual": "video"}

Find = Callable[[tuple[str, ...], float, float | None], RowFiles | None]


@dataclass(frozen=True, slots=True)
class _Row(build.Row):
    """Row with its files, or None if any is missing."""

    files: RowFiles | None = None


@dataclass(frozen=True, kw_only=True)
class Table(HoldOutOptions):
    """Options of a table.

    Args:
        source: the table, a CSV file with a header row (commas, UTF-8) or a Parquet file; paths in it are absolute, or
            relative to its folder.
        allow_outside: whether files may lie outside the table's folder (absolute paths and `..`); links in the folder
            are always followed.
        video: column of videos with sound; if null, `audio`, `visual` or both are set instead.
        audio: column of audio files, or of videos whose sound track is used.
        visual: column of videos, of single pictures (JPEG, PNG, WebP, BMP or TIFF files), or of folders of pictures.
        label: column of class names.
        split: column of splits: train, validation (or val, valid, dev) or test.
        group: column of groups (a speaker, a video cut into clips) that are held out as a whole.
        id: column of unique ids; by default a clip's id is the path of its video or audio file in the table.
        begin: column of the second at which a clip begins, if clips are parts of files; of a folder of images, the part
            has its share, as long as the sound in `audio` lasts.
        end: column of the second at which a clip ends.
        classes: names of all classes; by default those in the table.
        validation_fraction: share of each class's training clips that is held out; required if no row has the split
            validation.
        sample_rate_hz: sample rate of the audio that the model sees, in Hz; audio files are resampled to it.
        seconds: length of the audio that the model sees of each clip, in seconds.
        n_fft: window length of the spectrogram, in samples.
        hop: step between windows of the spectrogram, in samples.
        feature: representation of the audio that the model sees.
        stored_seconds: maximum length of the audio stored of a clip, from its begin, in seconds.
    """

    name: Literal["table"] = "table"
    allow_outside: bool = False
    video: str | None = None
    audio: str | None = None
    visual: str | None = None
    label: str = "label"
    split: str = "split"
    group: str | None = None
    id: str | None = None
    begin: str | None = None
    end: str | None = None
    classes: tuple[str, ...] = ()
    sample_rate_hz: int = field(default=16000, metadata=COUNT)
    seconds: float = field(default=5.0, metadata=LENGTH)
    n_fft: int = field(default=256, metadata=COUNT)
    hop: int = field(default=128, metadata=COUNT)
    feature: Literal["log_spectrogram", "mel_filter_bank"] = "log_spectrogram"
    stored_seconds: float = field(default=10.0, metadata=LENGTH)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.video is None) == (self.audio is None and self.visual is None):
            raise ValueError("set either `video`, or `audio` or `visual` or both, to the columns of the files")

    def index(self) -> Index:
        """Return the table's clips with their files.

        Raises:
            DatasetError: if the table or a column is missing, rows are broken, no file is found, a label is not a
                class, or the splits do not match `validation_fraction`.
        """
        path = expand(self.source).absolute()
        columns = [self.label, self.split, *self._columns.values(), self.group, self.id, self.begin, self.end]
        wanted = list(dict.fromkeys(filter(None, columns)))
        read = parquet_rows.read_columns if parquet_rows.is_parquet(path) else list_files.read_columns
        kinds = {modality: KINDS[modality] for modality in self._columns}
        find = TableFiles(path.parent, kinds, allow_outside=self.allow_outside).find
        listed = read(path, wanted, partial(self._row, find))
        self._check_validation(path, {row.split for row in listed})
        classes = set(self.classes) or {row.label for row in listed}
        return self.gather(listed, attrgetter("files"), classes, path)

    @cached_property
    def _columns(self) -> dict[str, str]:
        """Column of paths of each modality."""
        columns = {"audio": self.video or self.audio, "visual": self.video or self.visual}
        return {modality: column for modality, column in columns.items() if column is not None}

    @cached_property
    def _needed(self) -> tuple[str, ...]:
        """Columns that must have a value in every row."""
        return tuple(dict.fromkeys(filter(None, (self.label, *self._columns.values(), self.id))))

    def _row(self, find: Find, row: Mapping[str, str]) -> _Row:
        """Return a row with its files."""
        self._check_cells(row)
        split = SPLIT.get(row[self.split].casefold())
        if split is None:
            raise ValueError(f"the split must be train, validation or test, but is {row[self.split]!r}")
        begin_s, end_s = self._part(row)
        found = find(tuple(row[column] for column in self._columns.values()), begin_s, end_s)
        group = _cell(row, self.group)
        group_ = intern(group) if group else None
        return _Row(self._id(row, begin_s), intern(row[self.label]), split, group_, begin_s, end_s, found)

    def _check_cells(self, row: Mapping[str, str]) -> None:
        empty = [column for column in self._needed if not row[column]]
        if empty:
            raise ValueError(f"no value in column {', '.join(empty)}")

    def _part(self, row: Mapping[str, str]) -> tuple[float, float | None]:
        """Return the seconds at which a clip begins and ends; an end of None is the end of its files."""
        begin = _cell(row, self.begin)
        begin_s = list_files.seconds(begin, "the begin") if begin else 0.0
        end = _cell(row, self.end)
        end_s = list_files.seconds(end, "the end") if end else None
        if end_s is not None and end_s <= begin_s:
            raise ValueError(f"the clip must begin before it ends, but its times are {begin_s:g} and {end_s:g}")
        return begin_s, end_s

    def _id(self, row: Mapping[str, str], begin_s: float) -> str:
        """Return a clip's id: its cell, else its file, with the begin if there is such a column."""
        if self.id:
            return row[self.id]
        file = row[self._columns.get("visual") or self._columns["audio"]]
        return f"{file}@{begin_s:g}" if self.begin else file

    def _check_validation(self, path: Path, splits: set[SplitName]) -> None:
        if "validation" in splits and self.validation_fraction is not None:
            raise DatasetError(
                f"{path}: some rows have the split validation, but `dataset.validation_fraction` also asks to hold out "
                f"clips; remove one of the two"
            )
        if "validation" not in splits and self.validation_fraction is None:
            raise DatasetError(
                f"{path}: no row has the split validation; set `dataset.validation_fraction` (for example 0.1) to hold "
                f"out part of the training clips"
            )

    def settings(self) -> Settings:
        """Return the settings of the modalities that have a column."""
        audio = Audio(
            sample_rate_hz=self.sample_rate_hz,
            seconds=self.seconds,
            n_fft=self.n_fft,
            hop=self.hop,
            stored_seconds=self.stored_seconds,
            feature=self.feature,
        )
        settings: dict[str, Audio | Frames] = {"audio": audio, "visual": self.images}
        return {modality: settings[modality] for modality in self._columns}


def _cell(row: Mapping[str, str], column: str | None) -> str:
    """Return a cell's text, empty if there is no such column."""
    return row[column] if column else ""
