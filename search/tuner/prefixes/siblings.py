"""Siblings: configurations of a space that differ only in settings that may take effect after the first epoch."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ogmge.config import TrialConfig
from search.experiment.dimensions import METHOD, START, Changes, Dimension, Interval, Window
from search.experiment.space import Entry, dimensions

LATE = ("modulation.", "schedule.", "epochs")  # starts of the paths of settings that may take effect later
MOST = 1000  # siblings; among more, it is unlikely that two are drawn


@dataclass(frozen=True)
class Sibling:
    """Configuration that may share a prefix with others.

    Args:
        changes: changes to the experiment's trial.
        endless: whether it stands for so many configurations that they are never used up.
    """

    changes: Changes
    endless: bool = False

    def merge(self, other: Sibling) -> Sibling:
        """Return the combination of both."""
        return Sibling(self.changes | other.changes, self.endless or other.endless)


def _is_late(dimension: Dimension) -> bool:
    return isinstance(dimension, Window) or dimension.path.startswith(LATE)


def continuous_paths(space: Mapping[str, Entry], trial: TrialConfig, *, late: bool) -> tuple[str, ...]:
    """Return the paths of the ranges without steps, in which no two trials draw the same value.

    Args:
        space, trial: space and trial of the experiment.
        late: whether to return the ranges that may take effect after the first epoch (of the window or of the learning
            rate's drops), or those that take effect at once, so that trials cannot share any epoch.
    """
    every = dimensions(space, trial, modulated=True)
    return tuple(d.path for d in every if isinstance(d, Interval) and math.isinf(d.count) and _is_late(d) == late)


def siblings(
    space: Mapping[str, Entry], trial: TrialConfig, changes: Changes, *, is_repeated: bool = False
) -> list[Sibling]:
    """Return all configurations of both arms that may share a prefix with a given one, itself included.

    The list is empty if a continuous range prevents sharing.

    Args:
        space, trial: space and trial of the experiment.
        changes: changes that make the given configuration.
        is_repeated: whether other trials may reuse its shared settings, so that values from a continuous range come
            again.
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
    """Return all values of a dimension. A continuous one is represented by a single value."""
    if isinstance(dimension, Interval) and math.isinf(dimension.count):
        return [Sibling({dimension.path: dimension.range.low}, endless=True)]
    return [Sibling(dimension.decode(dimension.at(place))) for place in range(int(dimension.count))]


def _within(listed: Sequence[list[Sibling]]) -> list[list[Sibling]]:
    """Shorten the longest lists, to one window per start, until there are few enough combinations to enumerate."""
    found = list(listed)
    for place in sorted(range(len(found)), key=lambda i: -len(found[i])):
        if math.prod(map(len, found)) <= MOST:
            break
        last = {sibling.changes.get(START): sibling.changes for sibling in found[place]}
        found[place] = [Sibling(changes, endless=True) for changes in last.values()]
    return found
