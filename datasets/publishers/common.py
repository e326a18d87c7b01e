"""Options shared by all data sets of videos."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from datasets.index import build
from datasets.index.clips import Index, Source
from datasets.registry import Location
from datasets.store.settings import (
    COUNT,
    DEFAULT_LIMITS,
    LENGTH,
    LEVEL,
    PART,
    SHARE,
    Frames,
    Limits,
    Settings,
    out_of_bounds,
)

if TYPE_CHECKING:
    from datasets.loader.loader import StoreData

RowT = TypeVar("RowT", bound=build.Row)
Finder = Callable[[RowT], Mapping[str, Source] | None]  # row -> its files, or None if any is missing


@dataclass(frozen=True, kw_only=True)
class VideoOptions(ABC):
    """Options of every data set of videos. A data set adds its own and documents those that mean something else.

    Args:
        source: folder of the publisher's files.
        store: folder or URI of the store that `prepare` creates.
        frames: number of frames that the model sees of each clip.
        stored_frames: number of frames stored of each clip, evenly spaced; at least `frames`.
        max_quarantined: largest share of clips that may be unusable, from 0 to 1; if more are, `prepare` fails.
        max_megapixels: largest size of an image or a video frame, in millions of pixels; clips with larger ones are
            quarantined.
        clip_timeout_s: longest time that `prepare` may take to decode one clip, in seconds; slower clips are
            quarantined.
        silence_dbfs: highest peak level at which the audio of a clip counts as silent, in dB relative to full scale;
            silent clips are quarantined, or none if null.
        allow_empty_classes: whether to continue if a class has no clips.

    Raises:
        ValueError: if options are invalid; the message names all of them.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "strict": True}

    name: str
    source: Location
    store: Location
    frames: int = field(default=3, metadata=COUNT)
    stored_frames: int = field(default=10, metadata=COUNT)
    max_quarantined: float = field(default=DEFAULT_LIMITS.max_quarantined, metadata=SHARE)
    max_megapixels: float = field(default=DEFAULT_LIMITS.max_megapixels, metadata=LENGTH)
    clip_timeout_s: float = field(default=DEFAULT_LIMITS.clip_timeout_s, metadata=LENGTH)
    silence_dbfs: float | None = field(default=DEFAULT_LIMITS.silence_dbfs, metadata=LEVEL)
    allow_empty_classes: bool = False

    def __post_init__(self) -> None:
        mistakes = "; ".join(self.mistakes())
        if mistakes:
            raise ValueError(mistakes)
        self.settings()  # checks its numbers

    def mistakes(self) -> Iterator[str]:
        """Yield a sentence for each invalid option, which begins with the option's name."""
        if 1 <= self.stored_frames < self.frames:
            yield f"`stored_frames` must be at least `frames`, but got {self.stored_frames} < {self.frames}"
        yield from out_of_bounds(self)

    @abstractmethod
    def index(self) -> Index:
        """Return the clips of the publisher's lists with their files.

        Raises:
            DatasetError: if a list is missing, rows are broken, no video is found, or a class has no clips.
        """

    @abstractmethod
    def settings(self) -> Settings:
        """Return how each modality is stored and shown."""

    @property
    def limits(self) -> Limits:
        """Limits of the preparation."""
        return Limits(self.max_megapixels, self.clip_timeout_s, self.max_quarantined, self.silence_dbfs)

    @property
    def images(self) -> Frames:
        """Storage and view of the frames."""
        return Frames(per_clip=self.stored_frames, count=self.frames)

    def hold_out_options(self) -> dict[str, Any]:
        """Return the arguments of `open_store` that say which clips are held out for validation."""
        return {"held_out_fraction": None}

    def gather(
        self, rows: Sequence[RowT], find: Finder[RowT], classes: Collection[str], where: Path, **known: Any
    ) -> Index:
        """Call `datasets.index.build.gather` with this data set's `allow_empty_classes`."""
        allowed = self.allow_empty_classes
        return build.gather(rows, find, classes=classes, where=where, allow_empty_classes=allowed, **known)

    def open(self) -> StoreData:
        """Open the store that `prepare` created.

        Raises:
            StoreError: if the data are not prepared, or the store is corrupt.
        """
        from datasets.loader.loader import open_store

        return open_store(self.store, self.settings(), **self.hold_out_options())


@dataclass(frozen=True, kw_only=True)
class HoldOutOptions(VideoOptions):
    """Options of data sets that hold out part of the training clips for validation.

    Args:
        validation_fraction: share of each class's training clips that is held out.
        split_seed: seed that selects the training clips to hold out.
    """

    validation_fraction: float | None = field(default=None, metadata=PART)
    split_seed: int = 0

    def hold_out_options(self) -> dict[str, Any]:
        return {"held_out_fraction": self.validation_fraction, "split_seed": self.split_seed}
