"""Transfer between the arms: each arm also tries the shared settings of the other arm's best trials.

The modulated arm has the larger space. If the arms were searched separately with the same number of trials, the
modulated arm would end with worse shared settings (fusion, learning rate, …), which is not the method's fault. The same
rule applies to both arms.
"""

from __future__ import annotations

from collections.abc import Iterable

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


def settings_to_try(study: ArmStudy, others: Iterable[TrialRecord], objective: Objective) -> Internal | None:
    """Return the best shared settings of the other arm that leave something to try in this arm, or None.

    Args:
        study: study of the arm that will try them.
        others: trials of the other arm that have ended with a result.
        objective: objective that ranks these trials.
    """
    sign = 1 if objective.mode == "max" else -1
    results = [(sign * trial.best, -trial.number, trial) for trial in others if trial.best is not None]
    for _, _, trial in sorted(results, reverse=True):
        shared = shared_part(trial.internal)
        if shared and study.has_untried(shared):
            return shared
    return None
