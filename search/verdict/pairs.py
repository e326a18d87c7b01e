"""Trainings in pairs, as they come in: which is to be trained next, and which of them count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import filterfalse, product
from typing import Literal

from search.experiment.arms import Arm, other_arm
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
        ablation: where all of these pairs have one.
    """

    pairs: tuple[int, ...]
    modulated: list[float]
    baseline: list[float]
    ablation: Ablation | None


class Pairs:
    """The trainings of a confirmation, and what they ask for next. It looks at results in the order of the pairs, never
    in the order in which they come in, so that a fast configuration is not seen more often than a slow one.

    Looks come in two rounds. The first asks for a claim of the pairs alone, and ends with one; from then on each pair
    has an ablation too, of the leading arm (see `search.verdict.decide.Ablation`). The second, where `sequential`, asks
    for a claim that the ablation supports. A look is at the first so many pairs, and waits until all of them are over.

    Args:
        planned: pairs at most.
        mode: whether more or less of the objective is better.
        sequential: whether there is a look after each pair, until it is clear; else there is one, after the last.
        pair_is_ablation: the two configurations differ in the modulation alone, so that the other one of a pair is its
            ablation and none is trained.
    """

    def __init__(self, planned: int, mode: Mode, *, sequential: bool, pair_is_ablation: bool = False) -> None:
        self.planned, self.sequential, self.pair_is_ablation = planned, sequential, pair_is_ablation
        self._mode = mode
        self._trained: dict[tuple[int, Role], TrialRecord | None] = {}
        self._over = set[tuple[int, Role]]()  # finished or failed; what the budget stopped may go on
        self._results: dict[tuple[int, Role], float] = {}  # the objective, of what was trained to the end
        self._claims: list[tuple[int, Decision]] = []  # that ended a round, and after how many pairs
        self._looked = 0  # pairs, at this round's last look

    @property
    def ablation_of(self) -> Arm | None:
        """The arm whose ablation is to be trained too, once the pairs alone make a claim."""
        return leader(self._claims[0][1].paired, self._mode) if self._claims else None

    @property
    def clear_at(self) -> int | None:
        """After so many pairs it was clear, where `sequential`."""
        return self._claims[1][0] if len(self._claims) == 2 else None

    @property
    def roles(self) -> tuple[Role, ...]:
        """What each pair consists of by now."""
        return self._roles(self.ablation_of)

    @property
    def trainings(self) -> int:
        """In all, as far as the results so far ask for."""
        return len(self._trained) + sum(1 for _ in self._due())

    @property
    def has_more(self) -> bool:
        """Whether trainings may still be asked for: what is due, or ablations of what is there."""
        return (not self._claims and self._prefix(PAIR) < self.planned) or next(self._due(), None) is not None

    def hand_out(self) -> tuple[int, Role]:
        """The next one to be trained."""
        pair, role = next(self._due())
        self._trained[pair, role] = None
        return pair, role

    def _due(self) -> Iterator[tuple[int, Role]]:
        wanted = product(range(self.planned if self.clear_at is None else 0), self.roles)
        return filterfalse(self._trained.__contains__, wanted)

    def take(self, pair: int, role: Role, trial: TrialRecord) -> None:
        """What was handed out, as it stands now; once it has ended, its result counts."""
        self._trained[pair, role] = trial
        if trial.status in ("finished", "failed"):
            self._over.add((pair, role))
        if trial.status == "finished" and trial.best is not None:
            self._results[pair, role] = trial.best
        self._look()

    def trial(self, pair: int, role: Role) -> TrialRecord | None:
        """One that was handed out and taken."""
        return self._trained.get((pair, role))

    @property
    def failures(self) -> list[TrialRecord]:
        """Trainings that failed, so that their pairs do not count."""
        return [t for t in self._trained.values() if t is not None and t.status == "failed"]

    def values(self) -> Values:
        """What the verdict is to be made of; the pairs without an ablation where one is asked for and not there yet,
        and where it failed with every seed."""
        among = range((self.clear_at or self._prefix(PAIR)) if self.sequential else self.planned)
        pairs, checked = self._values(among, None), self._values(among, self.ablation_of)
        return checked if checked.pairs and self._over.issuperset(product(pairs.pairs, self.roles)) else pairs

    def _values(self, among: Sequence[int], ablation_of: Arm | None) -> Values:
        """Those of the pairs that have a result in each role; in both arms alone, where there is to be no ablation."""
        roles = self._roles(ablation_of)
        pairs = tuple(pair for pair in among if self._results.keys() >= set(product([pair], roles)))
        columns = {role: self._column(pairs, role) for role in roles}
        ablation = None
        if ablation_of is not None:
            ablation = Ablation(ablation_of, columns["ablation" if "ablation" in columns else other_arm(ablation_of)])
        return Values(pairs, columns["modulated"], columns["baseline"], ablation)

    def _roles(self, ablation_of: Arm | None) -> tuple[Role, ...]:
        """What a pair is trained as."""
        return PAIR if ablation_of is None or self.pair_is_ablation else (*PAIR, "ablation")

    def _column(self, pairs: Sequence[int], role: Role) -> list[float]:
        return [self._results[pair, role] for pair in pairs]

    # ---- looks ----

    def _look(self) -> None:
        while (first := self._next_look()) is not None:
            self._looked = first
            decision = self._decision(first)
            if decision is not None and decision.claim != "none":
                self._claims.append((first, decision))
                self._looked = 0

    def _next_look(self) -> int | None:
        """The number of pairs to look at now; None where they are not over, or the last look was."""
        if len(self._claims) == (2 if self.sequential else 1):
            return None
        first = self._looked + 1 if self.sequential else self.planned
        return first if self._looked < first <= self._prefix(self.roles) else None

    def _prefix(self, roles: Sequence[Role]) -> int:
        """The first so many pairs are over."""
        places = product(range(self.planned), roles)
        return next((pair for pair, role in places if (pair, role) not in self._over), self.planned)

    def _decision(self, first: int) -> Decision | None:
        values = self._values(range(first), self.ablation_of)
        if len(values.pairs) < 2:
            return None
        arms = values.modulated, values.baseline
        return decide(*arms, self._mode, sequential=self.sequential, ablation=values.ablation)
