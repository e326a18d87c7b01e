"""Transfer between the arms: each arm also tries the shared settings of the other arm's best trials.

The modulated arm has the larger space. If the arms were searched separately with the same number of trials, the
modulated arm would end with worse shared settings (fusion, learning rate, …), which is not the method's fault. The same
rule applies to both arms.
"""

from __future__ import annotations

from heapq import heappop, heappush

from ogmge.fit import Objective
from search.experiment.dimensions import Internal
from search.run.trials import TrialRecord
from search.tuner.study import ArmStudy, shared_part


def is_due(taken: int, trials: int, share: float) -> bool:
    """Return whether an arm's next trial takes settings from the other arm.

    Args:
        taken: number of the arm's trials that already did.
        trials: number of the arm's trials, the next one included, without those that are decided before any result.
        share: share of the arm's trials that take settings from the other arm.

    >>> [is_due(0, 1, 0.5), is_due(0, 2, 0.5), is_due(1, 3, 0.5)]
    [False, True, False]
    """
    return taken + 1 <= share * trials + 1e-9


class Donors:
    """Trials of an arm that have ended with a result, whose shared settings the other arm may take.

    Args:
        objective: objective that ranks these trials.
    """

    def __init__(self, objective: Objective) -> None:
        self._sign = -1 if objective.mode == "max" else 1
        self._ranked: list[tuple[float, int, Internal]] = []  # a heap, the best first; without those that are used up
        self._count = 0

    def __len__(self) -> int:
        """Return the number of trials."""
        return self._count

    def add(self, trial: TrialRecord) -> None:
        """Add a trial that has ended with a result."""
        if trial.best is not None:
            heappush(self._ranked, (self._sign * trial.best, trial.number, shared_part(trial.internal)))
        self._count += 1

    def settings_to_try(self, study: ArmStudy) -> Internal | None:
        """Return the best shared settings that leave something to try in the other arm, or None.

        Settings that leave nothing never will again, so each of them is looked at only once.

        Args:
            study: study of the other arm.
        """
        while self._ranked:
            shared = self._ranked[0][2]
            if shared and study.has_untried(shared):
                return shared
            heappop(self._ranked)
        return None
