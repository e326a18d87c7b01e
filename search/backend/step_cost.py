"""Cost of a trial, measured by training it as the search does, on the first batches of each pass."""

from __future__ import annotations

import resource
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from ogmge import fit
from ogmge.batches import Batch
from ogmge.config import TrialConfig

STEPS, SECONDS = 16, 1.5  # limits of a timed pass, whichever comes first
COUNT_SECONDS = 20.0


class UnknownSize(RuntimeError):
    """Data that do not state how many samples they have and take too long to count."""


@dataclass(frozen=True)
class Cost:
    """Cost of one trial.

    Args:
        train_steps, validation_steps: number of timed steps.
        epoch_seconds: duration of a whole epoch: training, validation and checkpoint.
        peak_bytes: peak memory; on a CPU, the peak of this process so far, including everything it has loaded.
        last_bytes, best_bytes: sizes of the two checkpoints.
        metrics: number of values that an epoch reports.
        trial: configuration that was measured.
    """

    train_steps: int
    validation_steps: int
    epoch_seconds: float
    peak_bytes: int
    last_bytes: int
    best_bytes: int
    metrics: int
    trial: TrialConfig


def sizes_of(data: fit.Data) -> Mapping[str, int]:
    """Return the number of samples in `train` and `validation`, from the data's `sizes` or by counting.

    Raises:
        UnknownSize: if counting takes too long.
    """
    known: Mapping[str, int] | None = getattr(data, "sizes", None)
    if known is not None:
        return known
    until = time.monotonic() + COUNT_SECONDS
    train = _count_batches(data.train(batch_size=64, seed=0, epoch=0), until)
    return {"train": train, "validation": _count_batches(data.validation(batch_size=64), until)}


def _count_batches(batches: Iterable[Batch], until: float) -> int:
    count = 0
    for _, y in batches:
        count += len(y)
        if time.monotonic() > until:
            raise UnknownSize(
                "the data do not state how many samples they have, and counting them takes longer than "
                f"{COUNT_SECONDS:g} s: add an attribute `sizes` to their class, "
                "{'train': N, 'validation': N}"
            )
    return count


@dataclass
class _Pass:
    """First batches of a pass over a split: when the pass began, and its steps and samples so far."""

    began: float = 0.0
    steps: int = 0
    samples: int = 0

    def take(self, batches: Iterable[Batch], steps: int) -> Iterator[Batch]:
        self.began, self.steps, self.samples = time.perf_counter(), 0, 0
        for x, y in batches:
            self.steps += 1
            self.samples += len(y)
            yield x, y
            if self.steps >= steps or time.perf_counter() - self.began > SECONDS:
                return


@dataclass
class _ShortData:
    """Data with short passes: one step in the first epoch, as a warm-up, and up to `STEPS` in the second."""

    data: fit.Data
    training: _Pass = field(default_factory=_Pass)
    held_out: _Pass = field(default_factory=_Pass)
    steps: int = 1

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return self.data.shapes

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.data.classes)

    def train(self, *, batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
        self.steps = STEPS if epoch else 1
        return self.training.take(self.data.train(batch_size=batch_size, seed=seed, epoch=epoch), self.steps)

    def validation(self, *, batch_size: int) -> Iterator[Batch]:
        return self.held_out.take(self.data.validation(batch_size=batch_size), self.steps)

    def epoch_seconds(self, passes: float, whole: float, sizes: Mapping[str, int]) -> float:
        """Extrapolate the seconds of a full epoch.

        Args:
            passes: seconds of both short passes together.
            whole: seconds of the whole short epoch, including the checkpoint.
            sizes: number of samples per split.
        """
        training = self.held_out.began - self.training.began
        train = training / self.training.samples * sizes["train"]
        validation = (passes - training) / self.held_out.samples * sizes["validation"]
        return train + validation + (whole - passes)


def measure(
    config: TrialConfig,
    data: fit.Data,
    sizes: Mapping[str, int],
    objective: fit.Objective,
    device: torch.device,
) -> Cost:
    """Measure a trial in the first steps of two epochs, of which the first is a warm-up.

    Raises:
        Exception: if the trial fails, with its own error.
    """
    short, asked = _ShortData(data), config
    config = replace(config, epochs=2, modulation=replace(config.modulation, start=0))
    reports: list[tuple[float, dict[str, float]]] = []
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):  # the preflight has told them
        fit.train(
            config,
            short,
            lambda metrics: reports.append((time.perf_counter(), metrics)),
            folder=Path(folder),
            objective=objective,
            device=device,
        )
        last_bytes, best_bytes = ((Path(folder) / name).stat().st_size for name in (fit.LAST, fit.BEST))
    (began, _), (ended, metrics) = reports
    return Cost(
        train_steps=short.training.steps,
        validation_steps=short.held_out.steps,
        epoch_seconds=short.epoch_seconds(metrics["seconds"], ended - began, sizes),
        peak_bytes=_peak_bytes(device),
        last_bytes=last_bytes,
        best_bytes=best_bytes + sizes["validation"],  # the full file has one byte per validation sample
        metrics=len(metrics) - 1,  # without the epoch's number
        trial=asked,
    )


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
