"""What a search found: the best trial of each arm, and what the difference between them is worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter, ge
from pathlib import Path
from statistics import NormalDist
from typing import Any

from torch import Tensor

from ogmge import checkpoint
from ogmge.fit import Objective
from search.experiment.arms import ARMS, Arm
from search.run.journal import SearchRecord, TrialRecord

METRIC = "val/accuracy"


@dataclass(frozen=True)
class Best:
    """An arm's best trial."""

    trial: TrialRecord
    metrics: dict[str, float]  # of its best epoch
    value: float


@dataclass(frozen=True)
class Effort:
    """What was spent on an arm."""

    trials: int
    epochs: int


@dataclass(frozen=True)
class Interval:
    """A mean difference with its two-sided 95 % interval over the validation examples."""

    mean: float
    low: float
    high: float
    examples: int


def has_result(trial: TrialRecord) -> bool:
    """Whether a trial was trained to the end, or stopped early after an epoch or more."""
    return trial.status in ("finished", "stopped") and trial.best is not None


def trials_with_result(record: SearchRecord, arm: Arm) -> list[TrialRecord]:
    """An arm's trials that have one, by number."""
    mine = (trial for trial in record if trial.arm == arm and has_result(trial))
    return sorted(mine, key=attrgetter("number"))


def best_of(record: SearchRecord, arm: Arm, metric: str, mode: str) -> Best | None:
    """The arm's best trial, the first of equal ones; None where none has an epoch to show."""
    pick = max if mode == "max" else min
    trial = pick(trials_with_result(record, arm), key=attrgetter("best"), default=None)
    return None if trial is None else Best(trial, trial.best_epoch(metric) or {}, trial.best or 0.0)


def bests(record: SearchRecord, objective: Objective) -> dict[Arm, Best]:
    """The best trial of each arm that has a result."""
    found = {arm: best_of(record, arm, objective.metric, objective.mode) for arm in ARMS}
    return {arm: best for arm, best in found.items() if best is not None}


def front_of(record: SearchRecord, arm: Arm, objectives: Sequence[Objective]) -> list[TrialRecord]:
    """The arm's Pareto front: the trials than which no other is as good in every objective and better in one.

    A trial stands there with its best epoch, by the first objective: the one whose weights are kept. Of trials that
    are equal in all of them the first counts.
    """
    first: dict[tuple[float, ...], TrialRecord] = {}  # of equal ones
    for trial in trials_with_result(record, arm):
        first.setdefault(_point(trial, objectives), trial)
    return [trial for point, trial in first.items() if not any(_is_beaten(point, by) for by in first)]


def _point(trial: TrialRecord, objectives: Sequence[Objective]) -> tuple[float, ...]:
    """The objectives at the trial's best epoch, more is better."""
    best = trial.best_epoch(objectives[0].metric) or {}
    return tuple(best[o.metric] * (1 if o.mode == "max" else -1) for o in objectives)


def _is_beaten(point: tuple[float, ...], by: tuple[float, ...]) -> bool:
    return by != point and all(map(ge, by, point))


def effort_of(record: SearchRecord, arm: Arm) -> Effort:
    mine = [t for t in record if t.arm == arm]
    return Effort(len(mine), sum(len(t.epochs) for t in mine))


def winner(best: dict[Arm, Best], mode: str) -> Best:
    """The better of the arms' best. Equal ones go to the baseline, which is the simpler."""
    pick = max if mode == "max" else min
    return pick((best[arm] for arm in ARMS if arm in best), key=attrgetter("value"))


def lead(best: Mapping[Arm, Best], metric: str, weights: Callable[[int], Path]) -> Interval | None:
    """What the best of the two arms differ by over the validation examples, where it is accuracy that was searched.

    Args:
        best: of each arm.
        metric: that was searched.
        weights: trial number -> file of its best epoch's weights.

    Raises:
        CheckpointError, RemoteError: a model's answers are not to be had.
    """
    if metric != METRIC or len(best) < len(ARMS):
        return None
    correct = {arm: checkpoint.load(weights(b.trial.number))["correct"] for arm, b in best.items()}
    return paired_interval(correct["modulated"], correct["baseline"])


def class_accuracy(state: Mapping[str, Any]) -> Tensor:
    """The share of each class's validation samples that are right, of a checkpoint: float64 [K], NaN where it has none.

    Raises:
        KeyError: the checkpoint is of a version that kept no class ids.
    """
    classes, targets = len(state["classes"]), state["targets"]
    found: Tensor = targets[state["correct"]].bincount(minlength=classes).double() / targets.bincount(minlength=classes)
    return found


def paired_interval(modulated: Tensor, baseline: Tensor) -> Interval:
    """The difference in accuracy of two models on the same examples, by the normal approximation.

    Args:
        modulated, baseline: which examples each got right, bool [N].
    """
    difference = modulated.double() - baseline.double()
    mean, examples = float(difference.mean()), len(difference)
    half = NormalDist().inv_cdf(0.975) * float(difference.std(correction=0)) / math.sqrt(examples)
    return Interval(mean, mean - half, mean + half, examples)
