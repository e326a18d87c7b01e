"""Best trials of a search: each arm's best, its Pareto front, and the difference between the arms."""

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
from search.run.trials import SearchRecord, TrialRecord

METRIC = "val/accuracy"


@dataclass(frozen=True)
class Best:
    """Best trial of an arm."""

    trial: TrialRecord
    metrics: dict[str, float]  # of its best epoch
    value: float


@dataclass(frozen=True)
class Effort:
    """Trials and epochs spent on an arm."""

    trials: int
    epochs: int


@dataclass(frozen=True)
class Interval:
    """Mean difference with its two-sided 95 % interval over the validation examples."""

    mean: float
    low: float
    high: float
    examples: int


def has_result(trial: TrialRecord) -> bool:
    """Return whether a trial finished, or was stopped early after at least one epoch."""
    return trial.status in ("finished", "stopped") and trial.best is not None


def trials_with_result(record: SearchRecord, arm: Arm) -> list[TrialRecord]:
    """Return an arm's trials that have a result, sorted by number."""
    mine = (trial for trial in record if trial.arm == arm and has_result(trial))
    return sorted(mine, key=attrgetter("number"))


def best_of(record: SearchRecord, arm: Arm, metric: str, mode: str) -> Best | None:
    """Return the arm's best trial (the first on ties), or None if no trial has a result."""
    pick = max if mode == "max" else min
    trial = pick(trials_with_result(record, arm), key=attrgetter("best"), default=None)
    return None if trial is None else Best(trial, trial.best_epoch(metric) or {}, trial.best or 0.0)


def bests(record: SearchRecord, objective: Objective) -> dict[Arm, Best]:
    """Return the best trial of each arm that has a result."""
    found = {arm: best_of(record, arm, objective.metric, objective.mode) for arm in ARMS}
    return {arm: best for arm, best in found.items() if best is not None}


def front_of(record: SearchRecord, arm: Arm, objectives: Sequence[Objective]) -> list[TrialRecord]:
    """Return the arm's Pareto front: the trials that no other trial dominates.

    A trial dominates another if it is at least as good in every objective and better in one. Each trial is compared at
    its best epoch by the first objective, whose weights are kept. Of trials that are equal in every objective, only the
    first is returned.
    """
    first: dict[tuple[float, ...], TrialRecord] = {}  # the first trial at each point
    for trial in trials_with_result(record, arm):
        first.setdefault(_point(trial, objectives), trial)
    return [trial for point, trial in first.items() if not any(_is_beaten(point, by) for by in first)]


def _point(trial: TrialRecord, objectives: Sequence[Objective]) -> tuple[float, ...]:
    """Return the objectives at the trial's best epoch, signed so that more is better."""
    best = trial.best_epoch(objectives[0].metric) or {}
    return tuple(best[o.metric] * (1 if o.mode == "max" else -1) for o in objectives)


def _is_beaten(point: tuple[float, ...], by: tuple[float, ...]) -> bool:
    return by != point and all(map(ge, by, point))


def effort_of(record: SearchRecord, arm: Arm) -> Effort:
    mine = [t for t in record if t.arm == arm]
    return Effort(len(mine), sum(len(t.epochs) for t in mine))


def winner(best: dict[Arm, Best], mode: str) -> Best:
    """Return the better of the arms' best trials. On ties this is the baseline, which is simpler."""
    pick = max if mode == "max" else min
    return pick((best[arm] for arm in ARMS if arm in best), key=attrgetter("value"))


def lead(best: Mapping[Arm, Best], metric: str, weights: Callable[[int], Path]) -> Interval | None:
    """Return the difference in validation accuracy between the arms' best trials.

    None if an arm has no result, or if the search did not optimise accuracy.

    Args:
        best: best trial of each arm.
        metric: metric that the search optimised.
        weights: function from a trial's number to the file with the weights of its best epoch.

    Raises:
        CheckpointError, RemoteError: if a model's predictions cannot be read.
    """
    if metric != METRIC or len(best) < len(ARMS):
        return None
    correct = {arm: checkpoint.load(weights(b.trial.number))["correct"] for arm, b in best.items()}
    return paired_interval(correct["modulated"], correct["baseline"])


def class_accuracy(state: Mapping[str, Any]) -> Tensor:
    """Return the validation accuracy of each class from a checkpoint: float64 [K], NaN for classes without samples.

    Raises:
        KeyError: if the checkpoint has a version that stores no class ids.
    """
    classes, targets = len(state["classes"]), state["targets"]
    found: Tensor = targets[state["correct"]].bincount(minlength=classes).double() / targets.bincount(minlength=classes)
    return found


def paired_interval(modulated: Tensor, baseline: Tensor) -> Interval:
    """Return the difference in accuracy of two models on the same examples, by the normal approximation.

    Args:
        modulated, baseline: whether each example is classified correctly, bool [N].
    """
    difference = modulated.double() - baseline.double()
    mean, examples = float(difference.mean()), len(difference)
    half = NormalDist().inv_cdf(0.975) * float(difference.std(correction=0)) / math.sqrt(examples)
    return Interval(mean, mean - half, mean + half, examples)
