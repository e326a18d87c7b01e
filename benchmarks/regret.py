"""Regret of a search's choice, on the demo's recorded curves (`demo_curves.csv`).

Each trial is replayed with the curve of the nearest recorded configuration, by `distance`, of the same arm and shared
settings. All configurations of the baseline are recorded, but only some of the modulated arm. The search sees one of
the recorded seeds; its choice is evaluated with the others. The best recorded configuration has the highest mean over
all seeds, which is partly luck; regret is therefore rather overestimated than underestimated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import log
from typing import Any

from benchmarks import curves
from benchmarks.replay import Configuration, by_changes
from benchmarks.simulation import Way, demo, seeded, simulate
from ogmge.prefix_keys import keys
from search.experiment.arms import ARMS, Arm
from search.experiment.dimensions import END, METHOD, START, Changes
from search.experiment.schema import Experiment
from search.experiment.space import with_changes
from search.run.best import bests
from search.run.trials import SearchRecord, TrialRecord
from search.tuner.search_policy import SearchPolicy
from search.verdict.confirm_policy import shared_settings

ALPHA = "modulation.alpha"
APART: dict[str, Callable[[Any, Any], float]] = {
    ALPHA: lambda one, other: abs(log(one / other)),
    START: lambda one, other: abs(one - other) / 3,
    END: lambda one, other: abs(one - other) / 4,
    METHOD: lambda one, other: 0.3 * (one != other),
}
Pool = Sequence[tuple[Changes, Configuration]]


def distance(one: Changes, other: Changes) -> float:
    """Return the distance between two modulations.

    A factor of e in alpha counts as much as 3 epochs of the start or 4 epochs of the end. A different method counts as
    much as a factor of 1.35 in alpha.

    >>> modulation = {ALPHA: 0.1, START: 0, END: 11, METHOD: "ogm"}
    >>> round(distance(modulation, {ALPHA: 0.2, START: 6, END: 7, METHOD: "ogm_ge"}), 2)
    3.99
    """
    return sum(apart(one[path], other[path]) for path, apart in APART.items() if path in other)


def nearest(pool: Pool, arm: Arm, changes: Changes) -> Configuration:
    """Return the arm's nearest recorded configuration with the same shared settings; the first of equally near ones.

    Raises:
        LookupError: if no recorded configuration has these shared settings.
    """
    shared = shared_settings(changes)
    alike = [(c, found) for c, found in pool if found.arm == arm and shared_settings(c) == shared]
    if not alike:
        raise LookupError(f"no recorded {arm} configuration has {shared}")
    return min(alike, key=lambda each: distance(changes, each[0]))[1]


@cache
def recorded() -> Pool:
    """Return the recorded configurations."""
    return by_changes(curves.read())


def best_there(pool: Pool, arm: Arm) -> float:
    """Return the accuracy of the arm's best recorded configuration, the mean over all seeds, in percent."""
    return 100 * max(configuration.quality for _, configuration in pool if configuration.arm == arm)


@dataclass(frozen=True)
class Choice:
    """Result of a search.

    Args:
        unseen: accuracy of each arm's best trial with the seeds that the search did not see, in percent.
        epochs: number of epochs of all trials.
        distinct: number of epochs if each shared prefix is trained once.
    """

    unseen: dict[Arm, float]
    epochs: int
    distinct: int


@dataclass(frozen=True)
class Search:
    """One search on recorded curves: how the arms are searched, `search.seed`, and the recorded seed it sees."""

    way: Way
    seed: int
    sees: int


def search_recorded(search: Search) -> Choice:
    """Run one search on the recorded curves and return its choice."""
    return choice(recorded(), seeded(demo(search.way), search.seed), search.sees)


def choice(pool: Pool, experiment: Experiment, sees: int) -> Choice:
    """Run a search on the pool's curves of seed `sees` and return its choice."""
    trained: dict[int, Configuration] = {}

    def curve_of(trial: TrialRecord) -> Sequence[float]:
        trained[trial.number] = nearest(pool, trial.arm, trial.changes)
        return trained[trial.number].curves[sees]

    record = simulate(experiment, SearchPolicy(experiment), curve_of)
    best = bests(record, experiment.search.objective)
    unseen = {arm: 100 * trained[best[arm].trial.number].unseen(sees) for arm in ARMS}
    return Choice(unseen, record.spent.epochs, distinct_epochs(experiment, record))


def distinct_epochs(experiment: Experiment, record: SearchRecord) -> int:
    """Return the epochs of a search that trains each shared prefix once. No search can train fewer."""
    states: set[str] = set()
    for trial in record:
        states.update(keys(with_changes(experiment.trial, trial.changes))[1 : len(trial.epochs) + 1])
    return len(states)
