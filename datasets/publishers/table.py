"""Data of one's own: a CSV or Parquet file with a clip a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from datasets.index import build, list_files
from datasets.index.clips import Index, Source, SplitName
from datasets.publishers import common
from datasets.registry import DatasetError
from datasets.store.settings import Audio, Frames, Settings

if TYPE_CHECKING:
    from datasets.loader.loader import StoreData

SPLIT: dict[str, SplitName] = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Table:
    """Options of a table.

    Args:
        source: the file, `.csv` (its first row names the columns) or `.parquet`; paths in it go from its folder.
        store: folder of what `prepare` makes.
        video: the column of films with sound; or else there are `audio` and `visual`, or one of them.
        audio: the column of sounds, or of films for their sound track.
        visual: the column of films, or of folders of JPEGs.
        label: the column of classes.
        split: the column of splits: train, validation (val, valid, dev) or test.
        group: the column of what a held-out part must not tear (a speaker, a film cut into clips).
        id: the column of names, unique to each clip; by default a clip is called as its film or sound is in the table.
        begin: the column of the second at which a clip begins, where clips are parts of their files.
        end: the column of the second at which it ends.
        classes: names of all of them; none is those in the table.
        validation_fraction: share of the training clips that is held out, of each class; needed where no row's split is
            validation.
        frames: how many the model sees of each clip.
        stored_frames: how many are kept of each clip, evenly spaced; at least `frames`.
        sample_rate_hz: samples a second of the sound that the model sees; the files' is resampled to it.
        seconds: how much sound the model sees of each clip.
        n_fft: length of a spectrogram's window, in samples.
        hop: step from window to window, in samples.
        feature: what is made of the sound for the model to see.
        stored_seconds: longest sound that is kept of a clip, from its begin.
        max_quarantined: largest share of clips that may be unusable, from 0 to 1; with more, `prepare` fails.
        split_seed: which training clips are held out.
        allow_empty_classes: whether to go on where classes have no clip at all.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "strict": True}

    name: Literal["table"] = "table"
    source: str
    store: str
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
    validation_fraction: float | None = None
    frames: int = 3
    stored_frames: int = 10
    sample_rate_hz: int = 16000
    seconds: float = 5.0
    n_fft: int = 256
    hop: int = 128
    feature: Literal["log_spectrogram", "mel_filter_bank"] = "log_spectrogram"
    stored_seconds: float = 10.0
    max_quarantined: float = 0.05
    split_seed: int = 0
    allow_empty_classes: bool = False

    def __post_init__(self) -> None:
        common.refuse(
            frames=self.frames,
            stored_frames=self.stored_frames,
            max_quarantined=self.max_quarantined,
            validation_fraction=self.validation_fraction,
        )
        self.settings()
        if (self.video is None) == (self.audio is None and self.visual is None):
            raise ValueError("either `video` or `audio` and `visual` must name the columns of files")

    def index(self) -> Index:
        """The table's rows, and where their files are.

        Raises:
            DatasetError: no table or column, broken rows, no files, a label that is no class, or splits that are not
                as `validation_fraction` says.
        """
        path = Path(self.source).expanduser().absolute()
        wanted = list(dict.fromkeys([self.label, self.split, *self._columns.values(), *self._optional]))
        if path.suffix == ".parquet":
            rows = self._parquet(path, wanted)
        else:
            rows = list_files.read_columns(path, wanted, self._row)
        listed = [row for row, _ in rows]
        self._check_validation(path, {row.split for row in listed})
        sources: dict[str, Mapping[str, Source]] = {}
        for row, files in rows:
            sources.setdefault(row.id, files)

        def find(row: build.Listed) -> Mapping[str, Source] | None:
            whole = {name: _place(path.parent, source) for name, source in sources[row.id].items()}
            return whole if all(source.paths[0].exists() for source in whole.values()) else None

        return build.gather(
            listed,
            find,
            classes=set(self.classes) or {row.label for row in listed},
            where=path,
            allow_empty_classes=self.allow_empty_classes,
        )

    @property
    def _columns(self) -> dict[str, str]:
        """Modality -> the column of its paths."""
        named = {"audio": self.video or self.audio, "visual": self.video or self.visual}
        return {modality: column for modality, column in named.items() if column is not None}

    @property
    def _optional(self) -> list[str]:
        return [column for column in (self.group, self.id, self.begin, self.end) if column is not None]

    def _row(self, row: Mapping[str, str]) -> tuple[build.Listed, dict[str, Source]]:
        """A row, and its files with the paths as they are written."""
        empty = [c for c in (self.label, *self._columns.values(), *([self.id] if self.id else [])) if not row[c]]
        if empty:
            raise ValueError(f"nothing in the column {', '.join(dict.fromkeys(empty))}")
        split = SPLIT.get(row[self.split].casefold())
        if split is None:
            raise ValueError(f"the split must be train, validation or test, but is {row[self.split]!r}")
        begin = row[self.begin] if self.begin else ""
        end = row[self.end] if self.end else ""
        begin_s = list_files.seconds(begin, "the begin") if begin else 0.0
        end_s = list_files.seconds(end, "the end") if end else None
        if end_s is not None and end_s <= begin_s:
            raise ValueError(f"the clip must begin before it ends, but it has {begin_s:g} and {end_s:g}")
        part = f"@{begin_s:g}" if self.begin else ""
        first = row[self._columns.get("visual") or self._columns["audio"]]
        id_ = row[self.id] if self.id else f"{first}{part}"
        group = row[self.group] or None if self.group else None
        files = {
            modality: Source("audio" if modality == "audio" else "video", (Path(row[column]),), begin_s, end_s)
            for modality, column in self._columns.items()
        }
        return build.Listed(id_, row[self.label], split, group, begin_s, end_s), files

    def _parquet(self, path: Path, wanted: list[str]) -> list[tuple[build.Listed, dict[str, Source]]]:
        import pyarrow
        from pyarrow import parquet

        try:
            names = parquet.read_schema(path).names
            absent = [c for c in dict.fromkeys(wanted) if c not in names]
            if absent:
                raise DatasetError(
                    f"{path}: expected the columns {', '.join(wanted)}, but it has no {', '.join(absent)}"
                )
            rows = parquet.read_table(path, columns=list(dict.fromkeys(wanted))).to_pylist()
        except (OSError, pyarrow.ArrowException) as error:
            raise DatasetError(f"{path}: expected a Parquet file, but it cannot be read ({error})") from error
        found, broken = [], []
        for number, values in enumerate(rows, start=1):
            try:
                found.append(self._row({c: "" if v is None else str(v).strip() for c, v in values.items()}))
            except ValueError as error:
                broken.append(f"{path}, row {number}: {error}")
        list_files.refuse_broken(broken)
        if not found:
            raise DatasetError(f"{path}: expected rows, but the file has none")
        return found

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
        sound = Audio(
            sample_rate_hz=self.sample_rate_hz,
            seconds=self.seconds,
            n_fft=self.n_fft,
            hop=self.hop,
            stored_seconds=self.stored_seconds,
            feature=self.feature,
        )
        how: dict[str, Audio | Frames] = {
            "audio": sound,
            "visual": Frames(per_clip=self.stored_frames, count=self.frames),
        }
        return {modality: how[modality] for modality in self._columns}

    def open(self) -> StoreData:
        """What `prepare` made.

        Raises:
            StoreError: not prepared, or damaged.
        """
        from datasets.loader.loader import open_store

        return open_store(
            self.store, self.settings(), held_out_fraction=self.validation_fraction, split_seed=self.split_seed
        )


def _place(folder: Path, source: Source) -> Source:
    """A source with its path from the table's folder; a folder is one of pictures."""
    path = folder / source.paths[0].expanduser()
    if source.kind == "video" and path.is_dir():
        return Source("images", (path,))
    return Source(source.kind, (path,), source.begin_s, source.end_s)
