"""The early stopping that an experiment asks for."""

from __future__ import annotations

from collections.abc import Iterable

from search.experiment.schema import Experiment
from search.experiment.space import most_epochs
from search.tuner.pruners.asha import Asha, rung_epochs
from search.tuner.pruners.median import Median
from search.tuner.pruners.peers import Run, Scheduler


class NoStopping:
    """Trains all to the end."""

    def decide(self, run: Run, runs: Iterable[Run]) -> str | None:
        """None, always."""
        return None


def grace_of(experiment: Experiment) -> int:
    """`search.scheduler.grace_epochs`, or a third of the longest trial."""
    asked = experiment.search.scheduler.grace_epochs
    return asked or max(1, most_epochs(experiment.space, experiment.trial) // 3)


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


def scheduler_of(experiment: Experiment) -> Scheduler:
    """`search.scheduler`, ready to decide."""
    search = experiment.search
    how, grace = search.scheduler, grace_of(experiment)
    if how.name == "asha":
        return Asha(
            rungs_of(experiment),
            how.reduction_factor,
            search.objective.mode,
            grace,
            how.brackets,
            search.seed,
        )
    return Median(grace, search.objective.mode) if how.name == "median" else NoStopping()
