"""Kinetics-Sounds: the classes of Kinetics-400 that can be both seen and heard (Arandjelovic and Zisserman, 2017)."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from datasets.index import build, list_files
from datasets.index.clips import Index, SplitName
from datasets.publishers import common
from datasets.registry import DatasetError
from datasets.store.settings import Audio, Frames, Settings

if TYPE_CHECKING:
    from datasets.loader.loader import StoreData

CLASSES = (
    "blowing nose", "blowing out candles", "bowling", "chopping wood", "dribbling basketball", "laughing",
    "mowing lawn", "playing accordion", "playing bagpipes", "playing bass guitar", "playing clarinet", "playing drums",
    "playing guitar", "playing harmonica", "playing keyboard", "playing organ", "playing piano", "playing saxophone",
    "playing trombone", "playing trumpet", "playing violin", "playing xylophone", "ripping paper", "shoveling snow",
    "shuffling cards", "singing", "stomping grapes", "tap dancing", "tapping guitar", "tapping pen", "tickling",
)  # fmt: skip
COLUMNS = ("label", "youtube_id", "time_start")  # and `time_end` and `split`, which nothing depends on


@dataclass(frozen=True, kw_only=True)
class KineticsSounds:
    """Options of Kinetics-Sounds.

    A list is either Kinetics' own csv (a header with `label`, `youtube_id` and `time_start`), of which the rows of
    other classes are left out, or one as the OGM-GE authors': no header, rows of `{id}_{start},10,class`, where the
    class is a name or a number from 0 in the sorted list of classes.

    Args:
        source: folder of the films, `{id}_{start}_{end}.mp4`, in it or in folders of it.
        store: folder of what `prepare` makes.
        classes: two or more, named as in Kinetics' lists.
        train_list: file that lists the training clips; from `source` where it is no whole path, as the next two.
        validation_list: file of the validation clips; without one part of the training clips is held out.
        test_list: file of the test clips; without one there is no test split.
        frames: how many the model sees of each clip.
        stored_frames: how many are kept of each clip, evenly spaced; at least `frames`.
        validation_fraction: share of the training clips of each class that is held out, where there is no validation
            list.
        max_quarantined: largest share of clips that may be unusable, from 0 to 1; with more, `prepare` fails.
        split_seed: which training clips are held out.
        allow_empty_classes: whether to go on where classes have no film at all.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "strict": True}

    name: Literal["kinetics_sounds"] = "kinetics_sounds"
    source: str
    store: str
    classes: tuple[str, ...] = CLASSES
    train_list: str = "train.csv"
    validation_list: str | None = "validate.csv"
    test_list: str | None = "test.csv"
    frames: int = 3
    stored_frames: int = 10
    validation_fraction: float = 0.1
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
        twice = sorted({c for c in self.classes if list(self.classes).count(c) > 1})
        if twice or len(self.classes) < 2:
            raise ValueError(f"`classes` must be two or more different names, but got {twice or list(self.classes)}")

    def index(self) -> Index:
        """The rows of the lists that are of our classes, and where their films are.

        Raises:
            DatasetError: no list, broken rows, a class that no list knows, no films, or a class without any.
        """
        source = build.folder(self.source, "Kinetics' films and lists")
        classes = sorted(self.classes)
        rows: list[build.Listed] = []
        others: set[str] = set()
        named: tuple[tuple[str | None, SplitName], ...] = (
            (self.train_list, "train"),
            (self.validation_list, "validation"),
            (self.test_list, "test"),
        )
        for name, split in named:
            if name is not None:
                path = build.list_file(source, name, f"{split}_list")
                for row in _rows(path, split, classes):
                    if row.label in self.classes:
                        rows.append(row)
                    else:
                        others.add(row.label)
        _refuse_unknown(set(classes) - {row.label for row in rows}, others, source)
        films = build.films(source, numbers=2)
        return build.gather(
            rows,
            lambda row: build.audiovisual(films.get(build.youtube_start(row.id, 1) or ("", 0))),
            classes=classes,
            where=source,
            allow_empty_classes=self.allow_empty_classes,
        )

    def settings(self) -> Settings:
        """16 kHz, 128 mel bands of 25 ms every 10 ms, 1,024 of them."""
        sound = Audio(sample_rate_hz=16000, seconds=10.24, n_fft=400, hop=160, feature="mel_filter_bank")
        return {"audio": sound, "visual": Frames(per_clip=self.stored_frames, count=self.frames)}

    def open(self) -> StoreData:
        """What `prepare` made.

        Raises:
            StoreError: not prepared, or damaged.
        """
        from datasets.loader.loader import open_store

        fraction = self.validation_fraction if self.validation_list is None else None
        return open_store(self.store, self.settings(), held_out_fraction=fraction, split_seed=self.split_seed)


def _rows(path: Path, split: SplitName, classes: Sequence[str]) -> list[build.Listed]:
    first = next((line for _, line in list_files.lines(path)), "")
    if list_files.is_header(first.split(","), {"label", "youtube_id"}):
        return list_files.read_columns(path, COLUMNS, lambda row: _kinetics(row, split))
    return list_files.read(path, lambda cells: _authors(cells, split, classes), expected="id_start,10,class")


def _kinetics(row: Mapping[str, str], split: SplitName) -> build.Listed:
    if not row["youtube_id"] or not row["label"]:
        raise ValueError("the id or the label is empty")
    start = list_files.whole_number(row["time_start"], "time_start")
    return build.Listed(f"{row['youtube_id']}_{start:06d}", row["label"], split)


def _authors(cells: list[str], split: SplitName, classes: Sequence[str]) -> build.Listed:
    if len(cells) != 3:
        raise ValueError(f"it has {list_files.count(len(cells), 'cell')}, and no first row names columns")
    key = build.youtube_start(cells[0], 1)
    if key is None:
        raise ValueError(f"the first cell must be an id, _ and a start, but is {cells[0]!r}")
    label = cells[2]
    if label.isascii() and label.isdigit():
        if int(label) >= len(classes):
            raise ValueError(f"a class must be a number below {len(classes)}, but is {label}")
        label = classes[int(label)]
    return build.Listed(f"{key[0]}_{key[1]:06d}", label, split)


def _refuse_unknown(unknown: set[str], others: set[str], source: Path) -> None:
    if not unknown:
        return
    said = []
    for name in sorted(unknown):
        close = difflib.get_close_matches(name, others, n=1)
        said.append(f"{name!r}" + (f" (did you mean {close[0]!r}?)" if close else ""))
    raise DatasetError(
        f"{source}: every name in `dataset.classes` must be in the lists, but they have no {', '.join(said)}"
    )
