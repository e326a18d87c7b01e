"""Encoding of media files for a store: evenly spaced JPEGs, and mono audio of 16 bits."""

from __future__ import annotations

import os
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from datasets.index.clips import Source
from datasets.index.regular_file import IrregularFile, open_regular
from datasets.store.settings import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.frame import Frame
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

Pixels = NDArray[np.uint8]  # [height, width, 3], or [height, width] if grey
Samples = NDArray[np.float32]  # [samples], in [-1, 1]

SHORTEST_S = 0.1  # minimum length of audio
CUT_SHORT = 0.9  # a file shorter than this share of its declared length counts as truncated
COUNTED = {"mov", "avi", "flv", "wav", "matroska"}  # containers that declare their length instead of guessing it
PRE_ROLL_S = 0.5  # decoded before a clip's begin and dropped: audio needs the packets before it
FULL_SCALE = 32768  # of 16-bit samples
MAX_RATE_HZ = 1_000_000  # of a file's audio; ultrasonic recordings have up to 500,000 Hz
BYTES_PER_PIXEL = 4  # more than a JPEG has


class Unusable(Exception):
    """Clip that cannot be used. Its reason begins with fixed words ("no sound: …"), by which reasons are counted."""


def even_positions(there: int, wanted: int) -> list[int]:
    """Return `wanted` of `there` positions: the middles of equal parts, or all positions if there are fewer.

    >>> even_positions(100, 4), even_positions(3, 4)
    ([12, 37, 62, 87], [0, 1, 2])
    """
    if there <= wanted:
        return list(range(there))
    return [(2 * i + 1) * there // (2 * wanted) for i in range(wanted)]


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


def audio(source: Source, sample_rate_hz: int, stored_seconds: float, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Return a clip's audio: mono, int16 little endian, from `begin_s` on, at most `stored_seconds` long.

    Its length is that of the clip, to the sample: padding from an AAC encoder is removed, missing audio is silence.

    Raises:
        Unusable: if there is no audio, or it cannot be decoded or is too short.
        OSError: if the file cannot be read.
    """
    with open_media(source.paths[0], limits) as container:
        stream = _audio_stream(container)
        wanted = _limit(source, stored_seconds)
        declared = _declared_seconds(container, stream)
        wave, rate = _wave(container, stream, source.begin_s, wanted)
    there = len(wave) / rate
    expected = min(wanted, declared - source.begin_s) if declared else there
    if there < CUT_SHORT * expected:
        raise Unusable(f"cannot be decoded: truncated, {there:.1f} s of {expected:.1f} s of audio")
    if min(there, expected) < SHORTEST_S:
        raise Unusable(f"too short: {there:.2f} s of audio from {source.begin_s:g} s on")
    length = round((expected if stream.duration is not None else min(expected, there)) * sample_rate_hz)
    fitted = np.zeros(length, np.float32)
    resampled = _resample(wave, rate, sample_rate_hz)[:length]
    fitted[: len(resampled)] = resampled
    return np.clip(np.rint(fitted * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype("<i2").tobytes()


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
        stream = _video_stream(container, limits)
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
    for frame in _decode(container, stream, begin):
        reached = bisect_right(due, _time(frame) - _start(container))
        if reached > done:
            done = reached
            yield done - 1, frame
        if done == len(due):
            return


def pixels(frame: VideoFrame, short_side: int, form: str) -> Pixels:
    """Return a frame as `rgb24` or `gray`, with the video's rotation, its shorter side at most `short_side` pixels."""
    scale = min(1.0, short_side / min(frame.width, frame.height))
    width, height = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    shown = frame.reformat(width=width, height=height, format=form, interpolation="AREA", threads=1).to_ndarray()
    return np.ascontiguousarray(np.rot90(shown, round(frame.rotation / 90)))


def encode(image: Pixels, quality: int) -> bytes:
    """Encode an image as a JPEG with three channels, or grey."""
    import simplejpeg

    grey = image.ndim == 2
    data: bytes = simplejpeg.encode_jpeg(
        image[..., None] if grey else image,
        quality=quality,
        colorspace="GRAY" if grey else "RGB",
        colorsubsampling="Gray" if grey else "420",
    )
    return data


def list_images(folder: Path) -> list[Path]:
    """Return the JPEG files of a folder, sorted by the numbers in their names; the path of a file gives that file."""
    if folder.is_file():
        return [folder]
    files = [f for f in folder.iterdir() if f.suffix.lower() in {".jpg", ".jpeg"}]
    if not files:
        raise Unusable("no picture: the folder has no JPEG files")
    return sorted(files, key=_numbers)


def _numbers(file: Path) -> tuple[list[int], str]:
    return [int(n) for n in re.findall(r"\d+", file.stem)], file.name


def load_small(file: Path, short_side: int, quality: int, limits: Limits, *, grey: bool) -> bytes:
    """Return a JPEG file unchanged if it is small enough and has the wanted colours; else encode it again."""
    from av import VideoFrame

    data = _read_image(file, limits)
    colorspace, form = ("GRAY", "gray") if grey else ("RGB", "rgb24")
    colours, image = _decode_jpeg(file.name, data, colorspace, limits)
    if min(image.shape[:2]) <= short_side and grey == (colours == "GRAY"):
        return data
    shown = VideoFrame.from_ndarray(np.ascontiguousarray(image[..., 0] if grey else image), format=form)
    return encode(pixels(shown, short_side, form), quality)


def _read_image(file: Path, limits: Limits) -> bytes:
    """Return the bytes of an image file; no JPEG has more bytes than the largest one has uncompressed."""
    with open_file(file, file.name) as opened:
        longest = BYTES_PER_PIXEL * limits.max_pixels
        if os.fstat(opened.fileno()).st_size > longest:
            raise Unusable(f"too large: {file.name} has more than {longest:,} bytes")
        return opened.read()


def _decode_jpeg(name: str, data: bytes, colorspace: str, limits: Limits) -> tuple[str, Pixels]:
    """Return a JPEG file's own colour space, and its pixels [H, W, C] in the given one."""
    import simplejpeg

    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        _check_size(width, height, limits, f"{name} has ")
        return str(colours).upper(), simplejpeg.decode_jpeg(data, colorspace=colorspace)
    except ValueError as error:
        raise Unusable(f"cannot be decoded: {name} ({error})") from error


def _check_size(width: int, height: int, limits: Limits, what: str = "") -> None:
    """Check the size of an image or frame before it is decoded.

    Raises:
        Unusable: if it is too large.
    """
    if width * height > limits.max_pixels:
        limit = f"`max_megapixels` is {limits.max_megapixels:g}"
        raise Unusable(f"too large: {what}{width:,} x {height:,} pixels, but {limit}")


@contextmanager
def open_file(path: Path, name: str = "") -> Iterator[BinaryIO]:
    """Open a file that holds something: every file of a clip is opened here first.

    Args:
        path: the file.
        name: name of the file in reasons, if the clip has several.

    Raises:
        Unusable: if it is empty or no regular file.
        OSError: if the file cannot be read.
    """
    try:
        file = open_regular(path)
    except IrregularFile as error:
        raise Unusable(f"no regular file: {name or 'it'} is {error.strerror}") from error
    with file:
        if not os.fstat(file.fileno()).st_size:
            raise Unusable(f"empty file: {name}" if name else "empty file")
        yield file


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


def _limit(source: Source, longest: float = float("inf")) -> float:
    """Return the clip's maximum length in seconds."""
    return longest if source.end_s is None else min(longest, source.end_s - source.begin_s)


def _start(container: InputContainer) -> float:
    """Return the time at which a file begins, in seconds."""
    return (container.start_time or 0) / 1e6


def _declared_seconds(container: InputContainer, stream: Stream) -> float | None:
    """Return the seconds from the file's begin to the stream's end, or None if the container only guesses them."""
    if container.format.name.partition(",")[0] not in COUNTED:
        return None
    if stream.duration is not None and stream.time_base is not None:
        begin = (stream.start_time or 0) * stream.time_base - _start(container)
        return float(stream.duration * stream.time_base + begin)
    return container.duration / 1e6 if container.duration else None


def _time(frame: Frame) -> float:
    return float(frame.pts * frame.time_base) if frame.pts is not None and frame.time_base else float("inf")


def _audio_stream(container: InputContainer) -> AudioStream:
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


def _video_stream(container: InputContainer, limits: Limits) -> VideoStream:
    """Return the video stream, ready to be decoded; frames that turn out too large are skipped.

    Raises:
        Unusable: if there is none, FFmpeg cannot decode it, or its frames are too large.
    """
    if not container.streams.video:
        raise Unusable("no picture: the file has no video frames")
    stream = container.streams.video[0]
    _check_codec(stream)
    _check_size(stream.codec_context.width, stream.codec_context.height, limits)
    stream.codec_context.options = _ffmpeg_limit(limits)
    return stream


def _ffmpeg_limit(limits: Limits) -> dict[str, str]:
    """Return FFmpeg's option against frames that are larger than the file declares.

    FFmpeg also counts the padding of a frame, which exceeds the frame itself if that is small.
    """
    return {"max_pixels": str(min(2 * limits.max_pixels + 2**20, 2**31 - 1))}


def _check_codec(stream: Stream) -> None:
    if stream.codec_context is None:
        raise Unusable(f"cannot be decoded: no decoder for the {stream.type}'s codec")


def _times(container: InputContainer, source: Source, limits: Limits) -> list[float]:
    """Return the time of each frame in a part of a video, in seconds from the file's begin; nothing is decoded."""
    stream = _video_stream(container, limits)
    times = _packet_times(container, stream)
    if not times:
        raise Unusable("no picture: the file has no video frames")
    _check_whole(container, stream, times)
    end = source.begin_s + _limit(source)
    part = times[bisect_left(times, source.begin_s - 1e-6) : bisect_left(times, end)]
    if not part:
        raise Unusable(f"too short: it ends at {times[-1]:.1f} s, but the clip begins at {source.begin_s:g} s")
    return part


def _packet_times(container: InputContainer, stream: Stream) -> list[float]:
    """Return the time of each frame of a video stream, in seconds from the file's begin."""
    return sorted(
        float(packet.pts * packet.time_base) - _start(container)
        for packet in _packets(container, stream)
        if packet.pts is not None
    )


def _check_whole(container: InputContainer, stream: Stream, times: Sequence[float]) -> None:
    if stream.frames and len(times) < CUT_SHORT * stream.frames:
        raise Unusable(f"cannot be decoded: truncated, {len(times)} of {stream.frames} frames")
    declared = _declared_seconds(container, stream)
    if declared and times[-1] < CUT_SHORT * declared - 1.0:
        raise Unusable(f"cannot be decoded: truncated, {times[-1]:.1f} s of {declared:.1f} s of video")


def _packets(container: InputContainer, stream: Stream) -> Iterator[Any]:
    """Yield a stream's packets up to the end of the file, or up to the first that cannot be read."""
    from av.error import FFmpegError

    for _ in range(2):
        # PyAV raises IndexError once, when it flushes, if the header does not list all streams.
        with suppress(FFmpegError, IndexError):
            yield from container.demux(stream)
            return


def _decode(container: InputContainer, stream: Any, begin: float) -> Iterator[Any]:
    """Yield frames from shortly before `begin`, with one thread; packets that the decoder rejects are skipped."""
    from av.error import FFmpegError

    stream.thread_type, stream.codec_context.thread_count = "NONE", 1
    if begin > PRE_ROLL_S:
        # Without seeking, the container is decoded from its begin.
        with suppress(FFmpegError):
            container.seek(round((begin - PRE_ROLL_S) * 1e6) + (container.start_time or 0))
    for packet in _packets(container, stream):
        with suppress(FFmpegError):
            yield from packet.decode()


def _wave(container: InputContainer, stream: Stream, begin: float, wanted: float) -> tuple[Samples, int]:
    """Return up to `wanted` seconds of mono samples from `begin` on, and their sample rate.

    If the stream begins later, silence comes first.

    Raises:
        Unusable: if the stream is empty, cannot be decoded, or begins after the wanted part.
    """
    parts, shift, rate = _parts(container, stream, begin, begin + wanted)
    if not rate:
        raise Unusable("no sound: the audio track cannot be decoded or is empty")
    if shift >= wanted * rate:  # would be silence of any length
        raise Unusable(f"no sound: it begins {shift / rate:,.1f} s after the clip, which is {wanted:g} s long")
    wave = np.concatenate([np.zeros(max(shift, 0), np.float32), *parts])[max(-shift, 0) :]
    return (wave[: round(wanted * rate)] if np.isfinite(wanted) else wave), rate


def _parts(container: InputContainer, stream: Stream, begin: float, end: float) -> tuple[list[Samples], int, int]:
    """Return mono samples, how many samples after `begin` they begin, and the sample rate (0: no samples).

    There is one array per frame. Frames that end before `begin`, or begin after `end`, are not kept.
    """
    parts: list[Samples] = []
    first, shift, rate, done = 0.0, 0, 0, 0
    for frame in _decode(container, stream, begin):
        if not rate:
            first, rate = _time(frame) - _start(container), frame.sample_rate
            shift = round((first - begin) * rate) if np.isfinite(first) else 0
        elif frame.sample_rate != rate:
            raise Unusable(f"cannot be decoded: the sample rate changes from {rate} to {frame.sample_rate} Hz")
        done += frame.samples
        if parts or shift + frame.samples > 0:
            parts.append(_mix_to_mono(frame.to_ndarray(), len(frame.layout.channels), frame.format.is_planar))
        else:
            shift += frame.samples
        if first + done / rate >= end:
            break
    return parts, shift, rate


def _mix_to_mono(values: NDArray[Any], channels: int, planar: bool) -> Samples:
    """Return the mean over channels of FFmpeg's samples, [channels, samples] or interleaved [1, samples x channels]."""
    shaped = values if planar else values.reshape(-1, channels).T
    mixed = shaped.astype(np.float64).mean(axis=0)
    if values.dtype == np.uint8:
        mixed = (mixed - 128) / 128
    elif values.dtype.kind == "i":
        mixed = mixed / -float(np.iinfo(values.dtype).min)
    return np.asarray(mixed, np.float32)


def _resample(wave: Samples, rate: int, wanted_rate: int) -> Samples:
    """Resample with soxr, as `librosa.resample` does, without importing librosa (2 s and 200 MB per process).

    This is four times as fast as FFmpeg's default, with aliases below -138 dB instead of -16 dB.
    """
    if rate == wanted_rate:
        return wave
    import soxr

    return np.asarray(soxr.resample(wave, rate, wanted_rate, quality="soxr_hq"), np.float32)
