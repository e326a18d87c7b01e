"""After how many epochs `search.scheduler` compares trials."""

from __future__ import annotations

from collections.abc import Collection

from search.experiment.schema import Experiment
from search.experiment.space import most_epochs


def rung_epochs(grace_epochs: int, reduction_factor: int, epochs: int, drops: Collection[int] = ()) -> list[int]:
    """After how many epochs trials are compared: the grace, then a factor apart, below the whole training.

    The epoch after a drop of the learning rate is one as well: before it a high rate hides what a trial is worth.

    Args:
        grace_epochs: the first rung.
        reduction_factor: how far the rungs are apart.
        epochs: of the whole training.
        drops: epochs, counted from 0, at whose begin the learning rate falls.

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
    """Epochs of the longest that a trial can be, one of `search.first` that lies outside the space included."""
    return most_epochs(experiment.space, experiment.trial, experiment.search.first)


def grace_of(experiment: Experiment) -> int:
    """`search.scheduler.grace_epochs`, or a third of the longest trial of the space."""
    longest = most_epochs(experiment.space, experiment.trial)
    return experiment.search.scheduler.grace_epochs or max(1, longest // 3)


def rungs_of(experiment: Experiment) -> list[int]:
    """After how many epochs ASHA compares: as the file says, else from the grace, the factor and the learning rate."""
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
