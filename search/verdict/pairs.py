"""Trainings in pairs, as they come in: who is still to be trained, and which of them count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from search.experiment.arms import Arm
from search.run.journal import TrialRecord
from search.tuner.pruners.peers import Mode
from search.verdict.decide import Ablation, Decision, decide, leader

Role = Literal["baseline", "modulated", "ablation"]
PAIR: tuple[Role, Role] = ("baseline", "modulated")


@dataclass(frozen=True)
class Values:
    """The results that count, of the same pair at the same place.

    Args:
        pairs: which.
        modulated, baseline: the objective.
        ablation: likewise, where all of them have one.
    """

    pairs: tuple[int, ...]
    modulated: list[float]
    baseline: list[float]
    ablation: Ablation | None


class Pairs:
    """The trainings of a confirmation, and what they ask for next. It looks at results in the order of the pairs, never
    in the order in which they come in, so that a fast configuration is not seen more often than a slow one.

    Args:
        planned: pairs at most.
        mode: whether more or less of the objective is better.
        sequential: whether pairs are added until they are clear; else all are trained before anybody looks.

    Attributes:
        ablation_of: the arm whose ablation is to be trained too, once the pairs alone make a claim; see
            `search.verdict.decide.Ablation`.
        clear_at: after so many pairs it was clear, where `sequential`.
    """

    def __init__(self, planned: int, mode: Mode, *, sequential: bool) -> None:
        self.planned, self.sequential = planned, sequential
        self.ablation_of: Arm | None = None
        self.clear_at: int | None = None
        self._mode = mode
        self._trained: dict[tuple[int, Role], TrialRecord | None] = {}
        self._looked = 0  # pairs, at which a claim has been looked for
        self._checked = 0  # ditto, with the ablation

    @property
    def roles(self) -> tuple[Role, ...]:
        """What each pair consists of by now."""
        return PAIR if self.ablation_of is None else (*PAIR, "ablation")

    @property
    def trainings(self) -> int:
        """In all, as far as the results so far ask for."""
        return len(self._trained) + sum(1 for _ in self._due())

    @property
    def has_more(self) -> bool:
        """Whether trainings may still be asked for: what is due, or ablations of what is there."""
        undecided = self.ablation_of is None and self._prefix(PAIR) < self.planned
        return self.clear_at is None and (undecided or any(True for _ in self._due()))

    def hand_out(self) -> tuple[int, Role]:
        """The next one to be trained."""
        pair, role = next(self._due())
        self._trained[pair, role] = None
        return pair, role

    def _due(self) -> Iterator[tuple[int, Role]]:
        if self.clear_at is None:
            every = ((pair, role) for pair in range(self.planned) for role in self.roles)
            yield from (one for one in every if one not in self._trained)

    def take(self, pair: int, role: Role, trial: TrialRecord) -> None:
        """What was handed out, as it stands now; once it has ended, its result counts."""
        self._trained[pair, role] = trial
        if trial.is_over:
            self._look()

    def trial(self, pair: int, role: Role) -> TrialRecord | None:
        """One that was handed out and taken."""
        return self._trained.get((pair, role))

    # ---- results ----

    def _over(self, pair: int, roles: Sequence[Role]) -> bool:
        """Whether nothing more will come of a pair. What the budget stopped may still go on."""
        trials = [self.trial(pair, role) for role in roles]
        return all(t is not None and t.status in ("finished", "failed") for t in trials)

    def _counts(self, pair: int, roles: Sequence[Role]) -> bool:
        trials = [self.trial(pair, role) for role in roles]
        return all(t is not None and t.status == "finished" for t in trials)

    def _prefix(self, roles: Sequence[Role]) -> int:
        """The first so many pairs are over."""
        return next((pair for pair in range(self.planned) if not self._over(pair, roles)), self.planned)

    def _looks(self, roles: Sequence[Role], looked: int) -> range:
        """The numbers of pairs at which there is to be another look."""
        over = self._prefix(roles)
        if self.sequential:
            return range(looked + 1, over + 1)
        return range(over, over + 1) if over == self.planned > looked else range(0)

    def _look(self) -> None:
        if self.ablation_of is None:
            for first in self._looks(PAIR, self._looked):
                self._looked = first
                found = self._decision(first, PAIR)
                if found is not None and found.first != "none":
                    self.ablation_of = leader(found.paired, self._mode)
                    break
        if self.ablation_of is not None and self.sequential and self.clear_at is None:
            for first in self._looks(self.roles, self._checked):
                self._checked = first
                found = self._decision(first, self.roles)
                if found is not None and found.claim != "none":
                    self.clear_at = first
                    break

    def _decision(self, first: int, roles: Sequence[Role]) -> Decision | None:
        values = self._values(range(first), roles)
        if len(values.pairs) < 2:
            return None
        return decide(
            values.modulated, values.baseline, self._mode, sequential=self.sequential, ablation=values.ablation
        )

    def _values(self, among: Sequence[int], roles: Sequence[Role]) -> Values:
        pairs = tuple(pair for pair in among if self._counts(pair, roles))
        modulated, baseline = (self._of(pairs, role) for role in ("modulated", "baseline"))
        has_ablation = "ablation" in roles and self.ablation_of is not None
        ablation = (
            Ablation(self.ablation_of, self._of(pairs, "ablation"))
            if has_ablation and self.ablation_of is not None
            else None
        )
        return Values(pairs, modulated, baseline, ablation)

    def _of(self, pairs: Sequence[int], role: Role) -> list[float]:
        found = [self.trial(pair, role) for pair in pairs]
        return [t.best for t in found if t is not None and t.best is not None]

    def values(self) -> Values:
        """What the verdict is to be made of; the pairs without an ablation where one is asked for and not there yet,
        and where it failed with every seed."""
        among = range(self.planned if not self.sequential else self.clear_at or self._prefix(PAIR))
        pairs = self._values(among, PAIR)
        ablations_are_over = all(self._over(pair, self.roles) for pair in pairs.pairs)
        checked = self._values(among, self.roles)
        return checked if ablations_are_over and checked.pairs else pairs

    def lost(self) -> list[TrialRecord]:
        """Trainings that failed, so that their pairs do not count."""
        return [t for t in self._trained.values() if t is not None and t.status == "failed"]
