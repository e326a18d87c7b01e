"""What a trial costs, from a few steps of it: the trial as the search runs it, on the first batches of each pass."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from ogmge import fit
from ogmge.config import TrialConfig
from ogmge.trainer import Batch

STEPS, SECONDS = 16, 1.5  # of a pass that is timed, whichever comes first
COUNT_SECONDS = 20.0


class UnknownSize(RuntimeError):
    """Data that do not say how many samples they have, and are too many to be counted."""


@dataclass(frozen=True)
class Cost:
    """Of one trial.

    Args:
        train_steps, validation_steps: that were timed.
        epoch_seconds: training, validation and checkpoint of a whole epoch.
        peak_bytes: of memory; on a CPU that of this process so far, with all that it has loaded.
        last_bytes, best_bytes: of the checkpoints.
        metrics: values that an epoch reports.
        trial: it was.
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
    """Samples of `train` and `validation`: the data's own `sizes`, where they have it, else counted.

    Raises:
        UnknownSize: that would take too long.
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
                f"these data do not say how many samples they have, and a pass takes longer than {COUNT_SECONDS:g} s: "
                "give their class an attribute `sizes`, {'train': N, 'validation': N}"
            )
    return count


@dataclass
class _Pass:
    """The first batches of a pass over a split: when they were asked for, and how many there were."""

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
    """Data of which each pass is short: one step in the first epoch, to warm up, and some in the next."""

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
        """Seconds of an epoch over all samples, from those of a short one: of both its passes, and of the whole."""
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
    """Trains the first steps of two epochs, the first of them to warm up.

    Raises:
        Exception: whatever a trial can fail with.
    """
    short, asked = _ShortData(data), config
    config = replace(config, epochs=2, modulation=replace(config.modulation, start=0))
    reports: list[tuple[float, dict[str, float]]] = []
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with TemporaryDirectory() as folder:
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
        best_bytes=best_bytes + sizes["validation"],  # it has a byte for each answer
        metrics=len(metrics) - 1,  # the epoch is no value of its own
        trial=asked,
    )


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
