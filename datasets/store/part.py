"""Part of a file that is a clip: its length, and the frames that are shown in it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from datasets.index.clips import Source
from datasets.store.source_file import Unusable

CLOSE_S = 1e-6  # times that differ by less are equal


def part_length(source: Source, longest: float = float("inf")) -> float:
    """Return the clip's maximum length in seconds."""
    return longest if source.end_s is None else min(longest, source.end_s - source.begin_s)


def frames_of_part(times: Sequence[float], source: Source, until: float) -> range:
    """Return the positions of the frames that begin in a part; if none does, that of the frame on screen at its begin.

    Args:
        times: begin of each frame, in seconds from the begin of the file, sorted.
        source: the part.
        until: second up to which the last frame stays on screen.

    Raises:
        Unusable: if no frame is on screen in the part.
    """
    begin, end = source.begin_s, source.begin_s + part_length(source)
    first, stop = bisect_left(times, begin - CLOSE_S), bisect_left(times, end - CLOSE_S)
    if first < stop:
        return range(first, stop)
    if begin >= max(until, times[-1]):
        raise Unusable(f"too short: it ends at {until:.1f} s, but the clip begins at {begin:g} s")
    shown = bisect_right(times, begin) - 1
    if shown < 0:
        raise Unusable(f"no picture: the first begins at {times[0]:g} s, but the clip ends at {end:g} s")
    return range(shown, shown + 1)
