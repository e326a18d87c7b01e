"""Sound of a clip: mono audio of 16 bits."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from datasets.index.clips import Source
from datasets.store.container import decode, open_media, time_of
from datasets.store.declared_size import CUT_SHORT
from datasets.store.extent import check_whole, declared_end, measure
from datasets.store.part import part_length
from datasets.store.settings import DEFAULT_LIMITS, Limits
from datasets.store.source_file import ClipWarning, Unusable
from datasets.store.streams import audio_stream, start

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream

Samples = NDArray[np.float32]  # [samples], in [-1, 1]

SHORTEST_S = 0.1  # minimum length of audio
FULL_SCALE = 32768  # of 16-bit samples
SILENT = "silent"  # start of the reason that depends on `silence_dbfs`
CLIPPED_SHARE = 0.01  # of the samples of uncompressed audio, from which a warning is given
CLIPPED_PEAK = 2.0  # in full scales; the decoders of lossy codecs exceed 1 by less


def audio(source: Source, sample_rate_hz: int, stored_seconds: float, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Return a clip's audio: mono, int16 little endian, from `begin_s` on, at most `stored_seconds` long.

    Its length is that of the clip's part of the audio track. If the file declares it, it is exact: padding from an AAC
    encoder is removed, missing audio is silence.

    Raises:
        Unusable: if there is no audio, it cannot be decoded, or it is too short or silent.
        OSError: if the file cannot be read.
    """
    with open_media(source.paths[0], limits) as container:
        stream = audio_stream(container)
        wanted = part_length(source, stored_seconds)
        declared = declared_end(container, stream)
        wave, rate = _wave(container, stream, source.begin_s, wanted)
        is_uncompressed = stream.codec_context.name.startswith("pcm_")
    there = len(wave) / rate
    expected = there if declared is None else min(wanted, declared - source.begin_s)
    if declared is None and there < wanted:
        _check_whole(source, limits)
    if there < CUT_SHORT * expected:
        raise Unusable(f"cannot be decoded: truncated, {there:.1f} s of {expected:.1f} s of audio")
    if min(there, expected) < SHORTEST_S:
        raise Unusable(f"too short: {there:.2f} s of audio from {source.begin_s:g} s on")
    _check_level(wave, limits.silence_dbfs)
    _warn_if_clipped(wave, is_uncompressed)
    length = round(expected * sample_rate_hz)
    fitted = np.zeros(length, np.float32)
    resampled = _resample(wave, rate, sample_rate_hz)[:length]
    fitted[: len(resampled)] = resampled
    return np.clip(np.rint(fitted * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype("<i2").tobytes()


def _check_whole(source: Source, limits: Limits) -> None:
    """Check that a file whose sound ends before the clip is not truncated."""
    with open_media(source.paths[0], limits) as container:
        stream = audio_stream(container)
        check_whole(container, stream, measure(container, stream))


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


def _check_level(wave: Samples, silence_dbfs: float | None) -> None:
    """Check that mono samples are audible.

    The level is half the range of the samples, so that a constant offset is silent.

    Raises:
        Unusable: if samples are NaN or infinite, or the audio is silent.
    """
    broken = len(wave) - np.count_nonzero(np.isfinite(wave))
    if broken:
        raise Unusable(f"cannot be decoded: {broken:,} of {len(wave):,} audio samples are NaN or infinite")
    level = _to_dbfs((float(wave.max()) - float(wave.min())) / 2)
    if silence_dbfs is not None and level <= silence_dbfs:
        raise Unusable(f"{SILENT}: the level of its audio is {level:.1f} dBFS (`silence_dbfs` is {silence_dbfs:g})")


def _warn_if_clipped(wave: Samples, is_uncompressed: bool) -> None:
    """Warn if samples exceed full scale, beyond which they are cut, by more than a lossy codec lets them."""
    amplitude = np.abs(wave)
    peak, share = float(amplitude.max()), float(np.mean(amplitude > 1))
    if peak > CLIPPED_PEAK or (is_uncompressed and share > CLIPPED_SHARE):
        warnings.warn(
            "audio beyond full scale (float samples must be from -1 to 1) is clipped: "
            f"peak {_to_dbfs(peak):+.1f} dBFS, {100 * share:.0f} % of the samples",
            ClipWarning,
            stacklevel=2,
        )


def _to_dbfs(amplitude: float) -> float:
    return 20 * math.log10(amplitude) if amplitude else -math.inf


def _parts(container: InputContainer, stream: Stream, begin: float, end: float) -> tuple[list[Samples], int, int]:
    """Return mono samples, how many samples after `begin` they begin, and the sample rate (0: no samples).

    There is one array per frame. Frames that end before `begin`, or begin after `end`, are not kept.
    """
    parts: list[Samples] = []
    first, shift, rate, done = 0.0, 0, 0, 0
    for frame in decode(container, stream, begin):
        if not rate:
            first, rate = time_of(frame) - start(container), frame.sample_rate
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
    with np.errstate(invalid="ignore", over="ignore"):  # NaN and infinity have a reason of their own
        return _scale(shaped.astype(np.float64).mean(axis=0), values.dtype)


def _scale(mixed: NDArray[np.float64], dtype: np.dtype[Any]) -> Samples:
    """Return samples in full scales, given the type that FFmpeg decoded them to."""
    if dtype == np.uint8:
        mixed = (mixed - 128) / 128
    elif dtype.kind == "i":
        mixed = mixed / -float(np.iinfo(dtype).min)
    return np.asarray(mixed, np.float32)


def _resample(wave: Samples, rate: int, wanted_rate: int) -> Samples:
    """Resample with soxr, as `librosa.resample` does, without importing librosa (2 s and 200 MB per process).

    This is four times as fast as FFmpeg's default, with aliases below -138 dB instead of -16 dB.
    """
    if rate == wanted_rate:
        return wave
    import soxr

    return np.asarray(soxr.resample(wave, rate, wanted_rate, quality="soxr_hq"), np.float32)
