"""Small real media files: videos with moving, textured images and audio, written with the publishers' codecs."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import simplejpeg

Array = np.ndarray


def texture(height: int, width: int, rng: np.random.Generator) -> Array:
    """Return noise with most power at low frequencies, like photographs, and a few sharp bars: [H, W, 3]."""
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    falling = 1.0 / (np.hypot(fy, fx) + 2.0 / max(height, width))
    noise = rng.standard_normal((3, height, width))
    grown = np.fft.irfft2(np.fft.rfft2(noise) * falling, s=(height, width)).transpose(1, 2, 0)
    picture = 128 + 45 * (grown - grown.mean()) / grown.std()
    for top, left in rng.integers(0, (height, width), (12, 2)):
        picture[top : top + height // 12, left : left + width // 40] = rng.integers(0, 255, 3)
    return np.clip(picture, 0, 255).astype(np.uint8)


def moving(frames: int, height: int, width: int, seed: int = 0, step: int = 2) -> list[Array]:
    """Return frames of a camera that moves right by `step` pixels per frame over a textured scene in changing light."""
    rng = np.random.default_rng(seed)
    scene = texture(height, width * 2, rng)
    light = 1 + 0.2 * np.sin(np.arange(frames) / 7)
    shots = [np.roll(scene, -step * i, axis=1)[:, :width] for i in range(frames)]
    return [np.clip(shot * gain, 0, 255).astype(np.uint8) for shot, gain in zip(shots, light, strict=True)]


def numbered(frames: int, height: int = 64, width: int = 96) -> list[Array]:
    """Return frames whose grey level encodes their number i: 4 + 2 i."""
    return [np.full((height, width, 3), 4 + 2 * i, np.uint8) for i in range(frames)]


def level(jpeg: bytes) -> int:
    """Return the number of a frame of `numbered`, approximately because of lossy coding."""
    return round((float(simplejpeg.decode_jpeg(jpeg).mean()) - 4) / 2)


def chirp(seconds: float, rate: int, channels: int = 1) -> Array:
    """Return a falling and rising tone with noise, in [-1, 1]: [channels, samples]."""
    time = np.arange(round(seconds * rate)) / rate
    tone = 0.5 * np.sin(2 * np.pi * (300 + 200 * np.sin(2 * np.pi * 0.5 * time)) * time)
    noise = 0.02 * np.random.default_rng(0).standard_normal((channels, len(time)))
    return (tone + noise).astype(np.float32)


def write(
    path: Path,
    pictures: list[Array] | None = None,
    sound: Array | None = None,
    *,
    fps: int = 25,
    rate: int = 44100,
    codecs: tuple[str, str] = ("libx264", "aac"),
    options: dict[str, str] | None = None,
) -> Path:
    """Write a video with or without sound, or an audio file; the suffix determines the container."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        streams = []
        if pictures is not None:
            height, width = pictures[0].shape[:2]
            video = out.add_stream(codecs[0], rate=fps, width=width, height=height, pix_fmt="yuv420p")
            video.options = options or {}
            streams.append((video, film_frames(pictures, fps)))
        if sound is not None:
            layout = "mono" if len(sound) == 1 else "stereo"
            audio = out.add_stream(codecs[1], rate=rate, layout=layout)
            streams.append((audio, sound_frames(sound, rate, layout)))
        for stream, frames in streams:
            for frame in frames:
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    return path


def film_frames(pictures: list[Array], fps: int):
    for i, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = i, Fraction(1, fps)
        yield frame


def sound_frames(sound: Array, rate: int, layout: str):
    for first in range(0, sound.shape[1], 1024):
        part = np.ascontiguousarray(sound[:, first : first + 1024], dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
        yield frame


def wav(path: Path, sound: Array, rate: int) -> Path:
    """Write 16-bit PCM audio."""
    return write(path, None, sound, rate=rate, codecs=("", "pcm_s16le"))


def jpegs(folder: Path, pictures: list[Array], name: str = "frame{:06d}.jpg") -> Path:
    """Write JPEG files, numbered from 1, to a folder; pictures without channels become grey."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(pictures, start=1):
        grey = picture.ndim == 2
        pixels = np.ascontiguousarray(picture[..., None] if grey else picture)
        colour, sampling = ("GRAY", "Gray") if grey else ("RGB", "420")
        data = simplejpeg.encode_jpeg(pixels, quality=95, colorspace=colour, colorsubsampling=sampling)
        (folder / name.format(i)).write_bytes(data)
    return folder
