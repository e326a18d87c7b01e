"""librosa's results for reproducible sounds, stored for the tests that compare with them.

On its first use librosa compiles for up to 20 seconds. Therefore the fast tests read the stored values, and a slow test
computes them again with librosa. After a change of the sounds or settings here, run:

    uv run python -m tests.support.reference_audio
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from tests.support.films import chirp

Array = np.ndarray

FILE = Path(__file__).parent / "data" / "audio.npz"
STRIDE = 23  # every 23rd value is stored; a prime, so that each bin and each frame has some
SPECTROGRAMS = [(22050, 3.0, 512, 353), (16000, 5.0, 256, 128), (8000, 1.0, 400, 160)]  # rate, seconds, n_fft, hop
MELS = [(16000, 400, 160), (22050, 551, 220), (16000, 512, 128)]  # rate, n_fft, hop; one second each
RATES = [(44100, 16000), (48000, 22050), (16000, 22050)]  # from, to; 1.5 seconds of `films.chirp` in stereo


def sounds(rate: int, seconds: float, seed: int = 0) -> Array:
    """Return a chord, a click in silence, fading noise and full-scale white noise, rounded to 16 bits: [4, samples]."""
    rng = np.random.default_rng(seed)
    samples = round(rate * seconds)
    time = np.arange(samples) / rate
    chord = sum(np.sin(2 * np.pi * hz * time) for hz in (220.0, 277.2, 329.6, 0.3 * rate)) / 4
    click = (np.arange(samples) == samples // 2).astype(float)
    fading = np.exp(-8 * time / seconds) * rng.uniform(-1, 1, samples)
    waves = np.stack([chord, click, fading, rng.uniform(-1, 1, samples)])
    return (waves * 32767).astype(np.int16).astype(np.float32) / 32768


def thinned(values: Array) -> Array:
    """Select values of [waves, ..., frames] to store: every 23rd, and all frames around the click: [waves, n]."""
    middle = values.shape[-1] // 2
    parts = values.reshape(len(values), -1)[:, ::STRIDE], values[..., middle - 2 : middle + 2].reshape(len(values), -1)
    return np.concatenate(parts, axis=1)


def spectrograms(waves: Array, n_fft: int, hop: int) -> Array:
    """Return librosa's magnitudes: [waves, bins, frames]."""
    import librosa

    transform = [librosa.stft(w, n_fft=n_fft, hop_length=hop, center=True, pad_mode="constant") for w in waves]
    return np.abs(np.stack(transform))


def mel_energies(waves: Array, rate: int, n_fft: int, hop: int) -> Array:
    """Return librosa's mel energies, with windows padded to a power of two: [waves, 128, samples // hop]."""
    import librosa

    length = {400: 512, 551: 1024, 512: 512}[n_fft]
    energies = []
    for wave in waves:
        padded = np.pad(wave - wave.mean(), (0, (rate // hop - 1) * hop + length - len(wave)))
        power = np.abs(librosa.stft(padded, n_fft=length, win_length=n_fft, hop_length=hop, center=False)) ** 2
        mel = {"n_fft": length, "n_mels": 128, "fmin": 20, "htk": True, "norm": None}
        energies.append(librosa.feature.melspectrogram(S=power, sr=rate, **mel))
    return np.stack(energies)


def resampled(rate: int, wanted: int) -> Array:
    """Resample a mono chirp with librosa: [1, samples]."""
    import librosa

    return librosa.resample(chirp(1.5, rate, 2).mean(axis=0), orig_sr=rate, target_sr=wanted)[None]


def made() -> Iterator[tuple[str, Array]]:
    """Yield pairs (name, librosa's values); the first dimension is that of the waves."""
    for rate, seconds, n_fft, hop in SPECTROGRAMS:
        yield f"spectrogram {rate} {n_fft} {hop}", spectrograms(sounds(rate, seconds), n_fft, hop)
    for rate, n_fft, hop in MELS:
        yield f"mel {rate} {n_fft} {hop}", mel_energies(sounds(rate, 1.0), rate, n_fft, hop)
    for rate, wanted in RATES:
        yield f"resampled {rate} {wanted}", resampled(rate, wanted)


@cache
def stored() -> dict[str, Array]:
    """Return the stored values by name; `NAME largest` holds the largest value of each wave."""
    with np.load(FILE) as file:
        return dict(file)


def store(file: Path) -> None:
    """Compute librosa's values, select some, and write them as float32."""
    kept = {}
    for name, values in made():
        kept[name] = thinned(values).astype(np.float32)
        kept[f"{name} largest"] = values.reshape(len(values), -1).max(axis=1).astype(np.float32)
    file.parent.mkdir(exist_ok=True)
    np.savez_compressed(file, **kept)


if __name__ == "__main__":
    store(FILE)
