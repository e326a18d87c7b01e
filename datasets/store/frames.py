"""Frames of a clip: evenly spaced JPEGs from a part of a video or from a folder of pictures."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.index.clips import Source
from datasets.store.container import decode, format_name, is_picture, open_media, time_of
from datasets.store.extent import Extent, check_whole, measure
from datasets.store.folder_part import images_of_part
from datasets.store.jpeg import PICTURES, encode, list_images, load_picture, pixels
from datasets.store.part import CLOSE_S, frames_of_part
from datasets.store.settings import DEFAULT_LIMITS, Limits
from datasets.store.source_file import Unusable
from datasets.store.streams import video_stream

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

WITHOUT_KEYS = {"mpegts", "mpeg"}  # containers that do not say where decoding can begin; FFmpeg seeks to any frame
AHEAD = 8  # frames that are kept to sort their times; more than an encoder reorders


def frames(
    source: Source, per_clip: int, short_side: int, quality: int, limits: Limits = DEFAULT_LIMITS
) -> list[bytes]:
    """Return colour JPEGs, evenly spaced over part of a video (`video`) or of a folder's pictures (`images`).

    A `video` may also be a single picture. JPEG files that are small enough and upright are not encoded again.

    Raises:
        Unusable: if there are no frames, or they cannot be decoded.
        OSError: if a file cannot be read.
    """
    if pictures := _pictures(source):
        files = images_of_part(pictures, source, limits)
        chosen = [files[i] for i in even_positions(len(files), per_clip)]
        return [load_picture(file, short_side, quality, limits, grey=False) for file in chosen]
    shots = decode_frames(source, lambda there: even_positions(there, per_clip), limits)
    return [encode(pixels(shot, short_side, "rgb24"), quality) for _, shot in shots]


def _pictures(source: Source) -> list[Path]:
    """Return the pictures of a folder, or a single picture; none if the source is a video."""
    path = source.paths[0]
    if source.kind == "images":
        return list_images(path)
    return [path] if path.suffix.lower() in PICTURES else []


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
        extent = _measure_video(container, limits)
        until = float("inf") if is_picture(container) else extent.shown_until
    part = frames_of_part(extent.times, source, until)
    positions = choose(len(part))
    due = [extent.times[part[position]] - CLOSE_S for position in positions]
    given = 0
    for begin in (min(due, default=0.0), 0.0) if source.is_part else (0.0,):  # some formats cannot seek
        with open_media(source.paths[0], limits) as container:
            stream = video_stream(container, limits)
            for place, frame in _due_frames(container, stream, extent, due, begin):
                given += 1
                yield positions[place], frame
        if given:
            break
    if 2 * given < len(positions):
        raise Unusable(f"cannot be decoded: only {given} of {len(positions)} frames")


def _measure_video(container: InputContainer, limits: Limits) -> Extent:
    """Return the extent of the pictures; nothing is decoded."""
    stream = video_stream(container, limits)
    extent = measure(container, stream)
    if not extent.times:
        raise Unusable("no picture: the file has no video frames")
    check_whole(container, stream, extent)
    return extent


def _due_frames(
    container: InputContainer, stream: VideoStream, extent: Extent, due: Sequence[float], begin: float
) -> Iterator[tuple[int, VideoFrame]]:
    """Yield the first frame at or after each time, with the index of the last time that it is the first for.

    Decoding starts shortly before `begin`, in seconds from the file's begin.
    """
    done = 0
    if format_name(container) in WITHOUT_KEYS:
        begin = max((key for key in extent.keys if key <= begin + CLOSE_S), default=0.0)
    decoded = decode(container, stream, begin)
    for time, frame in _in_order(decoded, AHEAD if extent.is_unordered else 0):
        reached = bisect_right(due, time - extent.begin)
        if reached > done:
            done = reached
            yield done - 1, frame
        if done == len(due):
            return


def _in_order(decoded: Iterator[VideoFrame], ahead: int) -> Iterator[tuple[float, VideoFrame]]:
    """Yield frames with their times, in rising order.

    Packets of AVI files, and of files copied from them, carry the times of their decoding. Decoded frames come in the
    order in which they are shown, but carry these times; `ahead` frames are kept to sort them.
    """
    waiting: deque[VideoFrame] = deque()
    times: list[float] = []
    for frame in decoded:
        waiting.append(frame)
        heappush(times, time_of(frame))
        if len(waiting) > ahead:
            yield heappop(times), waiting.popleft()
    for frame in waiting:
        yield heappop(times), frame
