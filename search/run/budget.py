"""Budget of a search: what it may spend, what it has spent, and when it ends the search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass

from search.experiment.schema import Budget
from search.run.causes import Cause, Reason


@dataclass
class Spent:
    """Resources that a search has used, over all its sessions.

    Args:
        wall_seconds: wall time of all sessions, each from its opening to its last event.
        gpu_seconds: training time of all trials, also of parallel ones, times each trial's share of a GPU.
        epochs: number of epochs that were trained and reported.
        inherited_epochs: number of reported epochs that another trial had trained.
        saved_seconds: training time that the inherited epochs would have taken.
        saved_gpu_seconds: the same time, times each trial's share of a GPU.
    """

    wall_seconds: float = 0.0
    gpu_seconds: float = 0.0
    epochs: int = 0
    inherited_epochs: int = 0
    saved_seconds: float = 0.0
    saved_gpu_seconds: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(*(mine + others for mine, others in zip(astuple(self), astuple(other), strict=True)))

    def epoch(self, metrics: Mapping[str, float], gpu: float) -> None:
        """Add a reported epoch of a trial that uses `gpu` GPUs."""
        seconds = metrics.get("seconds", 0.0)
        if "inherited" in metrics:
            self.inherited_epochs += 1
            self.saved_seconds += seconds
            self.saved_gpu_seconds += seconds * gpu
        else:
            self.epochs += 1
            self.gpu_seconds += seconds * gpu


NOTHING = Spent()


def reserve(trainings: int, epochs: int, spent: Spent) -> Spent:
    """Estimate the cost of future trainings from the search's mean cost per epoch so far.

    Before the first epoch, only the number of epochs is known.
    """
    total = trainings * epochs
    if not spent.epochs:
        return Spent(epochs=total)
    return Spent(total * spent.wall_seconds / spent.epochs, total * spent.gpu_seconds / spent.epochs, total)


def _limits(budget: Budget, spent: Spent) -> list[tuple[float, float, str]]:
    """Return each limit that is set, with the amount spent and the unit of both."""
    parts = (
        (budget.hours, spent.wall_seconds / 3600, "hour"),
        (budget.gpu_hours, spent.gpu_seconds / 3600, "GPU-hour"),
        (budget.epochs, spent.epochs, "epoch"),
    )
    return [(limit, used, unit) for limit, used, unit in parts if limit is not None]


def is_limit_of(budget: Budget, reason: Reason) -> bool:
    """Return whether a trial was stopped by a limit that this budget still has.

    >>> stopped = Reason(Cause.BUDGET, {"limit": 2.0, "unit": "hour", "reserved": 0.5})
    >>> is_limit_of(Budget(hours=2), stopped), is_limit_of(Budget(hours=4), stopped)
    (True, False)
    """
    limits = [(limit, unit) for limit, _, unit in _limits(budget, NOTHING)]
    return reason.cause is Cause.BUDGET and (reason.facts["limit"], reason.facts["unit"]) in limits


def remaining(budget: Budget, spent: Spent) -> list[tuple[float, str]]:
    """Return what remains of each limit: the amount and its unit.

    >>> remaining(Budget(hours=2, epochs=100), Spent(wall_seconds=1800.0, epochs=130))
    [(1.5, 'hours'), (0, 'epochs')]
    """
    left = [(max(0, limit - used), unit) for limit, used, unit in _limits(budget, spent)]
    return [(amount, unit if amount == 1 else f"{unit}s") for amount, unit in left]


def stop_reason(budget: Budget, spent: Spent, reserved: Spent = NOTHING) -> Reason | None:
    """Return why the budget ends a search, or None. The part reserved for the confirmation counts as spent.

    >>> str(stop_reason(Budget(hours=2, epochs=100), Spent(wall_seconds=7200.0, epochs=99)))
    'budget: 2 hours are spent'
    >>> str(stop_reason(Budget(epochs=100), Spent(epochs=80), Spent(epochs=20)))
    'budget: 100 epochs are spent, including 20 reserved for the confirmation'
    """
    both = zip(_limits(budget, spent), _limits(budget, reserved), strict=True)
    for (limit, used, unit), (_, kept, _) in both:
        if used + kept >= limit:
            return Reason(Cause.BUDGET, {"limit": limit, "unit": unit, "reserved": kept})
    return None
