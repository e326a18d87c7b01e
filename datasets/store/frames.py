"""Frames of a clip: evenly spaced JPEGs from a part of a video or from a folder of pictures."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from datasets.index.clips import Source
from datasets.store.container import (
    CUT_SHORT,
    declared_seconds,
    decode,
    limit,
    open_media,
    packets,
    start,
    time_of,
    video_stream,
)
from datasets.store.jpeg import encode, list_images, load_small, pixels
from datasets.store.settings import DEFAULT_LIMITS, Limits
from datasets.store.source_file import Unusable

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream


def frames(
    source: Source, per_clip: int, short_side: int, quality: int, limits: Limits = DEFAULT_LIMITS
) -> list[bytes]:
    """Return colour JPEGs, evenly spaced over part of a video (`video`) or over a folder's JPEG files (`images`).

    JPEG files that are small enough are not encoded again.

    Raises:
        Unusable: if there are no frames, or they cannot be decoded.
        OSError: if a file cannot be read.
    """
    if source.kind == "images":
        files = list_images(source.paths[0])
        chosen = [files[i] for i in even_positions(len(files), per_clip)]
        return [load_small(file, short_side, quality, limits, grey=False) for file in chosen]
    shots = decode_frames(source, lambda there: even_positions(there, per_clip), limits)
    return [encode(pixels(shot, short_side, "rgb24"), quality) for _, shot in shots]


def even_positions(there: int, wanted: int) -> list[int]:
    """Return `wanted` of `there` positions: the middles of equal parts, or all positions if there are fewer.

    >>> even_positions(100, 4), even_positions(3, 4)
    ([12, 37, 62, 87], [0, 1, 2])
    """
    if there <= wanted:
        return list(range(there))
    return [(2 * i + 1) * there // (2 * wanted) for i in range(wanted)]


def decode_frames(
    source: Source, choose: Callable[[int], Sequence[int]], limits: Limits = DEFAULT_LIMITS
) -> Iterator[tuple[int, VideoFrame]]:
    """Yield frames of a part of a video at selected positions.

    The packets are counted first, which is cheap; then the video is decoded up to the last position. If the decoder
    skips a frame, the next one takes its place.

    Args:
        source: the video and its part.
        choose: function from the number of frames to the positions, in rising order.
        limits: limits on the size of frames.

    Yields:
        Pairs (position, frame).

    Raises:
        Unusable: if the part has no frames, or they cannot be decoded.
    """
    with open_media(source.paths[0], limits) as container:
        times = _times(container, source, limits)
    positions = choose(len(times))
    due = [times[position] - 1e-6 for position in positions]
    given = 0
    with open_media(source.paths[0], limits) as container:
        stream = video_stream(container, limits)
        for place, frame in _due_frames(container, stream, source.begin_s, due):
            given += 1
            yield positions[place], frame
    if 2 * given < len(positions):
        raise Unusable(f"cannot be decoded: only {given} of {len(positions)} frames")


def _due_frames(
    container: InputContainer, stream: VideoStream, begin: float, due: Sequence[float]
) -> Iterator[tuple[int, VideoFrame]]:
    """Yield the first frame at or after each time, with the index of the last time that it is the first for."""
    done = 0
    for frame in decode(container, stream, begin):
        reached = bisect_right(due, time_of(frame) - start(container))
        if reached > done:
            done = reached
            yield done - 1, frame
        if done == len(due):
            return


def _times(container: InputContainer, source: Source, limits: Limits) -> list[float]:
    """Return the time of each frame in a part of a video, in seconds from the file's begin; nothing is decoded."""
    stream = video_stream(container, limits)
    times = _packet_times(container, stream)
    if not times:
        raise Unusable("no picture: the file has no video frames")
    _check_whole(container, stream, times)
    end = source.begin_s + limit(source)
    part = times[bisect_left(times, source.begin_s - 1e-6) : bisect_left(times, end)]
    if not part:
        raise Unusable(f"too short: it ends at {times[-1]:.1f} s, but the clip begins at {source.begin_s:g} s")
    return part


def _packet_times(container: InputContainer, stream: Stream) -> list[float]:
    """Return the time of each frame of a video stream, in seconds from the file's begin."""
    return sorted(
        float(packet.pts * packet.time_base) - start(container)
        for packet in packets(container, stream)
        if packet.pts is not None
    )


def _check_whole(container: InputContainer, stream: Stream, times: Sequence[float]) -> None:
    if stream.frames and len(times) < CUT_SHORT * stream.frames:
        raise Unusable(f"cannot be decoded: truncated, {len(times)} of {stream.frames} frames")
    declared = declared_seconds(container, stream)
    if declared and times[-1] < CUT_SHORT * declared - 1.0:
        raise Unusable(f"cannot be decoded: truncated, {times[-1]:.1f} s of {declared:.1f} s of video")
