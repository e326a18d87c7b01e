"""Media containers: their streams, packets and frames, with the errors of FFmpeg as reasons."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.index.clips import Source
from datasets.store.settings import Limits
from datasets.store.source_file import Unusable, check_size, open_file

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.frame import Frame
    from av.stream import Stream
    from av.video.stream import VideoStream

CUT_SHORT = 0.9  # a file shorter than this share of its declared length counts as truncated
COUNTED = {"mov", "avi", "flv", "wav", "matroska"}  # containers that declare their length instead of guessing it
PRE_ROLL_S = 0.5  # decoded before a clip's begin and dropped: audio needs the packets before it
MAX_RATE_HZ = 1_000_000  # of a file's audio; ultrasonic recordings have up to 500,000 Hz


@contextmanager
def open_media(path: Path, limits: Limits) -> Iterator[InputContainer]:
    """Open a media file; FFmpeg's errors become `Unusable`.

    Raises:
        Unusable: if the file is empty, truncated, or FFmpeg fails.
        MemoryError: if memory is short.
        OSError: if the file cannot be read.
    """
    import av
    from av.error import FFmpegError

    with open_file(path) as file:
        _check_riff(file.read(8), os.fstat(file.fileno()).st_size)
    # Other files that it refers to are not opened, and the first frames, which are decoded here, are not too large.
    options = {"protocol_whitelist": "file", **_ffmpeg_limit(limits)}
    try:
        with av.open(f"file:{path}", options=options, metadata_errors="replace") as container:
            yield container
    except MemoryError:
        raise
    except FFmpegError as error:
        raise Unusable(f"cannot be decoded: {error.strerror}") from error


def _check_riff(head: bytes, size: int) -> None:
    """Check the size that WAV and AVI files declare; FFmpeg accepts shorter files. 0 and 2^32 - 1 mean unknown."""
    said = int.from_bytes(head[4:], "little")
    if head.startswith(b"RIFF") and 0 < said < 2**32 - 1 and size < CUT_SHORT * said:
        raise Unusable(f"cannot be decoded: truncated, {size:,} of {said + 8:,} bytes")


def _ffmpeg_limit(limits: Limits) -> dict[str, str]:
    """Return FFmpeg's option against frames that are larger than the file declares.

    FFmpeg also counts the padding of a frame, which exceeds the frame itself if that is small.
    """
    return {"max_pixels": str(min(2 * limits.max_pixels + 2**20, 2**31 - 1))}


def audio_stream(container: InputContainer) -> AudioStream:
    """Return the audio stream, ready to be decoded.

    Raises:
        Unusable: if there is none, or FFmpeg cannot decode it.
    """
    if not container.streams.audio:
        raise Unusable("no sound: the file has no audio track")
    stream = container.streams.audio[0]
    _check_codec(stream)
    if stream.codec_context.sample_rate > MAX_RATE_HZ:
        raise Unusable(f"too large: a sample rate of {stream.codec_context.sample_rate:,} Hz")
    return stream


def video_stream(container: InputContainer, limits: Limits) -> VideoStream:
    """Return the video stream, ready to be decoded; frames that turn out too large are skipped.

    Raises:
        Unusable: if there is none, FFmpeg cannot decode it, or its frames are too large.
    """
    if not container.streams.video:
        raise Unusable("no picture: the file has no video frames")
    stream = container.streams.video[0]
    _check_codec(stream)
    check_size(stream.codec_context.width, stream.codec_context.height, limits)
    stream.codec_context.options = _ffmpeg_limit(limits)
    return stream


def _check_codec(stream: Stream) -> None:
    if stream.codec_context is None:
        raise Unusable(f"cannot be decoded: no decoder for the {stream.type}'s codec")


def limit(source: Source, longest: float = float("inf")) -> float:
    """Return the clip's maximum length in seconds."""
    return longest if source.end_s is None else min(longest, source.end_s - source.begin_s)


def start(container: InputContainer) -> float:
    """Return the time at which a file begins, in seconds."""
    return (container.start_time or 0) / 1e6


def time_of(frame: Frame) -> float:
    return float(frame.pts * frame.time_base) if frame.pts is not None and frame.time_base else float("inf")


def declared_seconds(container: InputContainer, stream: Stream) -> float | None:
    """Return the seconds from the file's begin to the stream's end, or None if the container only guesses them."""
    if container.format.name.partition(",")[0] not in COUNTED:
        return None
    if stream.duration is not None and stream.time_base is not None:
        begin = (stream.start_time or 0) * stream.time_base - start(container)
        return float(stream.duration * stream.time_base + begin)
    return container.duration / 1e6 if container.duration else None


def packets(container: InputContainer, stream: Stream) -> Iterator[Any]:
    """Yield a stream's packets up to the end of the file, or up to the first that cannot be read."""
    from av.error import FFmpegError

    for _ in range(2):
        # PyAV raises IndexError once, when it flushes, if the header does not list all streams.
        with suppress(FFmpegError, IndexError):
            yield from container.demux(stream)
            return


def decode(container: InputContainer, stream: Any, begin: float) -> Iterator[Any]:
    """Yield frames from shortly before `begin`, with one thread; packets that the decoder rejects are skipped."""
    from av.error import FFmpegError

    stream.thread_type, stream.codec_context.thread_count = "NONE", 1
    if begin > PRE_ROLL_S:
        # Without seeking, the container is decoded from its begin.
        with suppress(FFmpegError):
            container.seek(round((begin - PRE_ROLL_S) * 1e6) + (container.start_time or 0))
    for packet in packets(container, stream):
        with suppress(FFmpegError):
            yield from packet.decode()
