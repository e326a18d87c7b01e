"""Custom data: a CSV or Parquet file with one row per clip."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from datasets.index import build, list_files
from datasets.index.clips import Index, Source, SplitName
from datasets.index.regular_file import open_regular
from datasets.publishers.common import HoldOutOptions
from datasets.registry import DatasetError
from datasets.store.settings import COUNT, LENGTH, Audio, Frames, Settings

SPLIT: dict[str, SplitName] = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
KINDS: dict[str, Literal["audio", "video"]] = {"audio": "audio", "visual": "video"}

Files = Mapping[str, Source]  # modality -> its source


@dataclass(frozen=True, kw_only=True)
class Table(HoldOutOptions):
    """Options of a table.

    Args:
        source: the table, `.csv` (with a header row) or `.parquet`; paths in it are absolute, or relative to its
            folder.
        allow_outside: whether files may lie outside the table's folder (absolute paths and `..`); links in the folder
            are always followed.
        video: column of videos with sound; if null, `audio`, `visual` or both are set instead.
        audio: column of audio files, or of videos whose sound track is used.
        visual: column of videos, of single pictures (JPEG or PNG files), or of folders of JPEG files.
        label: column of class names.
        split: column of splits: train, validation (or val, valid, dev) or test.
        group: column of groups (a speaker, a video cut into clips) that are held out as a whole.
        id: column of unique ids; by default a clip's id is the path of its video or audio file in the table.
        begin: column of the second at which a clip begins, if clips are parts of files.
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
        path = Path(self.source).expanduser().absolute()
        columns = [self.label, self.split, *self._columns.values(), self.group, self.id, self.begin, self.end]
        wanted = list(dict.fromkeys(filter(None, columns)))
        read = _read_parquet if path.suffix == ".parquet" else list_files.read_columns
        rows = read(path, wanted, partial(self._row, self._find_place(path.parent)))
        listed = [row for row, _ in rows]
        self._check_validation(path, {row.split for row in listed})
        files = {row.id: found for row, found in reversed(rows)}  # the first row of an id counts

        def find(row: build.Row) -> Files | None:
            sources = {modality: _resolve(source) for modality, source in files[row.id].items()}
            return sources if all(source.paths[0].exists() for source in sources.values()) else None

        return self.gather(listed, find, set(self.classes) or {row.label for row in listed}, path)

    @property
    def _columns(self) -> dict[str, str]:
        """Column of paths of each modality."""
        columns = {"audio": self.video or self.audio, "visual": self.video or self.visual}
        return {modality: column for modality, column in columns.items() if column is not None}

    def _find_place(self, folder: Path) -> Callable[[str], Path]:
        """Return a function from a cell to the path of its file."""
        if self.allow_outside:
            return folder.joinpath
        tops = {str(folder), str(folder.resolve())}  # either may be written in the table
        starts = tuple(top.rstrip("/") + "/" for top in tops)

        def place(cell: str) -> Path:
            path = os.path.normpath(folder / cell)
            if not path.startswith(starts):
                raise ValueError(
                    f"{cell} lies outside the table's folder; if you trust the table, set `dataset.allow_outside: true`"
                )
            return Path(path)

        return place

    def _row(self, place: Callable[[str], Path], row: Mapping[str, str]) -> tuple[build.Row, Files]:
        """Return a row with its files."""
        self._check_cells(row)
        split = SPLIT.get(row[self.split].casefold())
        if split is None:
            raise ValueError(f"the split must be train, validation or test, but is {row[self.split]!r}")
        begin_s, end_s = self._part(row)
        files = {
            modality: Source(KINDS[modality], (place(row[column]),), begin_s, end_s)
            for modality, column in self._columns.items()
        }
        group = _cell(row, self.group) or None
        return build.Row(self._id(row, begin_s), row[self.label], split, group, begin_s, end_s), files

    def _check_cells(self, row: Mapping[str, str]) -> None:
        needed = filter(None, (self.label, *self._columns.values(), self.id))
        empty = [column for column in dict.fromkeys(needed) if not row[column]]
        if empty:
            raise ValueError(f"no value in column {', '.join(empty)}")

    def _part(self, row: Mapping[str, str]) -> tuple[float, float | None]:
        """Return the seconds at which a clip begins and ends; an end of None is the end of its files."""
        begin_s = list_files.seconds(_cell(row, self.begin) or "0", "the begin")
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


def _read_parquet(
    path: Path, columns: list[str], parse: Callable[[Mapping[str, str]], tuple[build.Row, Files]]
) -> list[tuple[build.Row, Files]]:
    """Return `parse` of each row, whose values are text as in `list_files.read_columns`."""
    rows = [
        {column: "" if value is None else str(value).strip() for column, value in values.items()}
        for values in _parquet_rows(path, columns)
    ]
    if not rows:
        raise DatasetError(f"{path}: expected rows, but the file has none")
    return list_files.parse_rows(enumerate(rows, start=1), parse, lambda number, _: f"{path}, row {number}")


def _parquet_rows(path: Path, columns: list[str]) -> list[dict[str, Any]]:
    import pyarrow
    from pyarrow import parquet

    try:
        with open_regular(path) as file:
            names = parquet.read_schema(file).names
        absent = [column for column in columns if column not in names]
        if absent:
            raise DatasetError(f"{path}: expected the columns {', '.join(columns)}, but it lacks {', '.join(absent)}")
        rows: list[dict[str, Any]] = parquet.read_table(path, columns=columns).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise DatasetError(f"{path}: expected a Parquet file, but it cannot be read ({error})") from error
    return rows


def _resolve(source: Source) -> Source:
    """Return a source of images in place of a video whose path is a folder."""
    if source.kind == "video" and source.paths[0].is_dir():
        return Source("images", source.paths)
    return source
