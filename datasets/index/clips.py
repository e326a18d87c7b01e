"""Clips of a data set before decoding: label, split and the source of each modality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)  # a large data set has hundreds of thousands of these
class Source:
    """Source of one modality of a clip.

    Args:
        kind: `video` takes the frames of a video, `audio` the audio of a file (also a video's sound track), `images`
            the pictures of a folder. `flow` takes the horizontal and vertical flow images of two folders, or computes
            them from a video.
        paths: the file or folder; for `flow`, two folders (u, v) or one video.
        begin_s, end_s: the part of the file that is the clip, in seconds; `end_s` None is the end of the file.
        timed_by: file whose sound lasts as long as a folder's images; with it, a part of the folder can be taken.
    """

    kind: Literal["video", "audio", "images", "flow"]
    paths: tuple[Path, ...]
    begin_s: float = 0.0
    end_s: float | None = None
    timed_by: Path | None = None

    @property
    def is_part(self) -> bool:
        """Whether the clip is a part of its files."""
        return self.begin_s > 0 or self.end_s is not None


@dataclass(frozen=True, slots=True)
class Clip:
    """One sample.

    Args:
        id: id that is unique in the data set.
        label: name of its class.
        split: split given by the publisher or the reader; `datasets.index.splits` holds out validation clips.
        group: group of clips that a split must keep together (a speaker, a video cut into clips), or None.
        sources: modality -> source, in the order that models follow.
    """

    id: str
    label: str
    split: SplitName
    group: str | None
    sources: Mapping[str, Source]


@dataclass(frozen=True)
class Index:
    """Clips of a data set that exist on disk.

    Args:
        classes: full list of classes, sorted, whether or not they have clips.
        clips: listed clips whose files exist, in the order of the publisher's list.
        missing: listed ids whose files do not exist.
        notes: notes for the user: which split was used, ids listed twice with different labels, and so on.
        rows: number of rows in the publisher's list.
        expected_rows: known number of rows in the publisher's list, or None.
    """

    classes: tuple[str, ...]
    clips: tuple[Clip, ...]
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    rows: int = 0
    expected_rows: int | None = None
