"""The options that all data sets of videos have, and what follows from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from datasets.index import build
from datasets.index.clips import Index, Source
from datasets.store.settings import COUNT, PART, SHARE, Frames, Settings, out_of_bounds

if TYPE_CHECKING:
    from datasets.loader.loader import StoreData

Finder = Callable[[build.Row], Mapping[str, Source] | None]  # gives a row's files, where they are there


@dataclass(frozen=True, kw_only=True)
class VideoOptions(ABC):
    """Options of every data set of videos. A data set adds its own, and documents anew what means something else.

    Args:
        source: folder of the publisher's files.
        store: folder of what `prepare` makes.
        frames: how many the model sees of each clip.
        stored_frames: how many are kept of each clip, evenly spaced; at least `frames`.
        max_quarantined: largest share of clips that may be unusable, from 0 to 1; with more, `prepare` fails.
        allow_empty_classes: whether to go on where classes have no clip at all.

    Raises:
        ValueError: names every option that is wrong.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "strict": True}

    name: str
    source: str
    store: str
    frames: int = field(default=3, metadata=COUNT)
    stored_frames: int = field(default=10, metadata=COUNT)
    max_quarantined: float = field(default=0.05, metadata=SHARE)
    allow_empty_classes: bool = False

    def __post_init__(self) -> None:
        mistakes = "; ".join(self.mistakes())
        if mistakes:
            raise ValueError(mistakes)
        self.settings()  # checks the numbers that it is made of

    def mistakes(self) -> Iterator[str]:
        """A sentence for each wrong option; it begins with the option's name."""
        if 1 <= self.stored_frames < self.frames:
            yield f"`stored_frames` must be at least `frames`, but got {self.stored_frames} < {self.frames}"
        yield from out_of_bounds(self)

    @abstractmethod
    def index(self) -> Index:
        """The clips of the publisher's lists, and where their files are.

        Raises:
            DatasetError: no list, broken rows, no videos, or a class without any.
        """

    @abstractmethod
    def settings(self) -> Settings:
        """Modality -> how it is stored and shown."""

    @property
    def images(self) -> Frames:
        """How frames are stored and shown."""
        return Frames(per_clip=self.stored_frames, count=self.frames)

    def hold_out_options(self) -> dict[str, Any]:
        """What `open_store` is to know of a part that is held out for validation."""
        return {"held_out_fraction": None}

    def gather(
        self, rows: Sequence[build.Row], find: Finder, classes: Collection[str], where: Path, **known: Any
    ) -> Index:
        """`datasets.index.build.gather`, with classes that may be empty where the options say so."""
        allowed = self.allow_empty_classes
        return build.gather(rows, find, classes=classes, where=where, allow_empty_classes=allowed, **known)

    def open(self) -> StoreData:
        """What `prepare` made.

        Raises:
            StoreError: not prepared, or damaged.
        """
        from datasets.loader.loader import open_store

        return open_store(self.store, self.settings(), **self.hold_out_options())


@dataclass(frozen=True, kw_only=True)
class HoldOutOptions(VideoOptions):
    """Options where a part of the training clips is held out for validation.

    Args:
        validation_fraction: share of the training clips that is held out, of each class.
        split_seed: which training clips are held out.
    """

    validation_fraction: float | None = field(default=None, metadata=PART)
    split_seed: int = 0

    def hold_out_options(self) -> dict[str, Any]:
        return {"held_out_fraction": self.validation_fraction, "split_seed": self.split_seed}
