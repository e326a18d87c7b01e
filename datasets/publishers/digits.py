"""The demo: handwritten digits, each paired with its telephone keypad tone on a noisy line.

The images are real handwriting (`sklearn.datasets.load_digits`: 1,797 images of 8 x 8 pixels, Alpaydin and Kaynak,
UCI). The tones are synthesised (DTMF, ITU-T Q.23) and become spectrograms in the same way as other audio. Nothing is
downloaded. Neither modality is enough alone, and the tones are learnt faster than the handwriting.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from datasets.loader.in_memory import InMemory, Split
from datasets.loader.spectrograms import log_spectrogram
from datasets.store.settings import COUNT, check_bounds

SAMPLE_RATE_HZ = 8000
SECONDS = 0.5
CANVAS = 12  # pixels per side
PIXEL_NOISE = 0.2
VALIDATION_IMAGES, TEST_IMAGES = 400, 397
LOW_HZ = np.array([941, 697, 697, 697, 770, 770, 770, 852, 852, 852], dtype=float)  # of the digits 0 to 9
HIGH_HZ = np.array([1336, 1209, 1336, 1477, 1209, 1336, 1477, 1209, 1336, 1477], dtype=float)

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


def tones(digits: NDArray[np.int64], snr_db: tuple[float, float], rng: np.random.Generator) -> Floats:
    """Return keypad tones in white noise, with random length, position, phase, twist and signal-to-noise ratio.

    Args:
        digits: digits from 0 to 9, [N].
        snr_db: lowest and highest signal-to-noise ratio.
        rng: source of all randomness.

    Returns:
        [N, samples], in [-1, 1].
    """
    n, samples = len(digits), int(SAMPLE_RATE_HZ * SECONDS)
    time = np.arange(samples) / SAMPLE_RATE_HZ
    length = rng.uniform(0.1, 0.4, (n, 1))
    begin = rng.uniform(0.0, SECONDS - length)
    twist = 10 ** (rng.uniform(-4.0, 4.0, (n, 1)) / 20)  # amplitude ratio of the high tone to the low tone
    phase = rng.uniform(0.0, 2 * np.pi, (2, n, 1))
    low = np.sin(2 * np.pi * LOW_HZ[digits][:, None] * time + phase[0])
    high = twist * np.sin(2 * np.pi * HIGH_HZ[digits][:, None] * time + phase[1])
    tone = (low + high) * ((time >= begin) & (time < begin + length))
    power = (1 + twist**2) / 2
    noise = np.sqrt(power / 10 ** (rng.uniform(*snr_db, (n, 1)) / 10)) * rng.standard_normal((n, samples))
    mixed: Floats = tone + noise
    loudest: Floats = np.abs(mixed).max(axis=1, keepdims=True)
    return mixed / loudest


def place_images(images: Floats, rng: np.random.Generator) -> Floats:
    """Place images at random positions on a larger, noisy canvas: [N, 8, 8] in [0, 1] -> [N, 12, 12]."""
    n, side = len(images), images.shape[1]
    canvas = rng.normal(0.0, PIXEL_NOISE, (n, CANVAS, CANVAS))
    for i, (top, left) in enumerate(rng.integers(0, CANVAS - side + 1, (n, 2))):
        canvas[i, top : top + side, left : left + side] += images[i]
    return canvas


@dataclass(frozen=True)
class Digits:
    """Options of the demo's data set.

    Args:
        seed: seed of the tones, the noise and the positions of the digits.
        snr_db: lowest and highest signal-to-noise ratio of the tones, in dB; louder tones help the audio lead.
        tones_per_image: number of samples made from each image, each with its own tone and position.
        split_seed: seed that selects the images to hold out for validation.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "strict": True}

    name: Literal["digits"] = "digits"
    seed: int = 0
    snr_db: tuple[float, float] = (-18.0, -10.0)
    tones_per_image: int = field(default=2, metadata=COUNT)
    split_seed: int = 0

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, self.snr_db)):
            raise ValueError(f"`snr_db` must be two finite numbers, but got {list(self.snr_db)}")
        if self.snr_db[0] > self.snr_db[1]:
            raise ValueError(f"`snr_db` must be [lowest, highest], but got {list(self.snr_db)}")
        check_bounds(self)

    def open(self) -> InMemory:
        """Return samples of 1,000 training and 400 validation images, and of 397 test images on demand."""
        from sklearn.model_selection import train_test_split

        _, labels, rest, test = _handwriting()
        lowest, highest = self.snr_db  # from a file it is a list, which cannot be a cache key
        samples = _all_but_test(self.seed, (lowest, highest), self.tones_per_image)
        parts = train_test_split(
            np.arange(len(rest)), test_size=VALIDATION_IMAGES, stratify=labels[rest], random_state=self.split_seed
        )
        training, validation = (_select(samples, part, self.tones_per_image) for part in parts)
        names = [str(d) for d in range(10)]
        make_test = partial(_samples, self.seed, self.snr_db, self.tones_per_image, test)
        return InMemory(names, training, validation, _fingerprint(training, validation), make_test)


def _fingerprint(*splits: Split) -> str:
    digest = hashlib.sha256()
    for tensor in [tensor for split in splits for tensor in (*split.x.values(), split.y)]:
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:16]


@lru_cache(maxsize=1)
def _handwriting() -> tuple[Floats, Indices, Indices, Indices]:
    """Return the images in [0, 1], their digits, the indices for training and validation, and those for the test."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    rest, test = train_test_split(np.arange(len(labels)), test_size=TEST_IMAGES, stratify=labels, random_state=0)
    return images.reshape(-1, 8, 8) / 16.0, labels, rest, test


@lru_cache(maxsize=1)
def _all_but_test(seed: int, snr_db: tuple[float, float], tones_per_image: int) -> Split:
    """Return the samples of all images outside the test split; cached, since a process opens many splits of them."""
    return _samples(seed, snr_db, tones_per_image, _handwriting()[2])


def _samples(seed: int, snr_db: tuple[float, float], tones_per_image: int, index: Indices) -> Split:
    """Return samples whose tones and positions depend only on the image and the seed, not on the split."""
    images, labels, _, _ = _handwriting()
    audio, visual = [], []
    for i in index:
        rng = np.random.default_rng([seed, int(i)])
        audio.append(tones(np.repeat(labels[i], tones_per_image), snr_db, rng))
        visual.append(place_images(np.repeat(images[i][None], tones_per_image, axis=0), rng))
    wave = torch.from_numpy(np.concatenate(audio)).float()
    image = torch.from_numpy(np.concatenate(visual)).float().unsqueeze(1)
    spectrogram = log_spectrogram(wave, n_fft=256, hop=128)
    y = torch.from_numpy(np.repeat(labels[index], tones_per_image)).long()
    return Split({"audio": spectrogram, "visual": image}, y)


def _select(samples: Split, images: Indices, each: int) -> Split:
    """Return the samples of some images, `each` per image."""
    index = torch.from_numpy((images[:, None] * each + np.arange(each)).ravel())
    return Split({name: value[index] for name, value in samples.x.items()}, samples.y[index])
