"""Peers: the trials that early stopping compares a trial with.

Until its window opens, a modulated trial is an unmodulated run: its peers are all runs that are unmodulated up to that
epoch. When the window opens, a grace follows in which the trial is not compared. After that, its peers are the trials
whose windows are open too. The peers of a baseline trial are baseline trials only, so the modulated arm never stops one
of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from search.experiment.arms import Arm
from search.run.causes import Reason

Mode = Literal["max", "min"]


@dataclass(frozen=True)
class LearningCurve:
    """Results of a trial so far.

    Args:
        number: number of the trial.
        arm: arm of the trial.
        opens: first modulated epoch, counted from 0; None if no epoch is modulated.
        values: best value of the objective so far, after each epoch.
    """

    number: int
    arm: Arm
    opens: int | None
    values: Sequence[float]

    def open_at(self, trained: int) -> bool:
        """Return whether any of the first `trained` epochs is modulated."""
        return self.opens is not None and self.opens < trained

    def has_peer(self, other: LearningCurve, trained: int) -> bool:
        """Return whether the trial may be compared with another after `trained` epochs."""
        if self.arm == "baseline":
            return other.arm == "baseline"
        return other.open_at(trained) == self.open_at(trained)

    def due(self, rung: int, grace_epochs: int) -> int:
        """Return after how many epochs a rung compares the run: at the rung, or at the end of the window's grace."""
        return max(rung, self.opens + grace_epochs) if self.opens is not None and self.opens < rung else rung


class Pruner(Protocol):
    """Early-stopping rule: a function of the results alone, so that a simulator or a resumed search can replay it."""

    def decide(self, run: LearningCurve, runs: Iterable[LearningCurve]) -> Reason | None:
        """Return why the run stops after its last epoch, or None to continue. `runs` are all runs, also this one."""


def peers(run: LearningCurve, runs: Iterable[LearningCurve], rung: int, grace_epochs: int) -> list[LearningCurve]:
    """Return the other runs that `run` is compared with at a rung, as far as they have reached it."""
    due, number = run.due(rung, grace_epochs), run.number
    arrived = [other for other in runs if len(other.values) >= rung and other.number != number]
    alike = [other for other in arrived if run.has_peer(other, rung)]
    return [other for other in alike if other.due(rung, grace_epochs) <= min(due, len(other.values))]


def peer_group(run: LearningCurve, trained: int) -> str:
    """Return the key in `search.run.causes.PEERS` that describes the run's peers."""
    if run.arm == "baseline":
        return "baseline"
    return "open" if run.open_at(trained) else "closed"


def better(value: float, than: float, mode: Mode) -> bool:
    """Return whether one value is better than another."""
    return value > than if mode == "max" else value < than
