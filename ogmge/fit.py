"""A whole training run: epochs, checkpoints, reports. What a search calls for each trial."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch

from ogmge import checkpoint
from ogmge.config import TrialConfig
from ogmge.distributed import ALONE, Ranks, part
from ogmge.inference import TrainedModel
from ogmge.metrics import Answers
from ogmge.model import build_model
from ogmge.trainer import Batch, Trainer

log = logging.getLogger(__name__)

Report = Callable[[dict[str, float]], None]
Measure = Callable[[TrainedModel], Mapping[str, float]]  # the model after an epoch -> more metrics of that epoch

LAST, BEST = "last.pt", "best.pt"  # in a training's folder
UNANSWERED = Answers(torch.zeros(0, dtype=torch.bool), torch.zeros(0, dtype=torch.int64))


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


VALIDATION_ACCURACY = Objective()


class NonFiniteMetric(RuntimeError):
    """A metric came out infinite or not a number."""

    def __init__(self, metric: str, value: float, epoch: int) -> None:
        super().__init__(f"{metric} is {value} at epoch {epoch}: the model has diverged, lower the learning rate")


def start(config: TrialConfig, data: Data, device: torch.device, ranks: Ranks = ALONE) -> Trainer:
    """The trainer of a trial before its first epoch.

    Raises:
        ConfigError: a model that cannot be built for these data.
        ValueError: a modulation that finds nothing to modulate.
    """
    return Trainer(build_model(config, data.shapes, len(data.classes)), config, device, ranks)


def _read(path: Path) -> dict[str, Any] | None:
    """A checkpoint; None where there is none, or none that can be read."""
    if not path.exists():
        return None
    try:
        return checkpoint.load(path)
    except checkpoint.CheckpointError as error:
        log.warning("%s; the trial begins again", error)
        return None


# ---- for trainings that share a prefix ----


def prefix_state(folder: Path) -> dict[str, Any]:
    """What another training with the same prefix needs to go on from the last epoch of the one in a folder.

    Raises:
        checkpoint.CheckpointError: there is none, or it cannot be read.
    """
    return {"last": checkpoint.load(folder / LAST), "best": checkpoint.load(folder / BEST)}


def inherit(state: Mapping[str, Any], config: TrialConfig, folder: Path) -> int:
    """Has a training that has not begun go on from there: `train` reports those epochs as its own, with `inherited`.

    Args:
        state: of a training that is the same as this one up to there (`ogmge.prefix_keys.keys`), see `prefix_state`.
        config: of this one.
        folder: of this one.

    Returns:
        how many epochs were inherited.
    """
    epochs = len(state["last"]["history"])
    checkpoint.save({**state["best"], "config": asdict(config)}, folder / BEST)
    checkpoint.save({**state["last"], "inherited": epochs}, folder / LAST)  # last: it says that both are there
    return epochs


class _Run:
    """A training in its folder: the epochs that it has, and each that it adds to them.

    Args:
        trainer: before the first epoch; its state is loaded where the folder has one.
        data: this process's part.
        objective: see `train`.
        folder: of the checkpoints. The first process reads it: the others may not see its files.
        measure: see `train_and_measure`.
    """

    def __init__(
        self, trainer: Trainer, data: Data, objective: Objective | None, folder: Path, measure: Measure | None = None
    ) -> None:
        self.trainer, self.data, self.objective, self.folder = trainer, data, objective, folder
        self.measure = measure
        self.history: list[dict[str, float]] = []
        self.inherited = 0  # epochs of another training
        state = trainer.ranks.first(_read(folder / LAST) if trainer.ranks.rank == 0 else None)
        if state is not None:
            trainer.load_state_dict(state["trainer"])
            self.history, self.inherited = state["history"], state.get("inherited", 0)

    def reports(self) -> Iterator[dict[str, float]]:
        """What was reported of the epochs that it has."""
        for epoch, metrics in enumerate(self.history):
            yield {**metrics, "inherited": 1.0} if epoch < self.inherited else metrics

    def add_epoch(self) -> dict[str, float]:
        """Trains an epoch, validates and saves it; returns its metrics."""
        began, epoch, config = time.perf_counter(), len(self.history), self.trainer.config
        batches = self.data.train(batch_size=config.batch_size, seed=config.seed, epoch=epoch)
        metrics: dict[str, float] = {"epoch": epoch, **self.trainer.train_epoch(batches, epoch)}
        answers = UNANSWERED if self.objective is None else self._validate(self.objective, metrics)
        if self.measure is not None:
            metrics |= self._measure(self.measure, metrics)
        metrics["seconds"] = time.perf_counter() - began
        before = self.history[-1].get("best") if self.history else None
        best = self._best(metrics, before)
        if best != before or best is None:
            self._save(_weights(self.trainer, self.data, metrics, answers), BEST)
        if best is not None:
            metrics["best"] = best
        self.history.append(metrics)
        self._save({"trainer": self.trainer.state_dict(), "history": self.history, "inherited": self.inherited}, LAST)
        return metrics

    def _validate(self, objective: Objective, metrics: dict[str, float]) -> Answers:
        """Adds the validation's metrics; returns which samples were right."""
        batches = self.data.validation(batch_size=self.trainer.config.batch_size)
        validation, answers = self.trainer.evaluate(batches)
        metrics |= validation
        for name in ("val/loss", objective.metric):
            if not math.isfinite(metrics[name]):
                raise NonFiniteMetric(name, metrics[name], len(self.history))
        return answers

    def _measure(self, measure: Measure, metrics: Mapping[str, float]) -> Mapping[str, float]:
        """Return the additional metrics of an epoch; the random number generators stay as they are."""
        trainer, data = self.trainer, self.data
        shapes = {name: data.shapes[name] for name in trainer.names}
        model = TrainedModel(trainer.model.eval(), trainer.config, shapes, list(data.classes), dict(metrics))
        with torch.random.fork_rng([trainer.device] if trainer.device.type == "cuda" else []):
            return measure(model)

    def _best(self, metrics: dict[str, float], before: float | None) -> float | None:
        """The best value so far; None without an objective, where each epoch is better than those before."""
        if self.objective is None:
            return None
        new = metrics[self.objective.metric]
        return new if self.objective.better(new, before) else before

    def _save(self, state: dict[str, Any], name: str) -> None:
        if self.trainer.ranks.rank == 0:
            checkpoint.save(state, self.folder / name)


