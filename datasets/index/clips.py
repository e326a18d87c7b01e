"""What a publisher's files hold before anything is decoded: clips with label, split, and where each modality is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)  # a large data set has hundreds of thousands of these
class Source:
    """Where one modality of a clip comes from.

    Args:
        kind: `video` takes the frames of a video, `audio` the audio of a file (a video's sound track too), `images` the
            JPEG files of a folder, `flow` the horizontal and vertical flow images of two folders, or of a video, from
            which they are computed.
        paths: the file or folder; of `flow` two folders (u, v), or one video.
        begin_s, end_s: the part of the file that is the clip; `end_s` None is its end.
    """

    kind: Literal["video", "audio", "images", "flow"]
    paths: tuple[Path, ...]
    begin_s: float = 0.0
    end_s: float | None = None


@dataclass(frozen=True, slots=True)
class Clip:
    """One sample.

    Args:
        id: unique in its data set.
        label: one of the data set's classes.
        split: the publisher's, or the reader's; see `datasets.index.splits` for how a validation part is held out.
        group: what must not be torn apart by a split (a speaker, a video that was cut into clips), or None.
        sources: modality -> where it is, in the order that models follow.
    """

    id: str
    label: str
    split: SplitName
    group: str | None
    sources: Mapping[str, Source]


@dataclass(frozen=True)
class Index:
    """All of a data set that is there.

    Args:
        classes: the full list, sorted, whatever clips are there.
        clips: those whose files are there, in the order of the publisher's list.
        missing: ids that the publisher lists and whose files are not there.
        notes: what a user should know (which split was taken, ids listed twice with different labels, …).
        expected_rows: how many the publisher's list is known to hold, or None; and `rows`, how many it did.
    """

    classes: tuple[str, ...]
    clips: tuple[Clip, ...]
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    rows: int = 0
    expected_rows: int | None = None
