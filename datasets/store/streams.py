"""Streams of a media file: the one that is taken of each type, checked before it is decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datasets.store.settings import Limits
from datasets.store.source_file import Unusable, check_size

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.stream import Stream
    from av.video.stream import VideoStream

MAX_RATE_HZ = 1_000_000  # of a file's audio; ultrasonic recordings have up to 500,000 Hz
PICTURE_CODECS = {"mjpeg", "png", "bmp", "gif", "tiff", "webp"}  # of covers, but also of some videos


def audio_stream(container: InputContainer) -> AudioStream:
    """Return the audio stream that is taken, ready to be decoded.

    Raises:
        Unusable: if there is none, or FFmpeg cannot decode it.
    """
    stream: AudioStream | None = _best(container, "audio")
    if stream is None:
        raise Unusable("no sound: the file has no audio track")
    _check_codec(stream)
    if stream.codec_context.sample_rate > MAX_RATE_HZ:
        raise Unusable(f"too large: a sample rate of {stream.codec_context.sample_rate:,} Hz")
    return stream


def video_stream(container: InputContainer, limits: Limits) -> VideoStream:
    """Return the video stream that is taken, ready to be decoded; frames that turn out too large are skipped.

    Raises:
        Unusable: if there is none, FFmpeg cannot decode it, or its frames are too large.
    """
    stream: VideoStream | None = _best(container, "video")
    if stream is None:
        raise Unusable("no picture: the file has no video frames")
    _check_codec(stream)
    check_size(stream.codec_context.width, stream.codec_context.height, limits)
    stream.codec_context.options = pixel_limit(limits)
    return stream


def pixel_limit(limits: Limits) -> dict[str, str]:
    """Return FFmpeg's option against frames that are larger than the file declares.

    FFmpeg also counts the padding of a frame, which exceeds the frame itself if that is small.
    """
    return {"max_pixels": str(min(2 * limits.max_pixels + 2**20, 2**31 - 1))}


def start(container: InputContainer) -> float:
    """Return the time at which the sound and the pictures of a file begin, in seconds."""
    streams = (*_real(container, "audio"), *_real(container, "video"))
    starts = [float(s.start_time * s.time_base) for s in streams if s.start_time is not None and s.time_base]
    return min(starts, default=(container.start_time or 0) / 1e6)


def _real(container: InputContainer, kind: str) -> list[Any]:
    """Return the audio or video streams of a file, without attached pictures such as covers."""
    from av.stream import Disposition

    aside = Disposition.attached_pic | Disposition.timed_thumbnails
    return [stream for stream in container.streams if stream.type == kind and not stream.disposition & aside]


def _best(container: InputContainer, kind: str) -> Any:
    """Return the audio or video stream that is taken, or None: the first of the best, as `_rank` says."""
    return max(_real(container, kind), key=_rank, default=None)


def _rank(stream: Any) -> tuple[bool, bool, bool, int]:
    """Return the rank of a stream: can be decoded, is no cover, is the default, and its pixels or channels.

    FFmpeg chooses by the same properties. It does not recognise a cover that is not marked as one.
    """
    from av.stream import Disposition

    codec = stream.codec_context
    if codec is None:
        return False, False, False, 0
    is_picture = stream.frames == 1 or (not stream.frames and codec.name in PICTURE_CODECS)
    size = codec.width * codec.height if stream.type == "video" else codec.channels
    return True, not is_picture, bool(stream.disposition & Disposition.default), size


def _check_codec(stream: Stream) -> None:
    if stream.codec_context is None:
        raise Unusable(f"cannot be decoded: no decoder for the {stream.type}'s codec")
