"""What a search takes: what early stopping is expected to leave of its trials, times what one of them costs."""

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

REPLAYS = (3, 100)  # of a large search and of a small one, whose epochs vary more from one to the next
REPLAYED_PAIRS = 60_000  # of trials, in all replays: each is compared with all the others


def expected_epochs(trials: Sequence[Arm], starts: Sequence[int], epochs: int, pruner: Pruner) -> float:
    """Epochs that trials are expected to train under a pruner: the mean of some replays.

    How good a trial is is drawn at random, and one that is ahead at a rung is ahead at all of them; so is where its
    window opens. They come one after the other: of trials that run side by side fewer go on, and of those of a sampler
    that learns some more.

    Args:
        trials: the arm of each, in their order.
        starts: of the windows that are searched, each as likely.
        epochs: of a trial that is not stopped.
        pruner: decides.

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
    """Epochs of trials that come one after the other, and are as good as their rank."""
    runs: list[LearningCurve] = []
    for number, (arm, rank) in enumerate(zip(trials, rng.sample(range(len(trials)), len(trials)), strict=True)):
        opens = None if arm == "baseline" else rng.choice(starts)
        runs.append(_train(LearningCurve(number, arm, opens, (rank,) * epochs), runs, pruner))
    return sum(len(run.values) for run in runs)


def _train(whole: LearningCurve, others: Sequence[LearningCurve], pruner: Pruner) -> LearningCurve:
    """The part of a run that a pruner lets it train."""
    for trained in range(1, len(whole.values)):
        run = replace(whole, values=whole.values[:trained])
        if pruner.decide(run, [*others, run]) is not None:
            return run
    return whole


@dataclass(frozen=True)
class Forecast:
    """A search's cost: what it takes at most, and what is expected.

    Args:
        trials: of each arm.
        sources: of the trials, by where their settings come from.
        epochs_at_most: with no trial stopped early.
        epochs_expected: with early stopping.
        at_once: trials at the same time.
        cpus: of this machine, or of the cluster.
        gpu: of one trial.
        costs: of the configurations that were measured, by label.
        artifacts: whether MLflow keeps the best weights once more.
        confirmation: the trainings that follow the search, none of which is stopped early: at most, and expected.
        longest: epochs of each of them, at most.
        savings: by epochs that several trials share.
        prefix_bytes_at_most: that may be stored at a time.
        cpu: of one trial.
        crowding: how much longer an epoch takes beside the other trials, where that was measured.
        note: how `cpu` and `gpu` were found, where they were measured.
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

    @property
    def slowest(self) -> str:
        return max(self.costs, key=lambda name: self.costs[name].epoch_seconds)

    @property
    def largest(self) -> str:
        """What needs the most memory."""
        return max(self.costs, key=lambda name: self.costs[name].peak_bytes)

    @property
    def epoch_seconds(self) -> tuple[float, float]:
        """Of the slowest configuration, and the mean."""
        return self.costs[self.slowest].epoch_seconds, fmean(cost.epoch_seconds for cost in self.costs.values())

    @property
    def epochs_to_train(self) -> float:
        """With early stopping, of which as large a share is inherited as without."""
        return self.epochs_expected * (1 - self.savings.inherited_share)

    @property
    def training_seconds(self) -> tuple[float, float]:
        """Of all trials and the confirmation, at most and expected."""
        slowest, mean = self.epoch_seconds
        most, expected = (trainings * self.longest for trainings in self.confirmation)
        epochs = self.epochs_at_most + most, self.epochs_to_train + expected
        return slowest * epochs[0] * self.crowding, mean * epochs[1] * self.crowding

    @property
    def checkpoint_bytes(self) -> tuple[float, float]:
        """Each trial's best weights, and the last state of those that run: if all are the largest, and expected."""
        copies = sum(self.trials.values()) * (2 if self.artifacts else 1)
        most, expected = (copies + trainings for trainings in self.confirmation)
        costs = self.costs.values()
        return (
            max(most * cost.best_bytes + self.at_once * cost.last_bytes for cost in costs),
            fmean(expected * cost.best_bytes + self.at_once * cost.last_bytes for cost in costs),
        )

    @property
    def prefix_bytes(self) -> float:
        """Of all prefixes, if they were stored at the same time."""
        largest = max(cost.last_bytes + cost.best_bytes for cost in self.costs.values())
        return min(self.prefix_bytes_at_most, self.savings.prefixes * largest)

    @property
    def mlflow_bytes(self) -> tuple[float, float]:
        """Of its data base, at most and expected."""
        epochs = (self.epochs_at_most, self.epochs_expected)
        most, expected = map(self._mlflow_bytes, epochs, self.confirmation)
        return most, expected

    def _mlflow_bytes(self, epochs: float, confirmation: int) -> float:
        values = (epochs + confirmation * self.longest) * max(cost.metrics for cost in self.costs.values())
        return EMPTY_BYTES + RUN_BYTES * (1 + sum(self.trials.values()) + confirmation) + VALUE_BYTES * values
