"""The early stopping that an experiment asks for."""

from __future__ import annotations

from collections.abc import Iterable

from search.experiment import Experiment
from search.space import most_epochs
from search.stopping.asha import Asha, rung_epochs
from search.stopping.median import Median
from search.stopping.peers import Run, Scheduler


class NoStopping:
    """Trains all to the end."""

    def decide(self, run: Run, runs: Iterable[Run]) -> str | None:
        """None, always."""
        return None


def rungs_of(experiment: Experiment) -> list[int]:
    """After how many epochs ASHA compares: as the file says, else from the grace, the factor and the learning rate."""
    scheduler, schedule = experiment.search.scheduler, experiment.trial.schedule
    if scheduler.rungs is not None:
        return list(scheduler.rungs)
    known = schedule.name == "step" and not any(path.startswith("schedule.") for path in experiment.space)
    return rung_epochs(
        scheduler.grace_epochs,
        scheduler.reduction_factor,
        most_epochs(experiment.space, experiment.trial),
        schedule.milestones if known else (),
    )


def scheduler_of(experiment: Experiment) -> Scheduler:
    """`search.scheduler`, ready to decide."""
    search = experiment.search
    how = search.scheduler
    if how.name == "asha":
        return Asha(
            rungs_of(experiment),
            how.reduction_factor,
            search.objective.mode,
            how.grace_epochs,
            how.brackets,
            search.seed,
        )
    return Median(how.grace_epochs, search.objective.mode) if how.name == "median" else NoStopping()
