"""What a search may spend, what it has spent, and whether that is the end of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from search.experiment import Budget


@dataclass
class Spent:
    """What a search has used, over all its sessions.

    Args:
        wall_seconds: from the opening of each session to its last event.
        gpu_seconds: of the epochs that were reported, whichever ran at the same time, each times its share of a GPU.
        epochs: that were reported.
    """

    wall_seconds: float = 0.0
    gpu_seconds: float = 0.0
    epochs: int = 0

    def epoch(self, metrics: Mapping[str, float], gpu: float) -> None:
        """Another one was reported, by a trial that had so many GPUs."""
        self.epochs += 1
        self.gpu_seconds += metrics.get("seconds", 0.0) * gpu


def exhausted(budget: Budget, spent: Spent) -> str | None:
    """Why a search ends, where its budget is spent; else None.

    >>> exhausted(Budget(hours=2, epochs=100), Spent(wall_seconds=7200.0, epochs=99))
    'budget: 2 hours are spent'
    """
    parts = (
        (budget.hours, spent.wall_seconds / 3600, "hour"),
        (budget.gpu_hours, spent.gpu_seconds / 3600, "GPU-hour"),
        (budget.epochs, spent.epochs, "epoch"),
    )
    for limit, used, unit in parts:
        if limit is not None and used >= limit:
            return f"budget: {limit:g} {unit} is spent" if limit == 1 else f"budget: {limit:g} {unit}s are spent"
    return None
