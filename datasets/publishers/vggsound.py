"""VGGSound: ten-second films of 309 sounds (Chen et al., ICASSP 2020), as its csv and its mirrors give them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from datasets.index import build, list_files
from datasets.index.clips import Index, SplitName
from datasets.publishers import common
from datasets.store.settings import Audio, Frames, Settings

if TYPE_CHECKING:
    from datasets.loader.loader import StoreData

ROWS = 199_467  # of vggsound.csv as its authors give it; about 197,957 of the films are in a usual mirror
CLASSES = 309
SPLIT: dict[str, SplitName] = {"train": "train", "test": "test"}
HEADER = {"youtube id", "youtube_id", "ytid", "start seconds", "start", "train/test split"}


@dataclass(frozen=True, kw_only=True)
class VGGSound:
    """Options of VGGSound.

    Args:
        source: folder of the films, `{id}_{start}.mp4`, in it or in folders of it, with the start padded or not.
        store: folder of what `prepare` makes.
        csv: the list of id, start, label and split; from `source` where it is no whole path.
        frames: how many the model sees of each clip.
        stored_frames: how many are kept of each clip, evenly spaced; at least `frames`.
        validation_fraction: share of the training clips that is held out, of each class.
        max_quarantined: largest share of clips that may be unusable, from 0 to 1; with more, `prepare` fails.
        split_seed: which training clips are held out.
        allow_empty_classes: whether to go on where classes have no film at all.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "strict": True}

    name: Literal["vggsound"] = "vggsound"
    source: str
    store: str
    csv: str = "vggsound.csv"
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

    def index(self) -> Index:
        """The rows of the csv, and where their films are.

        Raises:
            DatasetError: no list, broken rows, no films, or a class without any.
        """
        source = build.folder(self.source, "VGGSound's films and vggsound.csv")
        rows = list_files.read(
            build.list_file(source, self.csv, "csv"), _row, expected="id,start,label,train|test", header=HEADER
        )
        films = build.films(source, numbers=1)
        classes = {row.label for row in rows}
        notes = [f"the list names {len(classes)} classes, of {CLASSES}"] if len(classes) != CLASSES else []
        return build.gather(
            rows,
            lambda row: build.audiovisual(films.get(build.youtube_start(row.id, 1) or ("", 0))),
            classes=classes,
            where=source,
            expected_rows=ROWS,
            notes=notes,
            allow_empty_classes=self.allow_empty_classes,
        )

    def settings(self) -> Settings:
        """16 kHz, five seconds of sound: log spectrograms of 129 x 626."""
        return {
            "audio": Audio(sample_rate_hz=16000, seconds=5.0, n_fft=256, hop=128),
            "visual": Frames(per_clip=self.stored_frames, count=self.frames),
        }

    def open(self) -> StoreData:
        """What `prepare` made.

        Raises:
            StoreError: not prepared, or damaged.
        """
        from datasets.loader.loader import open_store

        return open_store(
            self.store, self.settings(), held_out_fraction=self.validation_fraction, split_seed=self.split_seed
        )


def _row(cells: list[str]) -> build.Listed:
    if len(cells) != 4:
        raise ValueError(f"it has {list_files.count(len(cells), 'cell')}; a label with a comma must be quoted")
    name, start, label, split = cells
    if not name or not label:
        raise ValueError("the id or the label is empty")
    if split not in SPLIT:
        raise ValueError(f"the split must be train or test, but is {split!r}")
    return build.Listed(f"{name}_{list_files.whole_number(start, 'the start'):06d}", label, SPLIT[split])
