"""Spectrograms and crops on the device, compared with the CPU's."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.gpu.rows import Load, Row, Values
from benchmarks.step import timed
from datasets.loader.loader import features
from datasets.loader.transforms import crop_batch, crop_one, random_box
from datasets.store.settings import Audio

LOG = Audio(sample_rate_hz=22050, seconds=3, n_fft=512, hop=353)  # CREMA-D's
MEL = Audio(sample_rate_hz=16000, seconds=10.24, n_fft=400, hop=160, feature="mel_filter_bank")
STORED, CROP = (256, 340), 224  # height and width of a stored frame, and side of its crop, in pixels
CPU = torch.device("cpu")
LEVELS = 1  # largest allowed difference of a crop, in 8-bit levels


def measure_features(load: Load) -> Iterator[Row]:
    """Yield the largest difference to the CPU's result, and milliseconds per batch, of each transform."""
    yield _crops(load)
    yield _audio(load, "log spectrogram", LOG)
    try:
        yield _audio(load, "mel filter bank", MEL)
    except ImportError as error:
        yield Row("mel filter bank", status="skipped", reason=f"needs {error.name}")


def _audio(load: Load, case: str, how: Audio) -> Row:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(load.batch, round(how.seconds * how.sample_rate_hz), generator=generator)
    wave = noise.mul_(3000).to(torch.int16)
    there = wave.to(load.device)
    difference = (features(there, how).to(CPU) - features(wave, how)).abs().max().item()
    return Row(case, {"max_difference": difference, **_speeds(load, lambda x: features(x, how), there, wave)})


def _crops(load: Load) -> Row:
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (load.batch, *STORED, 3), dtype=torch.uint8, generator=generator)
    numbers = torch.rand(load.batch, 22, generator=generator, dtype=torch.float64).tolist()
    boxes = [random_box(*STORED, drawn) for drawn in numbers]
    rows = torch.tensor([(box.top, box.left, box.height, box.width) for box in boxes], device=load.device)
    mirrored = torch.arange(load.batch) % 2 == 0
    there, flipped = frames.to(load.device), mirrored.to(load.device)

    def one_by_one(images: Tensor) -> Tensor:
        each = zip(images.permute(0, 3, 1, 2), boxes, mirrored.tolist(), strict=True)
        return torch.stack([crop_one(image, box, CROP, mirrored=flip) for image, box, flip in each])

    batched = crop_batch(there, rows, CROP, flipped)
    difference = (batched.to(CPU).int() - one_by_one(frames).int()).abs().max().item()
    values: Values = {
        "max_difference_levels": difference,
        "ms": _ms(lambda: crop_batch(there, rows, CROP, flipped), load.device),
        "cpu_ms": _ms(lambda: one_by_one(frames), CPU),
    }
    return load.judge("crops", values, f"at most {LEVELS} level", is_met=difference <= LEVELS)


def _speeds(load: Load, transform: Callable[[Tensor], Tensor], there: Tensor, here: Tensor) -> Values:
    return {"ms": _ms(lambda: transform(there), load.device), "cpu_ms": _ms(lambda: transform(here), CPU)}


def _ms(call: Callable[[], object], device: torch.device) -> float:
    """Return the median milliseconds of a call after a warm-up."""
    return statistics.median([timed(call, device) for _ in range(4)][1:]) * 1e3
