"""A search on recorded curves: which epochs a policy trains, in which order, and what the search has in hand meanwhile.

Nothing is trained and no clock runs: `workers` trials go on side by side, and an epoch of one takes as long as that of
any other. What a policy decides is what it decides in a real search, from the same values.
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
    """What was trained with each of the seeds: one curve for each."""

    arm: Arm
    opens: int | None
    curves: tuple[tuple[float, ...], ...]

    @property
    def quality(self) -> float:
        """What it is worth: its best epoch's value, the mean over all seeds."""
        return fmean(map(max, self.curves))

    def unseen(self, seed: int) -> float:
        """The same over the seeds that a search with this one does not see."""
        return fmean(max(curve) for other, curve in enumerate(self.curves) if other != seed)


def by_changes(curves: Iterable[Curve]) -> list[tuple[Changes, Configuration]]:
    """The configurations that have a curve for each seed, each with what it changes of the demo's trial."""
    found: dict[str, dict[int, Curve]] = defaultdict(dict)
    for curve in curves:
        found[f"{curve.arm} {curve.changes}"][curve.seed] = curve
    whole = [by_seed for by_seed in found.values() if len(by_seed) == len(SEEDS)]
    return [(by_seed[SEEDS[0]].changes, _configuration([by_seed[seed] for seed in SEEDS])) for by_seed in whole]


def _configuration(curves: Sequence[Curve]) -> Configuration:
    return Configuration(curves[0].arm, curves[0].opens, tuple(curve.values for curve in curves))


def pool_of(curves: Iterable[Curve]) -> list[Configuration]:
    """The configurations that have a curve for each seed."""
    return [configuration for _, configuration in by_changes(curves)]


@dataclass(frozen=True)
class Draw:
    """The trials of one search, in the order in which they begin, and the seed that all of them train with."""

    trials: tuple[Configuration, ...]
    seed: int

    @property
    def values(self) -> list[tuple[float, ...]]:
        """What each trial reports after each of its epochs."""
        return [trial.curves[self.seed] for trial in self.trials]


def draw(pool: Sequence[Configuration], trials: int, baseline_share: float, number: int) -> Draw:
    """The trials of replay `number`: the arms by the search's own plan, the configurations of each in random order."""
    rng = random.Random(number)
    of_arm = {arm: [c for c in pool if c.arm == arm] for arm in ARMS}
    capacity = {arm: float(len(those)) for arm, those in of_arm.items()}
    for those in of_arm.values():
        rng.shuffle(those)
    return Draw(tuple(of_arm[arm].pop() for arm in plan(trials, baseline_share, capacity)), number % len(SEEDS))


# ---- which epochs are trained ----

History = list[int]  # the trial of each epoch that is trained, in the order in which the epochs end
Policy = Callable[[Draw, int], History]  # of a draw and a number of workers


def side_by_side(numbers: Iterable[int], workers: int, goes_on: Callable[[int], bool]) -> History:
    """Trains trials, some at a time; `goes_on` is asked after each epoch of one whether it trains another. The number
    of a trial is asked for when a worker is free, so that it may depend on all epochs before."""
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
    """Trains each trial until the scheduler stops it, or to its end.

    Args:
        scheduler_for: makes one for each search.
        raw: whether it is told each epoch's own value; else, as in this project's search, the best so far.
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
    """Trains all trials for some epochs, then the best of each arm to its end."""

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
    """
    >>> running_best([1, 3, 2, 4])
    (1, 3, 3, 4)
    """
    best: list[float] = []
    for value in values:
        best.append(max(value, best[-1]) if best else value)
    return tuple(best)


# ---- what the search has in hand ----


@dataclass(frozen=True)
class Leader:
    """The best trial so far of an arm, and the value that it showed."""

    number: int
    value: float


InHand = dict[Arm, Leader]


def in_hand(draw: Draw, history: History) -> list[InHand]:
    """After each epoch, whom the search would name for each arm: by the best value shown, the first of equal ones."""
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
    """Whom the search would hand over: the better of the arms' leaders, of equal ones the baseline's."""
    return max((lead[arm] for arm in ARMS if arm in lead), key=lambda leader: leader.value).number


def arrival(good: Sequence[bool]) -> int | None:
    """After how many epochs it is so and stays so; None where it is not at the end.

    >>> arrival([True, False, True, True]), arrival([True, False])
    (3, None)
    """
    if not good or not good[-1]:
        return None
    return max((n for n, each in enumerate(good, 1) if not each), default=0) + 1
