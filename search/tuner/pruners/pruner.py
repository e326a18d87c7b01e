"""Creation of the early-stopping rule that an experiment asks for."""

from __future__ import annotations

from collections.abc import Iterable

from search.experiment.rungs import grace_of, rungs_of
from search.experiment.schema import Experiment
from search.run.causes import Reason
from search.tuner.pruners.asha import Asha
from search.tuner.pruners.median import Median
from search.tuner.pruners.peers import LearningCurve, Pruner


class NoPruning:
    """Early-stopping rule that stops no run."""

    def decide(self, run: LearningCurve, runs: Iterable[LearningCurve]) -> Reason | None:
        """Return None."""
        return None


def pruner_of(experiment: Experiment) -> Pruner:
    """Create the early-stopping rule of an experiment's `search.scheduler`."""
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
    return Median(grace, search.objective.mode) if how.name == "median" else NoPruning()
