"""A whole training run: epochs, checkpoints, reports. What a search calls for each trial."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch

from ogmge import checkpoint
from ogmge.config import TrialConfig
from ogmge.model import build_model
from ogmge.training import Batch, Trainer

log = logging.getLogger(__name__)

Report = Callable[[dict[str, float]], None]


class Data(Protocol):
    """What is trained on. Batches are (modality -> [B, *shape], class ids [B]), on any device."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Modality -> shape of one sample, in the order that the model and all reports follow."""

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes, by id."""

    def train(self, *, batch_size: int, seed: int, epoch: int) -> Iterable[Batch]:
        """One pass over the training set, in an order that (seed, epoch) determine."""

    def validation(self, *, batch_size: int) -> Iterable[Batch]:
        """The validation set, each sample once, always in the same order."""


@dataclass(frozen=True)
class Objective:
    """What makes one epoch better than another."""

    metric: str = "val/accuracy"
    mode: Literal["max", "min"] = "max"

    def better(self, new: float, old: float | None) -> bool:
        """Whether `new` beats `old`; equal does not, so that of equal epochs the first counts."""
        return old is None or (new > old if self.mode == "max" else new < old)


class NonFiniteMetric(RuntimeError):
    """A metric came out infinite or not a number."""

    def __init__(self, metric: str, value: float, epoch: int) -> None:
        super().__init__(f"{metric} is {value} at epoch {epoch}: the model has diverged, lower the learning rate")


def start(config: TrialConfig, data: Data, device: torch.device) -> Trainer:
    """The trainer of a trial before its first epoch.

    Raises:
        ConfigError: a model that cannot be built for these data.
        ValueError: a modulation that finds nothing to modulate.
    """
    return Trainer(build_model(config, data.shapes, len(data.classes)), config, device)


def _restore(trainer: Trainer, path: Path) -> list[dict[str, float]]:
    """The epochs behind us, their state loaded; none where there is no checkpoint, or none that can be read."""
    if not path.exists():
        return []
    try:
        state = checkpoint.load(path)
    except checkpoint.CheckpointError as error:
        log.warning("%s; the trial begins again", error)
        return []
    trainer.load_state_dict(state["trainer"])
    history: list[dict[str, float]] = state["history"]
    return history


def _run_epoch(trainer: Trainer, data: Data, epoch: int, objective: Objective) -> tuple[dict[str, float], torch.Tensor]:
    config = trainer.config
    began = time.perf_counter()
    batches = data.train(batch_size=config.batch_size, seed=config.seed, epoch=epoch)
    metrics = trainer.train_epoch(batches, epoch)
    validation, correct = trainer.evaluate(data.validation(batch_size=config.batch_size))
    metrics |= validation
    for name in ("val/loss", objective.metric):
        if not math.isfinite(metrics[name]):
            raise NonFiniteMetric(name, metrics[name], epoch)
    return {"epoch": epoch, **metrics, "seconds": time.perf_counter() - began}, correct


def _weights(trainer: Trainer, data: Data, metrics: dict[str, float], correct: torch.Tensor) -> dict[str, Any]:
    return {
        "model": trainer.model.state_dict(),
        "config": asdict(trainer.config),
        "shapes": {name: list(shape) for name, shape in data.shapes.items()},
        "classes": list(data.classes),
        "metrics": metrics,
        "correct": correct.cpu(),
    }


def train(
    config: TrialConfig,
    data: Data,
    report: Report,
    *,
    folder: Path,
    objective: Objective | None = None,
    device: torch.device | None = None,
) -> None:
    """Trains from the last checkpoint in `folder` to the end, and reports each epoch.

    After each epoch `folder/last.pt` holds all that the next depends on, and `folder/best.pt` the weights of the best
    epoch so far with its metrics. A run that was stopped after any epoch and is started again on a CPU ends with the
    same bits as one that was not; the epochs before are reported again, as they were.

    Args:
        config: the trial.
        data: see `Data`.
        report: called after each epoch with its metrics: `epoch` (from 0), `train/…`, `val/…`, `ratio/NAME`,
            `coefficient/NAME`, `learning_rate`, `seconds`, and `best`, the best of the objective so far.
        folder: for the checkpoints; made where it is missing.
        objective: validation accuracy by default.
        device: the CPU by default.

    Raises:
        ConfigError, ValueError: see `start`.
        NonFiniteLoss, NonFiniteMetric: training diverged.
    """
    objective = objective or Objective()
    trainer = start(config, data, device or torch.device("cpu"))
    history = _restore(trainer, folder / "last.pt")
    best: float | None = None
    for metrics in history:
        best = metrics["best"]
        report(metrics)
    for epoch in range(len(history), config.epochs):
        metrics, correct = _run_epoch(trainer, data, epoch, objective)
        if objective.better(metrics[objective.metric], best):
            best = metrics[objective.metric]
            checkpoint.save(_weights(trainer, data, metrics, correct), folder / "best.pt")
        metrics["best"] = best if best is not None else metrics[objective.metric]
        history.append(metrics)
        checkpoint.save({"trainer": trainer.state_dict(), "history": history}, folder / "last.pt")
        report(metrics)
