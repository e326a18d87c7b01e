"""Extent of a track: where its packets begin and end, compared with what the file declares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.store.container import format_name, packets
from datasets.store.declared_size import CUT_SHORT, has_its_end
from datasets.store.source_file import Unusable
from datasets.store.streams import start

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream

# Containers that declare the length of each track, and those that declare one length for all tracks. The others declare
# none: FFmpeg then guesses it.
EACH_TRACK = {"mov", "wav", "w64", "aiff", "au", "flac", "tta", "wv"}
ALL_TRACKS = {"matroska", "avi", "flv", "mov"}


@dataclass(frozen=True)
class Extent:
    """Extent of a track and its file, in seconds from the begin of the file.

    Args:
        begin: time that the track's packets and frames give for the begin of the file.
        times: begin of each packet of the track, sorted.
        keys: those of them at which decoding can begin.
        is_unordered: whether the packets carry the times of their decoding, though frames are shown in another order.
        end: end of the track's last packet.
        shown_until: end of the last packet of sound or pictures.
        file_end: end of the last packet of any track, subtitles included.
    """

    begin: float
    times: list[float]
    keys: list[float]
    is_unordered: bool
    end: float
    shown_until: float
    file_end: float


def declared_end(container: InputContainer, stream: Stream) -> float | None:
    """Return the second at which a track ends, from the begin of the file, or None if the file does not declare it."""
    if not _declares_each(container, stream) or not stream.duration or stream.time_base is None:
        return None
    return float((stream.duration + (stream.start_time or 0)) * stream.time_base) - start(container)


def _declares_each(container: InputContainer, stream: Stream) -> bool:
    """Return whether a file declares the length of a track; a fragmented MPEG-4 file declares that of all tracks."""
    name = format_name(container)
    return name in EACH_TRACK and (name != "mov" or stream.frames > 0)


def measure(container: InputContainer, stream: Stream) -> Extent:
    """Return the extent of a track from the packets of its file; nothing is decoded.

    Packets that an edit list discards do not count.
    """
    begin = start(container)
    times: list[float] = []
    keys: list[float] = []
    ends: dict[str, float] = {}
    units = {one.index: float(one.time_base) for one in container.streams if one.time_base}
    for packet in packets(container):
        at = packet.pts if packet.pts is not None else packet.dts
        if at is None or packet.is_discard:
            continue
        is_own = packet.stream.index == stream.index
        if is_own and not times:
            begin += _delay(container, packet)
        unit = units.get(packet.stream.index) or float(packet.time_base)
        time = at * unit - begin
        end = time + (packet.duration or 0) * unit
        for which in (packet.stream.type, "own" if is_own else "file"):
            ends[which] = max(end, ends.get(which, 0.0))
        if is_own:
            times.append(time)
            keys += [time] if packet.is_keyframe else []
    own, shown = ends.get("own", 0.0), max(ends.get("audio", 0.0), ends.get("video", 0.0))
    in_order = sorted(times)
    is_unordered = times == in_order and getattr(stream.codec_context, "has_b_frames", False)
    return Extent(begin, in_order, sorted(keys), is_unordered, own, shown, max(ends.values(), default=0.0))


def _delay(container: InputContainer, first: Packet[Any]) -> float:
    """Return by how many seconds FFmpeg delays the frames of an AVI file, so that they come after their decoding."""
    if format_name(container) != "avi" or first.pts is None or first.dts is None:
        return 0.0
    return float((first.pts - first.dts) * first.time_base)


def check_whole(container: InputContainer, stream: Stream, extent: Extent) -> None:
    """Check that a track is as long as it declares.

    If the container declares one length for all tracks, the longest track counts, unless the file's bytes prove that
    nothing is missing.

    Raises:
        Unusable: if the end of the track is missing.
    """
    reached, declared = extent.end, declared_end(container, stream)
    if declared is None and format_name(container) in ALL_TRACKS and container.duration:
        reached, declared = extent.file_end, container.duration / 1e6 - start(container)
    if declared is None or reached >= CUT_SHORT * declared:
        return
    if _declares_each(container, stream) or not has_its_end(Path(container.name.removeprefix("file:"))):
        raise Unusable(f"cannot be decoded: truncated, {reached:.1f} s of {declared:.1f} s of {stream.type}")
