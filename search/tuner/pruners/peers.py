"""What early stopping knows of a trial, and which trials it is compared with: its peers.

Until its window opens, a modulated trial is an unmodulated run: its peers are all runs that are unmodulated up to that
epoch. Once open, it has a grace, in which it is not compared at all; then its peers are those whose windows are open as
well. The peers of a baseline trial are the baseline's: what the other arm does never ends one of its trials.
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
    """A trial so far.

    Args:
        number: of the trial.
        arm: which of the two.
        opens: the first epoch that is modulated, counted from 0; None where none is.
        values: the best of the objective so far, after each epoch.
    """

    number: int
    arm: Arm
    opens: int | None
    values: Sequence[float]

    def open_at(self, trained: int) -> bool:
        """Whether any of the first `trained` epochs is modulated."""
        return self.opens is not None and self.opens < trained

    def has_peer(self, other: LearningCurve, trained: int) -> bool:
        """Whether it may be compared with another after so many epochs."""
        if self.arm == "baseline":
            return other.arm == "baseline"
        return other.open_at(trained) == self.open_at(trained)

    def due(self, rung: int, grace_epochs: int) -> int:
        """When the run is compared that would be after `rung` epochs: at once, or at the end of its window's grace."""
        return max(rung, self.opens + grace_epochs) if self.opens is not None and self.opens < rung else rung


class Pruner(Protocol):
    """Early stopping: a function of results and of nothing else, so that a simulator or a resume can replay it."""

    def decide(self, run: LearningCurve, runs: Iterable[LearningCurve]) -> Reason | None:
        """None to go on, or why the run stops after its last epoch. `runs` are all there are, itself among them."""


def peers(run: LearningCurve, runs: Iterable[LearningCurve], rung: int, grace_epochs: int) -> list[LearningCurve]:
    """Those with which `run` is compared at a rung, as far as they have reached it by now; not itself."""
    due = run.due(rung, grace_epochs)
    return [
        other
        for other in runs
        if other.number != run.number
        and run.has_peer(other, rung)
        and other.due(rung, grace_epochs) <= min(due, len(other.values))
    ]


def peer_group(run: LearningCurve, trained: int) -> str:
    """What its peers are, see `search.run.causes.PEERS`."""
    if run.arm == "baseline":
        return "baseline"
    return "open" if run.open_at(trained) else "closed"


def better(value: float, than: float, mode: Mode) -> bool:
    """Whether one value beats another."""
    return value > than if mode == "max" else value < than
