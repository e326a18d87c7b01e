"""What a search may spend, what it has spent, and whether that is the end of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass

from search.experiment.schema import Budget
from search.run.causes import Cause, Reason


@dataclass
class Spent:
    """What a search has used, over all its sessions.

    Args:
        wall_seconds: from the opening of each session to its last event.
        gpu_seconds: of the epochs that were reported, whichever ran at the same time, each times its share of a GPU.
        epochs: that were trained and reported.
        inherited_epochs: that were reported, and that another trial had trained.
        saved_seconds: that their training took there.
        saved_gpu_seconds: likewise, each times the share of a GPU.
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
        """Another one was reported, by a trial that had so many GPUs."""
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
    """What trainings will take that are still to come, if an epoch of theirs takes what one of the search did so far.

    Before the first epoch nothing is known but their number.
    """
    total = trainings * epochs
    if not spent.epochs:
        return Spent(epochs=total)
    return Spent(total * spent.wall_seconds / spent.epochs, total * spent.gpu_seconds / spent.epochs, total)


def _limits(budget: Budget, spent: Spent) -> list[tuple[float, float, str]]:
    """What is limited: the limit, what of it was spent, and the unit of both."""
    parts = (
        (budget.hours, spent.wall_seconds / 3600, "hour"),
        (budget.gpu_hours, spent.gpu_seconds / 3600, "GPU-hour"),
        (budget.epochs, spent.epochs, "epoch"),
    )
    return [(limit, used, unit) for limit, used, unit in parts if limit is not None]


def is_limit_of(budget: Budget, reason: Reason) -> bool:
    """Whether it is this very budget that a trial was stopped for.

    >>> stopped = Reason(Cause.BUDGET, {"limit": 2.0, "unit": "hour", "reserved": 0.5})
    >>> is_limit_of(Budget(hours=2), stopped), is_limit_of(Budget(hours=4), stopped)
    (True, False)
    """
    limits = [(limit, unit) for limit, _, unit in _limits(budget, NOTHING)]
    return reason.cause is Cause.BUDGET and (reason.facts["limit"], reason.facts["unit"]) in limits


def remaining(budget: Budget, spent: Spent) -> list[tuple[float, str]]:
    """What there is of each limit still: how much, and of what.

    >>> remaining(Budget(hours=2, epochs=100), Spent(wall_seconds=1800.0, epochs=130))
    [(1.5, 'hours'), (0, 'epochs')]
    """
    return [(max(0, limit - used), f"{unit}s") for limit, used, unit in _limits(budget, spent)]


def stop_reason(budget: Budget, spent: Spent, reserved: Spent = NOTHING) -> Reason | None:
    """Why a search ends, where its budget is spent but for what is reserved for its confirmation; else None.

    >>> str(stop_reason(Budget(hours=2, epochs=100), Spent(wall_seconds=7200.0, epochs=99)))
    'budget: 2 hours are spent'
    >>> str(stop_reason(Budget(epochs=100), Spent(epochs=80), Spent(epochs=20)))
    'budget: 100 epochs are spent, of which 20 are set aside for the confirmation'
    """
    both = zip(_limits(budget, spent), _limits(budget, reserved), strict=True)
    for (limit, used, unit), (_, kept, _) in both:
        if used + kept >= limit:
            return Reason(Cause.BUDGET, {"limit": limit, "unit": unit, "reserved": kept})
    return None
