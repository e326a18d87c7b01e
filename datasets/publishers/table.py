"""Data of one's own: a CSV or Parquet file with a clip a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from datasets.index import build, list_files
from datasets.index.clips import Index, Source, SplitName
from datasets.publishers.common import HoldOutOptions
from datasets.registry import DatasetError
from datasets.store.settings import COUNT, LENGTH, Audio, Frames, Settings

SPLIT: dict[str, SplitName] = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
KINDS: dict[str, Literal["audio", "video"]] = {"audio": "audio", "visual": "video"}

Files = Mapping[str, Source]  # modality -> where it is


@dataclass(frozen=True, kw_only=True)
class Table(HoldOutOptions):
    """Options of a table.

    Args:
        source: the file, `.csv` (its first row names the columns) or `.parquet`; paths in it go from its folder.
        video: the column of videos with sound; or else there are `audio` and `visual`, or one of them.
        audio: the column of audio files, or of videos for their sound track.
        visual: the column of videos, or of folders of JPEGs.
        label: the column of classes.
        split: the column of splits: train, validation (val, valid, dev) or test.
        group: the column of what a held-out part must not tear (a speaker, a video cut into clips).
        id: the column of names, unique to each clip; by default a clip is called as its video or audio file is in the
            table.
        begin: the column of the second at which a clip begins, where clips are parts of their files.
        end: the column of the second at which it ends.
        classes: names of all of them; none is those in the table.
        validation_fraction: share of the training clips that is held out, of each class; needed where no row's split is
            validation.
        sample_rate_hz: samples a second of the audio that the model sees; the files' is resampled to it.
        seconds: how much audio the model sees of each clip.
        n_fft: length of a spectrogram's window, in samples.
        hop: step from window to window, in samples.
        feature: what is made of the audio for the model to see.
        stored_seconds: longest audio that is kept of a clip, from its begin.
    """

    name: Literal["table"] = "table"
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
            raise ValueError("either `video` or `audio` and `visual` must name the columns of files")

    def index(self) -> Index:
        """The table's rows, and where their files are.

        Raises:
            DatasetError: no table or column, broken rows, no files, a label that is no class, or splits that are not
                as `validation_fraction` says.
        """
        path = Path(self.source).expanduser().absolute()
        columns = [self.label, self.split, *self._columns.values(), self.group, self.id, self.begin, self.end]
        wanted = list(dict.fromkeys(filter(None, columns)))
        read = _read_parquet if path.suffix == ".parquet" else list_files.read_columns
        rows = read(path, wanted, self._row)
        listed = [row for row, _ in rows]
        self._check_validation(path, {row.split for row in listed})
        files = {row.id: found for row, found in reversed(rows)}  # of an id that is listed again, its first

        def find(row: build.Row) -> Files | None:
            sources = {modality: _resolve(path.parent, source) for modality, source in files[row.id].items()}
            return sources if all(source.paths[0].exists() for source in sources.values()) else None

        return self.gather(listed, find, set(self.classes) or {row.label for row in listed}, path)

    @property
    def _columns(self) -> dict[str, str]:
        """Modality -> the column of its paths."""
        columns = {"audio": self.video or self.audio, "visual": self.video or self.visual}
        return {modality: column for modality, column in columns.items() if column is not None}

    def _row(self, row: Mapping[str, str]) -> tuple[build.Row, Files]:
        """A row, and its files with the paths as they are written."""
        self._check_cells(row)
        split = SPLIT.get(row[self.split].casefold())
        if split is None:
            raise ValueError(f"the split must be train, validation or test, but is {row[self.split]!r}")
        begin_s, end_s = self._part(row)
        files = {
            modality: Source(KINDS[modality], (Path(row[column]),), begin_s, end_s)
            for modality, column in self._columns.items()
        }
        group = _cell(row, self.group) or None
        return build.Row(self._id(row, begin_s), row[self.label], split, group, begin_s, end_s), files

    def _check_cells(self, row: Mapping[str, str]) -> None:
        needed = filter(None, (self.label, *self._columns.values(), self.id))
        empty = [column for column in dict.fromkeys(needed) if not row[column]]
        if empty:
            raise ValueError(f"nothing in the column {', '.join(empty)}")

    def _part(self, row: Mapping[str, str]) -> tuple[float, float | None]:
        """The seconds at which a clip begins and ends; None is the end of its files."""
        begin_s = list_files.seconds(_cell(row, self.begin) or "0", "the begin")
        end = _cell(row, self.end)
        end_s = list_files.seconds(end, "the end") if end else None
        if end_s is not None and end_s <= begin_s:
            raise ValueError(f"the clip must begin before it ends, but it has {begin_s:g} and {end_s:g}")
        return begin_s, end_s

    def _id(self, row: Mapping[str, str], begin_s: float) -> str:
        """What a clip is called: its name, else its file, with the begin where there is such a column."""
        if self.id:
            return row[self.id]
        file = row[self._columns.get("visual") or self._columns["audio"]]
        return f"{file}@{begin_s:g}" if self.begin else file

    def _check_validation(self, path: Path, splits: set[SplitName]) -> None:
        if "validation" in splits and self.validation_fraction is not None:
            raise DatasetError(
                f"{path}: it has rows of the split validation, and `dataset.validation_fraction` asks to hold out "
                f"others; leave one of the two"
            )
        if "validation" not in splits and self.validation_fraction is None:
            raise DatasetError(
                f"{path}: no row's split is validation; set `dataset.validation_fraction` (0.1, say) to hold a part of "
                f"the training clips out"
            )

    def settings(self) -> Settings:
        """Of the modalities that have a column."""
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
    """Nothing where there is no such column."""
    return row[column] if column else ""


def _read_parquet(
    path: Path, columns: list[str], parse: Callable[[Mapping[str, str]], tuple[build.Row, Files]]
) -> list[tuple[build.Row, Files]]:
    """`parse` of each row's texts, as `list_files.read_columns` has them."""
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
        names = parquet.read_schema(path).names
        absent = [column for column in columns if column not in names]
        if absent:
            raise DatasetError(f"{path}: expected the columns {', '.join(columns)}, but it has no {', '.join(absent)}")
        rows: list[dict[str, Any]] = parquet.read_table(path, columns=columns).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise DatasetError(f"{path}: expected a Parquet file, but it cannot be read ({error})") from error
    return rows


def _resolve(folder: Path, source: Source) -> Source:
    """A source with its path from the table's folder; a folder is one of images."""
    path = folder / source.paths[0].expanduser()
    if source.kind == "video" and path.is_dir():
        return Source("images", (path,))
    return Source(source.kind, (path,), source.begin_s, source.end_s)
