"""One training run from start to end: epochs, checkpoints, reports. A search calls `train` for each trial."""

from __future__ import annotations

import json
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
from ogmge.batches import Batch
from ogmge.config import TrialConfig
from ogmge.devices import kept_rng
from ogmge.distributed import ALONE, Ranks, part
from ogmge.inference import TrainedModel
from ogmge.metrics import Answers
from ogmge.model import build_model
from ogmge.trainer import Trainer

log = logging.getLogger(__name__)

Report = Callable[[dict[str, float]], None]
Measure = Callable[[TrainedModel], Mapping[str, float]]  # the model after an epoch -> more metrics of that epoch

LAST, BEST = "last.pt", "best.pt"  # files in the folder of a run
UNANSWERED = Answers(torch.zeros(0, dtype=torch.bool), torch.zeros(0, dtype=torch.int64))


class Data(Protocol):
    """Training and validation data. A batch is (modality -> [B, *shape], class ids [B]), on any device."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Modality -> shape of one sample; models and reports keep this order."""

    @property
    def classes(self) -> Sequence[str]:
        """Class names, by class id."""

    def train(self, *, batch_size: int, seed: int, epoch: int) -> Iterable[Batch]:
        """Return the batches of one pass over the training set, in an order that depends only on seed and epoch."""

    def validation(self, *, batch_size: int) -> Iterable[Batch]:
        """Return the batches of the validation set: each sample once, always in the same order."""


@dataclass(frozen=True)
class Objective:
    """Metric by which epochs are compared, and whether larger or smaller is better."""

    metric: str = "val/accuracy"
    mode: Literal["max", "min"] = "max"

    def better(self, new: float, old: float | None) -> bool:
        """Return True if `new` beats `old`. An equal value does not, so the first of equal epochs stays the best."""
        return old is None or (new > old if self.mode == "max" else new < old)


VALIDATION_ACCURACY = Objective()


class NonFiniteMetric(RuntimeError):
    """Error: a validation metric is infinite or NaN."""

    def __init__(self, metric: str, value: float, epoch: int) -> None:
        super().__init__(f"{metric} is {value} at epoch {epoch}: the model has diverged; lower the learning rate")


def start(config: TrialConfig, data: Data, device: torch.device, ranks: Ranks = ALONE) -> Trainer:
    """Return the trainer of a trial in its state before the first epoch.

    Args:
        config: configuration of the trial.
        data: data whose shapes and classes determine the model.
        device: device that the model is trained on.
        ranks: this process's place among the processes that train the model together.

    Raises:
        ConfigError: if the model cannot be built for these data.
        ValueError: if the modulation selects no parameter of an encoder.
    """
    return Trainer(build_model(config, data.shapes, len(data.classes)), config, device, ranks)


def _read(path: Path, config: TrialConfig) -> dict[str, Any] | None:
    """Load the state of a run; return None if it is missing, corrupt or of another run."""
    if not path.exists():
        return None
    try:
        state = checkpoint.load(path)
        _check_state(state, path, config)
    except checkpoint.CheckpointError as error:
        log.warning("%s; the trial restarts from epoch 0", error)
        return None
    return state


def _check_state(state: Mapping[str, Any], path: Path, config: TrialConfig) -> None:
    if not isinstance(state.get("trainer"), dict) or not isinstance(state.get("history"), list):
        raise checkpoint.CheckpointError(f"{path} does not contain the state of a training")
    if not _agrees(state.get("config", {}), _settings(config)):
        raise checkpoint.CheckpointError(f"{path} belongs to a trial with other settings")


