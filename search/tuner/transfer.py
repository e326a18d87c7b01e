"""What an arm takes over from the other: the shared settings of its best trials so far.

The modulated arm has the larger space. Searched apart with as many trials, it ends with worse shared settings (fusion,
learning rate, …), through no fault of the method. So each arm also tries the best settings of the other, by one rule
for both.
"""

from __future__ import annotations

from collections.abc import Iterable

from ogmge.fit import Objective
from search.experiment.dimensions import Internal
from search.run.journal import TrialRecord
from search.tuner.study import ArmStudy, shared_part


def is_due(taken: int, trials: int, share: float) -> bool:
    """Whether an arm's next trial takes settings from the other arm.

    Args:
        taken: how many of its trials did.
        trials: how many it has had, this one included, without those that are decided before there is any result.
        share: of its trials that are to do so.

    >>> [is_due(0, 1, 0.5), is_due(0, 2, 0.5), is_due(1, 3, 0.5)]
    [False, True, False]
    """
    return taken + 1 <= share * trials + 1e-9


def settings_to_try(study: ArmStudy, others: Iterable[TrialRecord], objective: Objective) -> Internal | None:
    """The shared settings of the best of the other arm's trials that leave something to try here; None where none does.

    Args:
        study: of the arm that is to try them.
        others: trials of the other arm that have ended with a result.
        objective: says which is best.
    """
    sign = 1 if objective.mode == "max" else -1
    results = [(sign * trial.best, -trial.number, trial) for trial in others if trial.best is not None]
    for _, _, trial in sorted(results, reverse=True):
        shared = shared_part(trial.internal)
        if shared and study.has_untried(shared):
            return shared
    return None
