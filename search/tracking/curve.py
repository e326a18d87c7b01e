"""How a search has come on, as curves over the epochs that it has trained."""

from __future__ import annotations

from search.run.budget import Spent
from search.run.journal import Moment, SearchRecord

EPOCHS, WALL_HOURS = "spent/epochs", "spent/wall_hours"


class Curve:
    """Follows a search's record: the best so far of each arm, how many trials have ended and how, what was spent.

    All is over the epochs that the search has trained, all trials together: that is what a search is paid in, whereas
    of two trials one may have been stopped after the first of them. There is one point an epoch at most, whatever ended
    at it, and what it says never changes; so that a search that is resumed makes the same points again.

    Args:
        record: of the search.
        mode: whether more or less of the objective is better.
    """

    def __init__(self, record: SearchRecord, mode: str) -> None:
        self._record, self._better = record, max if mode == "max" else min
        self._taken = 0
        self._counts: dict[str, float] = {"trials/finished": 0, "trials/stopped": 0, "trials/failed": 0}
        self._best: dict[str, float] = {}

    def points(self) -> dict[int, dict[str, float]]:
        """Return epochs -> values, of what has become certain since the last call: a later epoch of it is known."""
        epochs = self._record.spent.epochs  # read before the moments: others write meanwhile
        found = {}
        for moment in self._record.moments[self._taken :]:
            if moment.epochs >= epochs:
                break
            found[moment.epochs] = self._take(moment)
        return found

    def end(self) -> dict[int, dict[str, float]]:
        """Return the rest, and where the search is now; while nothing else writes."""
        found = {moment.epochs: self._take(moment) for moment in self._record.moments[self._taken :]}
        spent = self._record.spent
        return found | {spent.epochs: self._values(spent)}

    def _take(self, moment: Moment) -> dict[str, float]:
        self._taken += 1
        if moment.ended is not None:
            trial = self._record.trials[moment.ended]
            self._counts[f"trials/{trial.status}"] += 1
            if trial.status != "failed" and trial.best is not None:
                name = f"best/{trial.arm}"
                self._best[name] = self._better(trial.best, self._best.get(name, trial.best))
        return self._values(moment.spent)

    def _values(self, spent: Spent) -> dict[str, float]:
        values = {EPOCHS: float(spent.epochs), WALL_HOURS: spent.wall_seconds / 3600}
        if spent.gpu_seconds:
            values["spent/gpu_hours"] = spent.gpu_seconds / 3600
        if spent.inherited_epochs:
            values["saved/epochs"] = float(spent.inherited_epochs)
            values["saved/training_hours"] = spent.saved_seconds / 3600
        if spent.saved_gpu_seconds:
            values["saved/gpu_hours"] = spent.saved_gpu_seconds / 3600
        return {**self._best, **self._counts, **values}
