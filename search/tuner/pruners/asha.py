"""Asynchronous successive halving (Li et al., *A System for Massively Parallel Hyperparameter Tuning*, MLSys 2020)."""

from __future__ import annotations

import hashlib
from bisect import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from search.run.causes import Cause, Reason
from search.tuner.pruners.peers import LearningCurve, Mode, better, peer_group, peers


@dataclass(frozen=True)
class Asha:
    """Early-stopping rule: at each rung, stop a run that is not among the best 1 / `reduction_factor` of its peers.

    If a run's window has opened shortly before a rung, the comparison waits until the grace ends, and is made at that
    epoch. The number promoted is that of the rung; runs that were stopped at the rung count as worse.

    Args:
        rungs: numbers of epochs after which runs are compared, see `rung_epochs`.
        reduction_factor: number of runs of which one is promoted.
        mode: whether a higher (`max`) or a lower (`min`) value is better.
        grace_epochs: number of epochs after a window opens in which the run is not compared.
        brackets: number of brackets; each trial draws one and is compared only within it. Bracket b skips the first b
            rungs. Each bracket is `reduction_factor` times as likely as the next.
        seed: seed of this draw.
    """

    rungs: Sequence[int]
    reduction_factor: int
    mode: Mode
    grace_epochs: int = 1
    brackets: int = 1
    seed: int = 0

    def bracket(self, number: int) -> int:
        """Return the bracket of trial `number`, drawn from the seed."""
        if self.brackets == 1:
            return 0
        digest = hashlib.blake2b(f"{self.seed}/{number}".encode(), digest_size=8).digest()
        weights = [self.reduction_factor**-b for b in range(self.brackets)]
        place = int.from_bytes(digest) / 2**64 * sum(weights)
        return min(bisect(list(accumulate(weights)), place), self.brackets - 1)

    def decide(self, run: LearningCurve, runs: Iterable[LearningCurve]) -> Reason | None:
        """Return why the run stops, or None; see `Pruner`."""
        rung = self._due_rung(run)
        if rung is None:
            return None
        rivals = peers(run, runs, rung, self.grace_epochs)
        if self.brackets > 1:
            own = self.bracket(run.number)
            rivals = [rival for rival in rivals if self.bracket(rival.number) == own]
        place, of = 1 + self._count_better(run, rivals), 1 + len(rivals)
        go_on = max(1, of // self.reduction_factor)
        if place <= go_on:
            return None
        epochs, group = len(run.values), peer_group(run, rung)
        return Reason(Cause.ASHA, {"place": place, "of": of, "epochs": epochs, "promoted": go_on, "peers": group})

    def _due_rung(self, run: LearningCurve) -> int | None:
        """Return the highest rung at which the run is compared after its last epoch, if any."""
        rungs = reversed(self.rungs[self.bracket(run.number) :])
        return next((rung for rung in rungs if run.due(rung, self.grace_epochs) == len(run.values)), None)

    def _count_better(self, run: LearningCurve, rivals: Iterable[LearningCurve]) -> int:
        """Return how many rivals were better after as many epochs."""
        epochs = len(run.values)
        return sum(better(r.values[epochs - 1], run.values[-1], self.mode) for r in rivals if len(r.values) >= epochs)
