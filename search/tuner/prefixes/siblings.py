"""Configurations of a space that may begin as a given one does: those that differ in what matters later on only."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ogmge.config import TrialConfig
from search.experiment.space import METHOD, START, Changes, Dimension, Entry, Interval, Window, dimensions

LATE = ("modulation.", "schedule.", "epochs")  # what paths begin with that need not matter from the first epoch on
MOST = 1000  # of so many more no two are likely to be drawn


@dataclass(frozen=True)
class Sibling:
    """One of them.

    Args:
        changes: of the experiment's trial.
        endless: stands for any of so many that it is never used up.
    """

    changes: Changes
    endless: bool = False


def _late(dimension: Dimension) -> bool:
    return isinstance(dimension, Window) or dimension.path.startswith(LATE)


def preventing(space: Mapping[str, Entry], trial: TrialConfig) -> list[str]:
    """Paths of ranges from which no two trials draw the same, although it matters from the first epoch on."""
    return [d.path for d in _without_steps(space, trial) if not _late(d)]


def continuous(space: Mapping[str, Entry], trial: TrialConfig) -> list[str]:
    """Likewise, of those that matter later on only: in the window, or where the learning rate drops."""
    return [d.path for d in _without_steps(space, trial) if _late(d)]


def _without_steps(space: Mapping[str, Entry], trial: TrialConfig) -> list[Interval]:
    every = dimensions(space, trial, modulated=True)
    return [d for d in every if isinstance(d, Interval) and math.isinf(d.count)]


def siblings(space: Mapping[str, Entry], trial: TrialConfig, changes: Changes) -> list[Sibling]:
    """All that the space has, of both arms, the configuration itself among them; none where a range prevents it.

    Args:
        space, trial: of the experiment.
        changes: that make the configuration.
    """
    if preventing(space, trial):
        return []
    own = {path: value for path, value in changes.items() if not path.startswith(LATE)}
    return [*_of_arm(space, trial, own, modulated=False), *_of_arm(space, trial, own, modulated=True)]


def _of_arm(space: Mapping[str, Entry], trial: TrialConfig, own: Changes, *, modulated: bool) -> list[Sibling]:
    listed = _within([_siblings_along(d) for d in dimensions(space, trial, modulated=modulated) if _late(d)])
    method: Changes = {} if modulated else {METHOD: "none"}
    found = []
    for combination in itertools.product(*listed):
        merged = own | method
        for sibling in combination:
            merged |= sibling.changes
        found.append(Sibling(merged, any(sibling.endless for sibling in combination)))
    return found


def _siblings_along(dimension: Dimension) -> list[Sibling]:
    """What a dimension can be; of endlessly many one stands for all."""
    if isinstance(dimension, Interval) and math.isinf(dimension.count):
        return [Sibling({dimension.path: dimension.range.low}, endless=True)]
    return [Sibling(dimension.decode(dimension.at(place))) for place in range(int(dimension.count))]


def _within(listed: Sequence[list[Sibling]]) -> list[list[Sibling]]:
    """So few of them that all combinations can be looked at: where there are too many, those of the longest list are
    thinned out, and a window for each start is left."""
    found = list(listed)
    for place in sorted(range(len(found)), key=lambda i: -len(found[i])):
        if math.prod(map(len, found)) <= MOST:
            break
        last = {sibling.changes.get(START): sibling.changes for sibling in found[place]}
        found[place] = [Sibling(changes, endless=True) for changes in last.values()]
    return found
