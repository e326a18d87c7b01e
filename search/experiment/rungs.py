"""Epochs after which `search.scheduler` compares trials."""

from __future__ import annotations

from collections.abc import Collection

from search.experiment.schema import Experiment
from search.experiment.space import most_epochs


def rung_epochs(grace_epochs: int, reduction_factor: int, epochs: int, drops: Collection[int] = ()) -> list[int]:
    """Return the numbers of epochs after which trials are compared, in rising order.

    The first is `grace_epochs`, each further one is `reduction_factor` times the one before, and all are below
    `epochs`. The epoch after each drop of the learning rate is added: before a drop, the high rate hides how good a
    trial is.

    Args:
        grace_epochs: the first rung.
        reduction_factor: factor between successive rungs.
        epochs: length of the whole training.
        drops: epochs, counted from 0, at whose start the learning rate drops.

    >>> rung_epochs(3, 3, 100), rung_epochs(3, 3, 100, drops=[70])
    ([3, 9, 27, 81], [3, 9, 27, 71, 81])
    """
    found = {drop + 1 for drop in drops if grace_epochs < drop + 1 < epochs}
    rung = grace_epochs
    while rung < epochs:
        found.add(rung)
        rung *= reduction_factor
    return sorted(found)


def longest_trial(experiment: Experiment) -> int:
    """Return the epochs of the longest trial of the space or of `search.first`."""
    return most_epochs(experiment.space, experiment.trial, experiment.search.first)


def grace_of(experiment: Experiment) -> int:
    """Return `search.scheduler.grace_epochs`, by default a third of the longest trial of the space."""
    longest = most_epochs(experiment.space, experiment.trial)
    return experiment.search.scheduler.grace_epochs or max(1, longest // 3)


def rungs_of(experiment: Experiment) -> list[int]:
    """Return ASHA's rungs: those of the file, or those derived from grace, reduction factor and learning rate."""
    scheduler, schedule = experiment.search.scheduler, experiment.trial.schedule
    if scheduler.rungs is not None:
        return list(scheduler.rungs)
    known = schedule.name == "step" and not any(path.startswith("schedule.") for path in experiment.space)
    return rung_epochs(
        grace_of(experiment),
        scheduler.reduction_factor,
        most_epochs(experiment.space, experiment.trial),
        schedule.milestones if known else (),
    )
