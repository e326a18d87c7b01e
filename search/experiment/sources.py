"""Where a trial's settings come from, and the trials that are decided before there is any result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from search.experiment.arms import Arm
from search.experiment.dimensions import Changes, Internal, as_key
from search.experiment.placement import place
from search.experiment.schema import Experiment


class Source(StrEnum):
    """Where a trial's settings come from."""

    RECIPE = "recipe"
    """The experiment's own `trial`."""
    FIRST = "first"
    """An entry of `search.first`."""
    OTHER_ARM = "other arm"
    """The shared settings of the best trial of the other arm; the modulation is off, or drawn by the sampler."""
    SAMPLER = "sampler"
    """`search.sampler`."""


def format_sources(counts: Mapping[Source | None, int]) -> str:
    """How many trials have their settings from where.

    >>> format_sources({Source.SAMPLER: 3, Source.RECIPE: 1})
    'recipe 1, sampler 3'
    """
    return ", ".join(f"{source} {counts[source]}" for source in Source if counts.get(source))


@dataclass(frozen=True)
class Opening:
    """A trial that is decided before there is any result.

    Args:
        source: where its settings come from.
        internal: the configuration as it is sampled; None where it lies outside the space.
        changes: the configuration, as changes of the experiment's trial.
    """

    source: Source
    internal: Internal | None
    changes: Changes


def openings(experiment: Experiment, arm: Arm) -> list[Opening]:
    """An arm's first trials: the experiment's own, then those of `search.first`, each configuration once.

    Where the space does not have a value of the experiment's own trial, the nearest that it has stands in for it.
    """
    recipe = place(experiment, {}, arm)
    every = [Opening(Source.RECIPE, recipe.sampled, recipe.nearest)]
    for changes in experiment.search.first:
        placed = place(experiment, changes, arm)
        if placed.is_inside:
            every.append(Opening(Source.FIRST, placed.sampled, placed.nearest))
        else:
            every.append(Opening(Source.FIRST, None, placed.whole))
    distinct: dict[str, Opening] = {}
    for opening in every:
        distinct.setdefault(as_key(opening.changes), opening)
    return list(distinct.values())


def opening_notes(experiment: Experiment) -> list[str]:
    """What to say of the first trials: those that lie outside the space, and where."""
    notes: list[str] = []
    if outside := place(experiment, {}, "modulated").differences:
        said = "the experiment's own trial lies outside the space; the nearest in it is tried first"
        notes.append(f"{said}: {', '.join(outside)}")
    for number, changes in enumerate(experiment.search.first):
        if outside := place(experiment, changes, "modulated").differences:
            said = f"`search.first[{number}]` lies outside the space, and is tried as it is"
            notes.append(f"{said}: {', '.join(outside)}")
    return notes
