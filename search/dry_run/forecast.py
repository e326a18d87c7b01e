"""Forecast of a search: the epochs that early stopping is expected to leave, times the cost of an epoch."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from search.backend.step_cost import Cost
from search.dry_run.prefix_savings import PrefixSavings
from search.experiment.arms import Arm
from search.experiment.sources import Source
from search.tracking.client import EMPTY_BYTES, RUN_BYTES, VALUE_BYTES
from search.tuner.pruners.peers import LearningCurve, Pruner

REPLAYS = (3, 100)  # replays of a large and of a small search; small ones vary more
REPLAYED_PAIRS = 60_000  # limit for pairs of trials in all replays, as each trial is compared with all others

STARTS = (6.0, 2.5)  # starting Ray and its workers and writing the report, as multiples of a worker's start
SLACK = 1.25  # steps of a whole epoch against the measured ones: other load, slower batches


def expected_epochs(trials: Sequence[Arm], starts: Sequence[int], epochs: int, pruner: Pruner) -> float:
    """Return the number of epochs that trials are expected to train under a pruner, as the mean of several replays.

    A replay draws the quality of each trial, which is the same at all rungs, and the start of its window at random.
    Trials run one after the other. In a real search, fewer trials continue if several run at once, and more continue if
    the sampler learns.

    Args:
        trials: arm of each trial, in order.
        starts: starts of the searched windows, all equally likely.
        epochs: number of epochs of a trial that is not stopped.
        pruner: pruner that stops trials.

    >>> from search.tuner.pruners.asha import Asha
    >>> expected_epochs(["baseline"] * 10, [0], 12, Asha([], 3, "max"))
    120.0
    >>> expected_epochs(["baseline"], [0], 12, Asha([3], 3, "max"))
    12.0
    """
    rng, (fewest, most) = random.Random(0), REPLAYS
    replays = max(fewest, min(most, REPLAYED_PAIRS // len(trials) ** 2))
    return fmean(_replay(trials, starts, epochs, pruner, rng) for _ in range(replays))


def _replay(trials: Sequence[Arm], starts: Sequence[int], epochs: int, pruner: Pruner, rng: random.Random) -> int:
    """Return the epochs of trials that run one after the other, with random ranks as their quality."""
    runs: list[LearningCurve] = []
    for number, (arm, rank) in enumerate(zip(trials, rng.sample(range(len(trials)), len(trials)), strict=True)):
        opens = None if arm == "baseline" else rng.choice(starts)
        runs.append(_train(LearningCurve(number, arm, opens, (rank,) * epochs), runs, pruner))
    return sum(len(run.values) for run in runs)


def _train(whole: LearningCurve, others: Sequence[LearningCurve], pruner: Pruner) -> LearningCurve:
    """Return the part of a run that a pruner lets it train."""
    for trained in range(1, len(whole.values)):
        run = replace(whole, values=whole.values[:trained])
        if pruner.decide(run, [*others, run]) is not None:
            return run
    return whole


@dataclass(frozen=True)
class Forecast:
    """Cost of a search, at most and expected.

    Args:
        trials: number of trials per arm.
        sources: number of trials per source of their settings.
        epochs_at_most: number of epochs if no trial is stopped early.
        epochs_expected: expected number of epochs with early stopping.
        at_once: number of trials that run at the same time.
        cpus: CPUs of this machine, or of the cluster.
        gpu: GPU share of each trial.
        costs: costs of the measured configurations, by label.
        artifacts: whether MLflow keeps a second copy of the best weights.
        confirmation: number of trainings in the confirmation, at most and expected; none is stopped early.
        longest: largest number of epochs of a training in the confirmation.
        savings: savings from epochs that several trials share.
        prefix_bytes_at_most: limit for the size of all stored prefixes.
        cpu: CPUs of each trial.
        crowding: measured duration of an epoch when all trials run at once, as a multiple of its duration alone; 1 if
            it was not measured.
        note: note on how `cpu` and `gpu` were measured, if they were.
        start_seconds: seconds that a new process takes to load what a worker needs.
    """

    trials: Mapping[Arm, int]
    sources: Mapping[Source | None, int]
    epochs_at_most: int
    epochs_expected: float
    at_once: int
    cpus: float
    gpu: float
    costs: dict[str, Cost]
    artifacts: bool
    confirmation: tuple[int, int] = (0, 0)
    longest: int = 0
    savings: PrefixSavings = field(default_factory=PrefixSavings)
    prefix_bytes_at_most: float = 0.0
    cpu: float = 1.0
    crowding: float = 1.0
    note: str | None = None
    start_seconds: float = 0.0

    @property
    def slowest(self) -> str:
        """Label of the slowest configuration."""
        return max(self.costs, key=lambda name: self.costs[name].epoch_seconds)

    @property
    def largest(self) -> str:
        """Label of the configuration that needs the most memory."""
        return max(self.costs, key=lambda name: self.costs[name].peak_bytes)

    @property
    def epoch_seconds(self) -> tuple[float, float]:
        """Seconds per epoch, of the slowest configuration and on average."""
        return self.costs[self.slowest].epoch_seconds, fmean(cost.epoch_seconds for cost in self.costs.values())

    @property
    def epochs_to_train(self) -> float:
        """Expected epochs without inherited ones, whose share is assumed to be that without early stopping."""
        return self.epochs_expected * (1 - self.savings.inherited_share)

    @property
    def training_seconds(self) -> tuple[float, float]:
        """Seconds of training in the search and the confirmation, at most and expected."""
        slowest, mean = self.epoch_seconds
        most, expected = (trainings * self.longest for trainings in self.confirmation)
        epochs = self.epochs_at_most + most, self.epochs_to_train + expected
        return slowest * epochs[0] * self.crowding, mean * epochs[1] * self.crowding

    @property
    def wall_seconds(self) -> tuple[float, float]:
        """Seconds from the command to its result, at most and expected.

        At most, steps are slower than those measured by a factor `SLACK`, and at the end of the search and of the
        confirmation a single training is left, for which the others have waited.
        """
        phases = 2 if self.confirmation[0] else 1
        most, expected = (seconds / self.at_once for seconds in self.training_seconds)
        last = (1 - 1 / self.at_once) * self.epoch_seconds[0] * self.crowding * self.longest
        longest_start, usual_start = (phases * times * self.start_seconds for times in STARTS)
        return SLACK * (most + phases * last) + longest_start, expected + usual_start

    @property
    def checkpoint_bytes(self) -> tuple[float, float]:
        """Bytes of all best weights and of the last states of running trials, at most and expected."""
        copies = sum(self.trials.values()) * (2 if self.artifacts else 1)
        most, expected = (copies + trainings for trainings in self.confirmation)
        costs = self.costs.values()
        return (
            max(most * cost.best_bytes + self.at_once * cost.last_bytes for cost in costs),
            fmean(expected * cost.best_bytes + self.at_once * cost.last_bytes for cost in costs),
        )

    @property
    def prefix_bytes(self) -> float:
        """Bytes of all prefixes if they are stored at the same time, within the limit."""
        largest = max(cost.last_bytes + cost.best_bytes for cost in self.costs.values())
        return min(self.prefix_bytes_at_most, self.savings.prefixes * largest)

    @property
    def mlflow_bytes(self) -> tuple[float, float]:
        """Bytes of MLflow's database, at most and expected."""
        epochs = (self.epochs_at_most, self.epochs_expected)
        most, expected = map(self._mlflow_bytes, epochs, self.confirmation)
        return most, expected

    def _mlflow_bytes(self, epochs: float, confirmation: int) -> float:
        values = (epochs + confirmation * self.longest) * max(cost.metrics for cost in self.costs.values())
        return EMPTY_BYTES + RUN_BYTES * (1 + sum(self.trials.values()) + confirmation) + VALUE_BYTES * values
