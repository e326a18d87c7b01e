"""Replay of a search on recorded curves: the epochs that a policy trains, in order, and the best trials after each.

Nothing is trained and no clock runs. `workers` trials run side by side, and all epochs take equally long. A policy
decides from the same values as in a real search.
"""

from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean

from benchmarks.curves import SEEDS, Curve
from search.experiment.arms import ARMS, Arm, plan
from search.experiment.dimensions import Changes
from search.tuner.pruners.peers import LearningCurve, Pruner


@dataclass(frozen=True)
class Configuration:
    """A configuration trained with each of the seeds: one curve per seed."""

    arm: Arm
    opens: int | None
    curves: tuple[tuple[float, ...], ...]

    @property
    def quality(self) -> float:
        """Value of the best epoch, mean over all seeds."""
        return fmean(map(max, self.curves))

    def unseen(self, seed: int) -> float:
        """Return the value of the best epoch, mean over the seeds that a search with this seed does not see."""
        return fmean(max(curve) for other, curve in enumerate(self.curves) if other != seed)


def by_changes(curves: Iterable[Curve]) -> list[tuple[Changes, Configuration]]:
    """Return the configurations that have a curve for each seed, each with its changes to the demo's trial."""
    found: dict[str, dict[int, Curve]] = defaultdict(dict)
    for curve in curves:
        found[f"{curve.arm} {curve.changes}"][curve.seed] = curve
    whole = [by_seed for by_seed in found.values() if len(by_seed) == len(SEEDS)]
    return [(by_seed[SEEDS[0]].changes, _configuration([by_seed[seed] for seed in SEEDS])) for by_seed in whole]


def _configuration(curves: Sequence[Curve]) -> Configuration:
    return Configuration(curves[0].arm, curves[0].opens, tuple(curve.values for curve in curves))


def pool_of(curves: Iterable[Curve]) -> list[Configuration]:
    """Return the configurations that have a curve for each seed."""
    return [configuration for _, configuration in by_changes(curves)]


@dataclass(frozen=True)
class Draw:
    """Trials of one search, in the order in which they start, and the seed that they all train with."""

    trials: tuple[Configuration, ...]
    seed: int

    @property
    def values(self) -> list[tuple[float, ...]]:
        """Values that each trial reports after each of its epochs."""
        return [trial.curves[self.seed] for trial in self.trials]


def draw(pool: Sequence[Configuration], trials: int, baseline_share: float, number: int) -> Draw:
    """Draw the trials of replay `number`: arms in the order of the search's plan, configurations at random."""
    rng = random.Random(number)
    of_arm = {arm: [c for c in pool if c.arm == arm] for arm in ARMS}
    capacity = {arm: float(len(those)) for arm, those in of_arm.items()}
    for those in of_arm.values():
        rng.shuffle(those)
    return Draw(tuple(of_arm[arm].pop() for arm in plan(trials, baseline_share, capacity)), number % len(SEEDS))


# ---- which epochs are trained ----

History = list[int]  # the trial of each trained epoch, in the order in which the epochs end
Policy = Callable[[Draw, int], History]  # arguments: a draw, a number of workers


def side_by_side(numbers: Iterable[int], workers: int, goes_on: Callable[[int], bool]) -> History:
    """Train trials, `workers` at a time, and return the history.

    After each epoch, `goes_on` decides whether the trial trains another one. The next number is drawn only when a
    worker is free, so it may depend on all earlier epochs.
    """
    waiting, running = iter(numbers), deque[int]()
    history: History = []
    while True:
        running.extend(islice(waiting, workers - len(running)))
        if not running:
            return history
        number = running.popleft()
        history.append(number)
        if goes_on(number):
            running.append(number)


def stopping(scheduler_for: Callable[[], Pruner], *, raw: bool = False) -> Policy:
    """Return a policy that trains each trial to its end unless the scheduler stops it.

    Args:
        scheduler_for: function that creates the scheduler of a search.
        raw: whether the scheduler receives each epoch's own value; else the best so far, as in this project's search.
    """

    def policy(draw: Draw, workers: int) -> History:
        scheduler, values = scheduler_for(), draw.values
        seen = values if raw else [running_best(each) for each in values]
        runs: dict[int, LearningCurve] = {}

        def goes_on(number: int) -> bool:
            trained = len(runs[number].values) + 1 if number in runs else 1
            trial = draw.trials[number]
            runs[number] = LearningCurve(number, trial.arm, trial.opens, seen[number][:trained])
            return trained < len(seen[number]) and scheduler.decide(runs[number], runs.values()) is None

        return side_by_side(range(len(values)), workers, goes_on)

    return policy


def try_all(epochs: int) -> Policy:
    """Return a policy that trains all trials for some epochs, then the best of each arm to its end."""

    def policy(draw: Draw, workers: int) -> History:
        trained = [0] * len(draw.trials)

        def until(end: int | None) -> Callable[[int], bool]:
            def goes_on(number: int) -> bool:
                trained[number] += 1
                return trained[number] < (end or len(draw.values[number]))

            return goes_on

        history = side_by_side(range(len(draw.trials)), workers, until(epochs))
        kept = sorted(leader.number for leader in in_hand(draw, history)[-1].values())
        left = [number for number in kept if trained[number] < len(draw.values[number])]
        return history + side_by_side(left, workers, until(None))

    return policy


def running_best(values: Iterable[float]) -> tuple[float, ...]:
    """Return the best value so far after each value.

    >>> running_best([1, 3, 2, 4])
    (1, 3, 3, 4)
    """
    best: list[float] = []
    for value in values:
        best.append(max(value, best[-1]) if best else value)
    return tuple(best)


# ---- the best trials so far ----


@dataclass(frozen=True)
class Leader:
    """Best trial of an arm so far, and its best value."""

    number: int
    value: float


InHand = dict[Arm, Leader]


def in_hand(draw: Draw, history: History) -> list[InHand]:
    """Return the leader of each arm after each epoch: the trial with the best value, the first of equal ones."""
    values, trained = draw.values, [0] * len(draw.trials)
    lead: InHand = {}
    found: list[InHand] = []
    for number in history:
        arm, value = draw.trials[number].arm, values[number][trained[number]]
        trained[number] += 1
        if arm not in lead or (value, -number) > (lead[arm].value, -lead[arm].number):
            lead = {**lead, arm: Leader(number, value)}
        found.append(lead)
    return found


def winner(lead: InHand) -> int:
    """Return the trial that the search would choose: the better of the arms' leaders, the baseline's if equal."""
    return max((lead[arm] for arm in ARMS if arm in lead), key=lambda leader: leader.value).number


def arrival(good: Sequence[bool]) -> int | None:
    """Return the number of epochs after which the condition holds to the end; None if it fails at the end.

    >>> arrival([True, False, True, True]), arrival([True, False])
    (3, None)
    """
    if not good or not good[-1]:
        return None
    return max((n for n, each in enumerate(good, 1) if not each), default=0) + 1
