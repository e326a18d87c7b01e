"""Asynchronous successive halving (Li et al., *A System for Massively Parallel Hyperparameter Tuning*, MLSys 2020)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
        grace_epochs: in which a run whose window has just opened is compared with nobody.
        brackets: of how many a trial draws one; in bracket b the first b rungs are left out, and trials are compared
            within their bracket. The chance of each is `reduction_factor` times that of the next.
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
        left = int.from_bytes(digest) / 2**64 * sum(weights)
        for b, weight in enumerate(weights):
            left -= weight
            if left < 0:
                return b
        return self.brackets - 1

    def decide(self, run: LearningCurve, runs: Iterable[LearningCurve]) -> Reason | None:
        """See `Scheduler`."""
        trained, bracket = len(run.values), self.bracket(run.number)
        rungs = [r for r in self.rungs[bracket:] if run.due(r, self.grace_epochs) == trained]
        if not rungs:
            return None
        rung = rungs[-1]
        there = [o for o in peers(run, runs, rung, self.grace_epochs) if self.bracket(o.number) == bracket]
        rivals = [o.values[trained - 1] for o in there if len(o.values) >= trained]
        place, of = 1 + sum(better(value, run.values[-1], self.mode) for value in rivals), 1 + len(there)
        go_on = max(1, of // self.reduction_factor)
        if place <= go_on:
            return None
        facts = {"place": place, "of": of, "epochs": trained, "promoted": go_on, "peers": peer_group(run, rung)}
        return Reason(Cause.ASHA, facts)
