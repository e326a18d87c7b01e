"""Siblings: configurations of a space that differ only in what does not matter from the first epoch on."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ogmge.config import TrialConfig
from search.experiment.dimensions import METHOD, START, Changes, Dimension, Interval, Window
from search.experiment.space import Entry, dimensions

LATE = ("modulation.", "schedule.", "epochs")  # starts of paths that need not matter from the first epoch on
MOST = 1000  # siblings; of more no two are likely to be drawn


@dataclass(frozen=True)
class Sibling:
    """A configuration.

    Args:
        changes: of the experiment's trial.
        endless: whether it stands for so many that they are never used up.
    """

    changes: Changes
    endless: bool = False

    def merge(self, other: Sibling) -> Sibling:
        """Both at once."""
        return Sibling(self.changes | other.changes, self.endless or other.endless)


def _is_late(dimension: Dimension) -> bool:
    return isinstance(dimension, Window) or dimension.path.startswith(LATE)


def continuous_paths(space: Mapping[str, Entry], trial: TrialConfig, *, late: bool) -> tuple[str, ...]:
    """Paths of the ranges without steps, from which no two trials draw the same value.

    Args:
        space, trial: of the experiment.
        late: those that do not matter from the first epoch on (in the window, or where the learning rate drops), or
            those that do, and so keep all trials from sharing any epoch.
    """
    every = dimensions(space, trial, modulated=True)
    return tuple(d.path for d in every if isinstance(d, Interval) and math.isinf(d.count) and _is_late(d) == late)


def siblings(
    space: Mapping[str, Entry], trial: TrialConfig, changes: Changes, *, is_repeated: bool = False
) -> list[Sibling]:
    """All configurations of both arms that may share a prefix with a given one, itself among them; none where a range
    prevents it.

    Args:
        space, trial: of the experiment.
        changes: that make the configuration.
        is_repeated: whether trials may take its shared settings, so that those from a continuous range come again.
    """
    if continuous_paths(space, trial, late=False) and not is_repeated:
        return []
    own = {path: value for path, value in changes.items() if not path.startswith(LATE)}
    return [
        *_of_arm(space, trial, {**own, METHOD: "none"}, modulated=False),
        *_of_arm(space, trial, own, modulated=True),
    ]


def _of_arm(space: Mapping[str, Entry], trial: TrialConfig, own: Changes, *, modulated: bool) -> list[Sibling]:
    late = filter(_is_late, dimensions(space, trial, modulated=modulated))
    combinations = itertools.product(*_within([_siblings_along(dimension) for dimension in late]))
    return [functools.reduce(Sibling.merge, combination, Sibling(own)) for combination in combinations]


def _siblings_along(dimension: Dimension) -> list[Sibling]:
    """All values of a dimension; of a continuous one, one stands for all."""
    if isinstance(dimension, Interval) and math.isinf(dimension.count):
        return [Sibling({dimension.path: dimension.range.low}, endless=True)]
    return [Sibling(dimension.decode(dimension.at(place))) for place in range(int(dimension.count))]


def _within(listed: Sequence[list[Sibling]]) -> list[list[Sibling]]:
    """Thin out the longest lists, to one window for each start, until there are few enough combinations to look at."""
    found = list(listed)
    for place in sorted(range(len(found)), key=lambda i: -len(found[i])):
        if math.prod(map(len, found)) <= MOST:
            break
        last = {sibling.changes.get(START): sibling.changes for sibling in found[place]}
        found[place] = [Sibling(changes, endless=True) for changes in last.values()]
    return found