def _weights(trainer: Trainer, data: Data, metrics: dict[str, float], answers: Answers) -> dict[str, Any]:
    return {
        "model": trainer.model.state_dict(),
        "config": asdict(trainer.config),
        "shapes": {name: list(shape) for name, shape in data.shapes.items()},
        "classes": list(data.classes),
        "metrics": metrics,
        "correct": answers.correct.cpu(),
        "targets": answers.targets.cpu().to(torch.int32),
    }


def _set_determinism(on: bool) -> None:
    if on:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which cuBLAS reads when it starts
    if torch.are_deterministic_algorithms_enabled() != on:  # the call imports torch.compile: 5 s
        torch.use_deterministic_algorithms(on, warn_only=True)


def train(
    config: TrialConfig,
    data: Data,
    report: Report,
    *,
    folder: Path,
    objective: Objective | None = VALIDATION_ACCURACY,
    device: torch.device | None = None,
    ranks: Ranks = ALONE,
    epochs: int | None = None,
) -> None:
    """Trains from the last checkpoint in `folder` to the end, and reports each epoch.

    After each epoch `folder/last.pt` holds all that the next depends on, and `folder/best.pt` the weights of the best
    epoch so far with its metrics. A run that was stopped after any epoch and is started again on a CPU ends with the
    same bits as one that was not; the epochs before are reported again, as they were.

    Args:
        config: the trial.
        data: see `Data`.
        report: called after each epoch with its metrics: `epoch` (from 0), `train/…`, `val/…`, `ratio/NAME`,
            `coefficient/NAME`, `learning_rate`, `seconds`, and `best`, the best of the objective so far; and with
            `inherited` = 1 where another training did it, see `inherit`.
        folder: for the checkpoints; made where it is missing.
        objective: validation accuracy by default; None validates nothing, and the last epoch counts as the best.
        device: the CPU by default.
        ranks: this process's place among those that train the model together, each on its part of every batch. All of
            them call this with the same arguments and `torch.distributed` begun; all report, and the first one writes.
        epochs: end after so many, with the schedule of all of `config.epochs`.

    Raises:
        ConfigError, ValueError: see `start`.
        NonFiniteLoss, NonFiniteMetric: training diverged.
    """
    data = part(data, ranks)
    _complete(_Run(_trainer(config, data, device, ranks), data, objective, folder), report, epochs)


def train_and_measure(
    config: TrialConfig,
    data: Data,
    report: Report,
    measure: Measure,
    *,
    folder: Path,
    objective: Objective = VALIDATION_ACCURACY,
    device: torch.device | None = None,
) -> None:
    """Trains as `train` does in one process, to the same bits, with more metrics of each epoch.

    Args:
        config, data, report, folder, objective, device: see `train`.
        measure: called with the model in evaluation mode once an epoch is validated, before anything of the epoch is
            saved: what it returns is saved and reported with the epoch's other metrics. It leaves the model and its
            gradients as they are; `TrainedModel.metrics` has the epoch.

    Raises:
        ConfigError, ValueError, NonFiniteLoss, NonFiniteMetric: see `train`; and whatever `measure` raises.
    """
    _complete(_Run(_trainer(config, data, device, ALONE), data, objective, folder, measure), report, None)


def _trainer(config: TrialConfig, data: Data, device: torch.device | None, ranks: Ranks) -> Trainer:
    _set_determinism(config.deterministic)
    return start(config, data, device or torch.device("cpu"), ranks)


def _complete(run: _Run, report: Report, epochs: int | None) -> None:
    """Report the epochs that a training has, then train and report the others."""
    for metrics in run.reports():
        report(metrics)
    planned = run.trainer.config.epochs
    while len(run.history) < min(planned, epochs or planned):
        report(run.add_epoch())
