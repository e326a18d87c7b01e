"""The median rule (Golovin et al., *Google Vizier: A Service for Black-Box Optimization*, KDD 2017)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from search.run.causes import Cause, Reason
from search.tuner.pruners.peers import LearningCurve, Mode, better, peer_group, peers

FEWEST = 4  # peers; the median of fewer says little


@dataclass(frozen=True)
class Median:
    """Early-stopping rule: stop a run whose best value so far is worse than the median of its peers' at the same epoch.

    Args:
        grace_epochs: number of epochs before the first comparison of a run, and again after its window opens.
        mode: whether a higher (`max`) or a lower (`min`) value is better.
    """

    grace_epochs: int
    mode: Mode

    def decide(self, run: LearningCurve, runs: Iterable[LearningCurve]) -> Reason | None:
        """Return why the run stops, or None; see `Pruner`."""
        trained = len(run.values)
        if trained < max(self.grace_epochs, run.due(trained, self.grace_epochs)):
            return None
        there = peers(run, runs, trained, self.grace_epochs)
        if len(there) < FEWEST:
            return None
        middle = median(o.values[trained - 1] for o in there)
        if not better(middle, run.values[-1], self.mode):
            return None
        facts = {"of": len(there), "epochs": trained, "peers": peer_group(run, trained)}
        return Reason(Cause.MEDIAN, facts)
