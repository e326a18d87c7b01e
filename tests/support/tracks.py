"""Media files made of any tracks in any order: numbered pictures, a sine, subtitles, a cover."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import simplejpeg
from av.stream import Disposition

from tests.support.films import numbered

CLOCK = Fraction(1, 1000)
SHOWN_MS = 100  # of a picture, if no times are given


def each(count: int, step_ms: int = SHOWN_MS) -> tuple[int, ...]:
    return tuple(step_ms * i for i in range(count))


@dataclass(frozen=True)
class Pictures:
    """Video track; picture i has the grey level of `numbered`.

    Args:
        times_ms: begin of each picture.
        last_ms: how long the last picture is shown.
        first, step: number of the first picture, and from each to the next.
        mark: disposition.
    """

    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    times_ms: Sequence[int] = each(20)
    last_ms: int = SHOWN_MS
    size: tuple[int, int] = (96, 64)
    options: dict[str, str] = field(default_factory=dict)
    first: int = 0
    step: int = 1
    mark: Disposition | None = None


@dataclass(frozen=True)
class Sine:
    """Audio track: a sine of 440 Hz with this amplitude in each channel, from `begin_s` on."""

    codec: str = "aac"
    rate_hz: int = 16000
    layout: str = "mono"
    seconds: float = 2.0
    begin_s: float = 0.0
    amplitude: float = 0.5
    mark: Disposition | None = None


@dataclass(frozen=True)
class Subtitle:
    codec: str = "subrip"
    seconds: float = 1.0


@dataclass(frozen=True)
class Cover:
    """Picture of a cover, marked as one or not."""

    mark: Disposition | None = Disposition.attached_pic


@dataclass(frozen=True)
class Data:
    """Track of bytes without a decoder."""


Track = Pictures | Sine | Subtitle | Cover | Data


def write_tracks(path: Path, tracks: Sequence[Track], options: dict[str, str] | None = None, shift_ms: int = 0) -> Path:
    """Write a file with these tracks in this order, all of them `shift_ms` later."""
    with av.open(str(path), "w", options=options or {}) as out:
        streams = [_add(out, track) for track in tracks]
        out.start_encoding()
        made = [p for stream, track in zip(streams, tracks, strict=True) for p in _packets(stream, track)]
        for packet in sorted(made, key=lambda packet: packet.dts * packet.time_base):
            packet.pts += round(shift_ms * CLOCK / packet.time_base)
            packet.dts += round(shift_ms * CLOCK / packet.time_base)
            out.mux(packet)
    return path


def _add(out: Any, track: Track) -> Any:
    if isinstance(track, Pictures):
        width, height = track.size
        stream = out.add_stream(track.codec, rate=1000 // SHOWN_MS, width=width, height=height, pix_fmt=track.pix_fmt)
        stream.options = track.options
        if out.format.name in {"matroska", "webm", "mp4", "mov"}:  # the others have a fixed rate
            stream.codec_context.time_base = CLOCK
    elif isinstance(track, Sine):
        stream = out.add_stream(track.codec, rate=track.rate_hz, layout=track.layout)
    elif isinstance(track, Subtitle):
        stream = out.add_mux_stream(track.codec, time_base=CLOCK)
    elif isinstance(track, Data):
        return out.add_data_stream("bin_data")
    else:
        stream = out.add_mux_stream("mjpeg", width=32, height=32, time_base=CLOCK)
    if getattr(track, "mark", None) is not None:
        stream.disposition = track.mark
    return stream


def _packets(stream: Any, track: Track) -> Iterator[av.Packet]:
    if isinstance(track, Pictures):
        yield from _encoded_pictures(stream, track)
    elif isinstance(track, Sine):
        yield from _encoded_sine(stream, track)
    else:
        content, shown_s = _content(track)
        packet = av.Packet(content)
        packet.stream, packet.time_base, packet.is_keyframe = stream, CLOCK, True
        packet.pts = packet.dts = 0
        packet.duration = round(shown_s / CLOCK)
        yield packet


def _content(track: Track) -> tuple[bytes, float]:
    if isinstance(track, Subtitle):
        text = b"hello"
        return (len(text).to_bytes(2, "big") + text if track.codec == "mov_text" else text), track.seconds
    if isinstance(track, Data):
        return bytes(range(100)), 0.1
    return simplejpeg.encode_jpeg(np.full((32, 32, 3), 250, np.uint8)), SHOWN_MS / 1000


def _encoded_pictures(stream: Any, track: Pictures) -> Iterator[av.Packet]:
    width, height = track.size
    numbers = slice(track.first, track.first + track.step * len(track.times_ms), track.step)
    shots = numbered(numbers.stop, height, width)[numbers]
    base = stream.codec_context.time_base or Fraction(SHOWN_MS, 1000)
    last = track.times_ms[-1]
    for shot, at in zip([*shots, None], [*track.times_ms, 0], strict=True):
        frame = None if shot is None else av.VideoFrame.from_ndarray(shot, format="rgb24")
        if frame is not None:
            frame.pts, frame.time_base = round(at * CLOCK / base), base
        for packet in stream.encode(frame):
            if packet.pts == round(last * CLOCK / packet.time_base):
                packet.duration = round(track.last_ms * CLOCK / packet.time_base)
            yield packet


def _encoded_sine(stream: Any, track: Sine) -> Iterator[av.Packet]:
    channels = len(av.AudioLayout(track.layout).channels)
    time = np.arange(round(track.seconds * track.rate_hz)) / track.rate_hz
    wave = np.tile(track.amplitude * np.sin(2 * np.pi * 440 * time), (channels, 1)).astype(np.float32)
    for first in range(0, wave.shape[1], 1024):
        part = np.ascontiguousarray(wave[:, first : first + 1024])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=track.layout)
        frame.sample_rate, frame.time_base = track.rate_hz, Fraction(1, track.rate_hz)
        frame.pts = first + round(track.begin_s * track.rate_hz)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def cover_before_tracks(path: Path) -> Path:
    """Move the cover of an MPEG-4 file before its tracks, so that FFmpeg lists it first; no offset changes."""
    content = path.read_bytes()
    out = b""
    for kind, box in _boxes(content):
        if kind == b"moov":
            order = {b"mvhd": 0, b"udta": 1}
            box = box[:8] + b"".join(b for _, b in sorted(_boxes(box[8:]), key=lambda one: order.get(one[0], 2)))
        out += box
    path.write_bytes(out)
    return path


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        yield content[at + 4 : at + 8], content[at : at + size]
        at += size
