"""Optical flow as grey JPEGs, u0 v0 u1 v1 …: the publisher's, or computed from the video.

Displacements of -20 to 20 pixels between successive frames map to grey levels 0 to 255, as in the publishers' files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.index.clips import Source
from datasets.store.folder_part import images_of_part
from datasets.store.frames import decode_frames, even_positions
from datasets.store.jpeg import Pixels, encode, list_images, load_picture, pixels
from datasets.store.settings import DEFAULT_LIMITS, Limits
from datasets.store.source_file import Unusable

BOUND_PX = 20.0


def flow(source: Source, per_clip: int, short_side: int, quality: int, limits: Limits = DEFAULT_LIMITS) -> list[bytes]:
    """Return `per_clip` evenly spaced pairs of grey JPEGs: from two folders (u, v), or computed from a video.

    Raises:
        Unusable: if there are no images, or they cannot be decoded.
        OSError: if a file cannot be read.
    """
    if len(source.paths) == 1:
        return [encode(image, quality) for image in _compute(source, per_clip, short_side, limits)]
    pairs = images_of_part(_pairs(*source.paths), source, limits)
    chosen = [file for i in even_positions(len(pairs), per_clip) for file in pairs[i]]
    return [load_picture(file, short_side, quality, limits, grey=True) for file in chosen]


def to_grey(displacement: NDArray[np.float32]) -> Pixels:
    """Convert displacements in pixels to grey levels.

    >>> to_grey(np.array([-30, -20, 0, 20, 30], np.float32)).tolist()
    [0, 0, 128, 255, 255]
    """
    level = (np.clip(displacement, -BOUND_PX, BOUND_PX) + BOUND_PX) * (255 / (2 * BOUND_PX))
    return np.asarray(np.rint(level), np.uint8)


def _pairs(across: Path, down: Path) -> list[tuple[Path, Path]]:
    u, v = list_images(across), list_images(down)
    if [f.name for f in u] != [f.name for f in v]:
        raise Unusable(f"cannot be decoded: the names of the images differ ({len(u)} of u, {len(v)} of v)")
    return list(zip(u, v, strict=True))


def _compute(source: Source, per_clip: int, short_side: int, limits: Limits) -> Iterator[Pixels]:
    """Yield u0, v0, u1, v1 …, by dense inverse search (Kroeger et al., ECCV 2016) between frames of the stored size."""
    import cv2

    search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    computed = False
    try:
        for before, after in _successive_frames(source, per_clip, short_side, limits):
            computed = True
            displacement = search.calc(before, after, None)
            yield from (to_grey(displacement[..., 0]), to_grey(displacement[..., 1]))
    finally:
        cv2.setNumThreads(threads)
    if not computed:
        raise Unusable("too short: optical flow needs two successive frames")


def _successive_frames(
    source: Source, per_clip: int, short_side: int, limits: Limits
) -> Iterator[tuple[Pixels, Pixels]]:
    """Yield grey frames at evenly spaced positions of a video, each with the next frame."""
    starts: set[int] = set()

    def choose(there: int) -> list[int]:
        starts.update(even_positions(there - 1, per_clip))
        return sorted(starts | {i + 1 for i in starts})

    before: dict[int, Pixels] = {}
    for position, frame in decode_frames(source, choose, limits):
        image = pixels(frame, short_side, "gray")
        if position - 1 in before and position - 1 in starts:
            yield before[position - 1], image
        before = {position: image}
