"""Sources of a trial's settings, and the opening trials, which are decided before any result exists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from search.experiment.arms import Arm
from search.experiment.dimensions import Changes, Internal, as_key
from search.experiment.placement import place
from search.experiment.schema import Experiment


class Source(StrEnum):
    """Source of a trial's settings."""

    RECIPE = "recipe"
    """The file's own `trial`."""
    FIRST = "first"
    """An entry of `search.first`."""
    OTHER_ARM = "other arm"
    """The shared settings of the other arm's best trial; the modulation is off, or comes from the sampler."""
    SAMPLER = "sampler"
    """The sampler, `search.sampler`."""


def format_sources(counts: Mapping[Source | None, int]) -> str:
    """Format the number of trials of each source.

    >>> format_sources({Source.SAMPLER: 3, Source.RECIPE: 1})
    'recipe 1, sampler 3'
    """
    return ", ".join(f"{source} {counts[source]}" for source in Source if counts.get(source))


@dataclass(frozen=True)
class Opening:
    """A trial that is decided before any result exists.

    Args:
        source: source of its settings.
        internal: the configuration as it is sampled; None if it lies outside the space.
        changes: the configuration as changes of the experiment's trial.
    """

    source: Source
    internal: Internal | None
    changes: Changes


def openings(experiment: Experiment, arm: Arm) -> list[Opening]:
    """Return an arm's first trials: the recipe, then `search.first`, without duplicates.

    If the recipe has a value outside the space, the nearest value of the space replaces it.
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
    """Return a note for each of the first trials that lies outside the space, which says where."""
    notes: list[str] = []
    if outside := place(experiment, {}, "modulated").differences:
        said = "the recipe (`trial`) lies outside the space, so the search tries the nearest configuration first"
        notes.append(f"{said}: {', '.join(outside)}")
    for number, changes in enumerate(experiment.search.first):
        if outside := place(experiment, changes, "modulated").differences:
            said = f"`search.first[{number}]` lies outside the space and is tried unchanged"
            notes.append(f"{said}: {', '.join(outside)}")
    return notes
