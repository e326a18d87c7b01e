"""Progress of a search, as curves over the number of epochs it has trained."""

from __future__ import annotations

from search.run.budget import Spent
from search.run.trials import Moment, SearchRecord

EPOCHS, WALL_HOURS = "spent/epochs", "spent/wall_hours"


class Curve:
    """Curves of a search: the best value so far of each arm, ended trials by status, and what was spent.

    The x axis is the number of epochs that all trials have trained together. It measures the cost better than the
    number of trials, since some trials are stopped early. There is at most one point per epoch, and a point never
    changes, so a resumed search makes the same points again.

    Args:
        record: record of the search.
        mode: `max` or `min`: whether a larger or a smaller objective is better.
    """

    def __init__(self, record: SearchRecord, mode: str) -> None:
        self._record, self._better = record, max if mode == "max" else min
        self._taken = 0
        self._counts: dict[str, float] = {"trials/finished": 0, "trials/stopped": 0, "trials/failed": 0}
        self._best: dict[str, float] = {}

    def points(self) -> dict[int, dict[str, float]]:
        """Return the points, epochs -> values, that became final since the last call: a later epoch is known."""
        epochs = self._record.spent.epochs  # read before the moments, because other threads write meanwhile
        found = {}
        for moment in self._record.moments[self._taken :]:
            if moment.epochs >= epochs:
                break
            found[moment.epochs] = self._take(moment)
        return found

    def end(self) -> dict[int, dict[str, float]]:
        """Return the remaining points and the current one; call it when nothing else writes."""
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
