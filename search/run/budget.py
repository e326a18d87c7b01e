"""What a search may spend, what it has spent, and whether that is the end of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass

from search.experiment.schema import Budget


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


def set_aside(trainings: int, epochs: int, spent: Spent) -> Spent:
    """What trainings will take that are still to come, if an epoch of theirs takes what one of the search did so far.

    Before the first epoch nothing is known but their number.
    """
    total = trainings * epochs
    if not spent.epochs:
        return Spent(epochs=total)
    return Spent(total * spent.wall_seconds / spent.epochs, total * spent.gpu_seconds / spent.epochs, total)


def of_budget(reason: str) -> bool:
    """Whether it is this that a trial was stopped for."""
    return reason.startswith("budget: ")


def _format_limit(limit: float, unit: str) -> str:
    return f"budget: {limit:g} {unit} is spent" if limit == 1 else f"budget: {limit:g} {unit}s are spent"


def _limits(budget: Budget, spent: Spent) -> list[tuple[float, float, str]]:
    """What is limited: the limit, what of it was spent, and the unit of both."""
    parts = (
        (budget.hours, spent.wall_seconds / 3600, "hour"),
        (budget.gpu_hours, spent.gpu_seconds / 3600, "GPU-hour"),
        (budget.epochs, spent.epochs, "epoch"),
    )
    return [(limit, used, unit) for limit, used, unit in parts if limit is not None]


def ended_by(budget: Budget, reason: str) -> bool:
    """Whether it is this very budget that a trial was stopped for.

    >>> ended_by(Budget(hours=2), "budget: 2 hours are spent, of which 0.5 are set aside for the confirmation")
    True
    >>> ended_by(Budget(hours=4), "budget: 2 hours are spent")
    False
    """
    return reason.partition(",")[0] in [_format_limit(limit, unit) for limit, _, unit in _limits(budget, NOTHING)]


def remaining(budget: Budget, spent: Spent) -> list[tuple[float, str]]:
    """What there is of each limit still: how much, and of what.

    >>> remaining(Budget(hours=2, epochs=100), Spent(wall_seconds=1800.0, epochs=130))
    [(1.5, 'hours'), (0, 'epochs')]
    """
    return [(max(0, limit - used), f"{unit}s") for limit, used, unit in _limits(budget, spent)]


def exhausted(budget: Budget, spent: Spent, aside: Spent = NOTHING) -> str | None:
    """Why a search ends, where its budget is spent but for what is set aside; else None.

    >>> exhausted(Budget(hours=2, epochs=100), Spent(wall_seconds=7200.0, epochs=99))
    'budget: 2 hours are spent'
    >>> exhausted(Budget(epochs=100), Spent(epochs=80), Spent(epochs=20))
    'budget: 100 epochs are spent, of which 20 are set aside for the confirmation'
    """
    both = zip(_limits(budget, spent), _limits(budget, aside), strict=True)
    for (limit, used, unit), (_, kept, _) in both:
        if used + kept >= limit:
            said = _format_limit(limit, unit)
            return f"{said}, of which {kept:.3g} are set aside for the confirmation" if kept else said
    return None