def _settings(config: TrialConfig) -> dict[str, Any]:
    """Return the settings that tell a run's state from that of other runs; a file of weights may have moved."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return {key: value for key, value in values.items() if key != "weights"}


def _agrees(before: Any, now: Any) -> bool:
    """Return whether two settings are equal, except for keys that only one version of this program knows."""
    if isinstance(before, dict) and isinstance(now, dict):
        return all(_agrees(before[key], now[key]) for key in before.keys() & now.keys())
    return bool(before == now)


# ---- runs that share a prefix ----


def prefix_state(folder: Path) -> dict[str, Any]:
    """Return the state from which a run with the same prefix can continue after the last epoch of the run in `folder`.

    Raises:
        checkpoint.CheckpointError: if a checkpoint is missing or corrupt.
    """
    last = checkpoint.load(folder / LAST)
    last.pop("config", None)  # that of one of the runs that share the prefix
    return {"last": last, "best": checkpoint.load(folder / BEST)}


def inherit(state: Mapping[str, Any], config: TrialConfig, folder: Path) -> int:
    """Let a new run continue from another run's state.

    `train` then reports the inherited epochs as the run's own, with `inherited` = 1.

    Args:
        state: state of a run with the same prefix key (`ogmge.prefix_keys.keys`), from `prefix_state`.
        config: configuration of the new run.
        folder: folder of the new run, which has no checkpoint yet.

    Returns:
        Number of inherited epochs.

    Raises:
        OSError: if a checkpoint cannot be written.
    """
    epochs = len(state["last"]["history"])
    checkpoint.save({**state["best"], "config": asdict(config)}, folder / BEST)
    last = {**state["last"], "inherited": epochs, "config": _settings(config)}
    checkpoint.save(last, folder / LAST)  # written last: it marks both as complete
    return epochs


class _Run:
    """Run in its folder: the epochs it has already trained, and the epochs it adds.

    Args:
        trainer: trainer in its state before the first epoch. If the folder has a checkpoint, its state is loaded.
        data: this process's part of the data.
        objective: see `train`.
        folder: folder of the checkpoints. Only the first process reads it; the others may be on another machine.
        measure: see `train_and_measure`.
    """

    def __init__(
        self, trainer: Trainer, data: Data, objective: Objective | None, folder: Path, measure: Measure | None = None
    ) -> None:
        self.trainer, self.data, self.objective, self.folder = trainer, data, objective, folder
        self.measure = measure
        self.history: list[dict[str, float]] = []
        self.inherited = 0  # number of epochs that another run trained
        state = trainer.ranks.first(_read(folder / LAST, trainer.config) if trainer.ranks.rank == 0 else None)
        if state is not None:
            trainer.load_state_dict(state["trainer"])
            self.history, self.inherited = state["history"], state.get("inherited", 0)

    def reports(self) -> Iterator[dict[str, float]]:
        """Yield the metrics of the epochs already trained, as they were reported."""
        for epoch, metrics in enumerate(self.history):
            yield {**metrics, "inherited": 1.0} if epoch < self.inherited else metrics

    def add_epoch(self) -> dict[str, float]:
        """Train, validate and save one epoch; return its metrics."""
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
        self._save(
            {
                "trainer": self.trainer.state_dict(),
                "history": self.history,
                "inherited": self.inherited,
                "config": _settings(self.trainer.config),
            },
            LAST,
        )
        return metrics

    def _validate(self, objective: Objective, metrics: dict[str, float]) -> Answers:
        """Add the validation metrics to `metrics`; return the model's answers."""
        batches = self.data.validation(batch_size=self.trainer.config.batch_size)
        validation, answers = self.trainer.evaluate(batches)
        metrics |= validation
        for name in ("val/loss", objective.metric):
            if not math.isfinite(metrics[name]):
                raise NonFiniteMetric(name, metrics[name], len(self.history))
        return answers

    def _measure(self, measure: Measure, metrics: Mapping[str, float]) -> Mapping[str, float]:
        """Return the additional metrics of an epoch, then restore the random number generators."""
        trainer, data = self.trainer, self.data
        shapes = {name: data.shapes[name] for name in trainer.names}
        model = TrainedModel(trainer.model.eval(), trainer.config, shapes, list(data.classes), dict(metrics))
        with kept_rng(trainer.device):
            return measure(model)

    def _best(self, metrics: dict[str, float], before: float | None) -> float | None:
        """Return the best value of the objective so far; None without an objective: the latest epoch is the best."""
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
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
    if torch.are_deterministic_algorithms_enabled() != on:  # the call below takes 5 s: it imports torch.compile
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
    """Train a model and report each epoch, continuing from the last checkpoint in `folder` if there is one.

    After each epoch `folder/last.pt` contains the complete state of the run, and `folder/best.pt` the weights and
    metrics of the best epoch so far. A resumed run first reports its earlier epochs again, with the same metrics. On a
    CPU it ends with exactly the same weights as an uninterrupted run.

    Args:
        config: configuration of the trial.
        data: training and validation data; see `Data`.
        report: function called after each epoch with its metrics: `epoch` (from 0), `train/…`, `val/…`, `ratio/NAME`,
            `coefficient/NAME`, `learning_rate`, `seconds` and `best`, the best value of the objective so far. An epoch
            inherited from another run (see `inherit`) also has `inherited` = 1.
        folder: folder of the checkpoints; created if missing.
        objective: metric that determines the best epoch, validation accuracy by default. With None there is no
            validation, and the latest epoch counts as the best.
        device: device to train on, the CPU by default.
        ranks: this process's place among the processes that train the model together, each on its part of every batch.
            All processes call `train` with the same arguments after initialising `torch.distributed`. All of them
            report; only the first writes checkpoints.
        epochs: number of epochs to stop after; the learning-rate schedule still spans `config.epochs`.

    Raises:
        ConfigError: if the model cannot be built for these data.
        ValueError: if the modulation selects no parameter of an encoder, or if a split of the data has no batch.
        NonFiniteLoss: if the training loss of an epoch is infinite or NaN.
        NonFiniteMetric: if the validation loss or the objective's metric is infinite or NaN.
        OSError: if a checkpoint cannot be written.
    """
    trainer = _trainer(config, data, device, ranks)
    _complete(_Run(trainer, part(data, ranks, trainer.smallest_batch), objective, folder), report, epochs)


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
    """Train in one process as `train` does, to bit-identical weights, and measure additional metrics of each epoch.

    Args:
        config, data, report, folder, objective, device: see `train`.
        measure: function called with the model in evaluation mode after each epoch's validation. The metrics it returns
            are saved and reported with those of the epoch. It must not change the model or its gradients.
            `TrainedModel.metrics` contains the epoch.

    Raises:
        ConfigError, ValueError, NonFiniteLoss, NonFiniteMetric, OSError: see `train`.
        Exception: if `measure` raises one.
    """
    _complete(_Run(_trainer(config, data, device, ALONE), data, objective, folder, measure), report, None)


def _trainer(config: TrialConfig, data: Data, device: torch.device | None, ranks: Ranks) -> Trainer:
    _set_determinism(config.deterministic)
    return start(config, data, device or torch.device("cpu"), ranks)


def _complete(run: _Run, report: Report, epochs: int | None) -> None:
    """Report the epochs already trained, then train and report the remaining ones."""
    for metrics in run.reports():
        report(metrics)
    planned = run.trainer.config.epochs
    while len(run.history) < min(planned, epochs or planned):
        report(run.add_epoch())
