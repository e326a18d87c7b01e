"""Asynchronous successive halving (Li et al., *A System for Massively Parallel Hyperparameter Tuning*, MLSys 2020).

Pure: a decision is a function of results, so that a simulator can replay it, and a resumed search rebuild it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from search.arms import Arm


def rung_epochs(grace_epochs: int, reduction_factor: int, epochs: int) -> list[int]:
    """After how many epochs trials are compared: the grace, then a factor apart, below the whole training.

    >>> rung_epochs(3, 3, 100)
    [3, 9, 27, 81]
    """
    found = []
    rung = grace_epochs
    while rung < epochs:
        found.append(rung)
        rung *= reduction_factor
    return found


@dataclass
class Asha:
    """Stops a trial that is not among the best 1 / `reduction_factor` of its arm at a rung.

    Args:
        rungs: numbers of epochs trained, see `rung_epochs`.
        reduction_factor: one trial in so many goes on.
        mode: whether more or less of the value is better.
    """

    rungs: list[int]
    reduction_factor: int
    mode: Literal["max", "min"]
    seen: dict[tuple[Arm, int], dict[int, float]] = field(default_factory=dict)

    def decide(self, arm: Arm, number: int, trained: int, value: float) -> str | None:
        """None to go on, or why the trial stops.

        Args:
            arm: trials are ranked within their own.
            number: of the trial.
            trained: epochs so far.
            value: the best of the objective so far.
        """
        if trained not in self.rungs:
            return None
        rung = self.seen.setdefault((arm, trained), {})
        rung[number] = value
        go_on = max(1, len(rung) // self.reduction_factor)
        better = sum(v > value if self.mode == "max" else v < value for v in rung.values())
        if better < go_on:
            return None
        return f"asha: {_ordinal(better + 1)} of {len(rung)} {arm} trials after {trained} epochs, {go_on} may go on"


def _ordinal(n: int) -> str:
    ending = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"
