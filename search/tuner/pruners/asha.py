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
    """Stops a run that is not among the best 1 / `reduction_factor` of its peers at a rung.

    A rung that falls into the grace of a run whose window has just opened is put off to the grace's end: the run is
    then to be among as many of the best, at that epoch; who stopped at the rung counts as worse.

    Args:
        rungs: numbers of epochs trained, see `rung_epochs`.
        reduction_factor: one run in so many goes on.
        mode: whether more or less of the value is better.
        grace_epochs: in which a run whose window has just opened is not compared.
        brackets: of how many a trial draws one; bracket b skips the first b rungs, and trials are compared within
            their bracket. The chance of each is `reduction_factor` times that of the next.
        seed: of that draw.
    """

    rungs: Sequence[int]
    reduction_factor: int
    mode: Mode
    grace_epochs: int = 1
    brackets: int = 1
    seed: int = 0

    def bracket(self, number: int) -> int:
        """That of trial `number`, drawn from the seed."""
        digest = hashlib.blake2b(f"{self.seed}/{number}".encode(), digest_size=8).digest()
        weights = [self.reduction_factor**-b for b in range(self.brackets)]
        place = int.from_bytes(digest) / 2**64 * sum(weights)
        return min(bisect(list(accumulate(weights)), place), self.brackets - 1)

    def decide(self, run: LearningCurve, runs: Iterable[LearningCurve]) -> Reason | None:
        """See `Pruner`."""
        rung = self._due_rung(run)
        if rung is None:
            return None
        rivals = [
            r for r in peers(run, runs, rung, self.grace_epochs) if self.bracket(r.number) == self.bracket(run.number)
        ]
        place, of = 1 + self._count_better(run, rivals), 1 + len(rivals)
        go_on = max(1, of // self.reduction_factor)
        if place <= go_on:
            return None
        epochs, group = len(run.values), peer_group(run, rung)
        return Reason(Cause.ASHA, {"place": place, "of": of, "epochs": epochs, "promoted": go_on, "peers": group})

    def _due_rung(self, run: LearningCurve) -> int | None:
        """The highest rung at which the run is compared after its last epoch, if any."""
        rungs = reversed(self.rungs[self.bracket(run.number) :])
        return next((rung for rung in rungs if run.due(rung, self.grace_epochs) == len(run.values)), None)

    def _count_better(self, run: LearningCurve, rivals: Iterable[LearningCurve]) -> int:
        """How many rivals were better after as many epochs."""
        epochs = len(run.values)
        return sum(better(r.values[epochs - 1], run.values[-1], self.mode) for r in rivals if len(r.values) >= epochs)
