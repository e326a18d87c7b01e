"""Pairs of trainings: which training is next, and which results count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import filterfalse, product
from typing import Literal

from search.experiment.arms import Arm, other_arm
from search.run.trials import TrialRecord
from search.tuner.pruners.peers import Mode
from search.verdict.decide import Ablation, Decision, decide, leader

Role = Literal["baseline", "modulated", "ablation"]
PAIR: tuple[Role, Role] = ("baseline", "modulated")


@dataclass(frozen=True)
class Values:
    """Results that count; results of the same pair have the same index.

    Args:
        pairs: numbers of the pairs.
        modulated, baseline: objectives of each arm.
        ablation: results of the ablation; None unless all of these pairs have one.
    """

    pairs: tuple[int, ...]
    modulated: list[float]
    baseline: list[float]
    ablation: Ablation | None


class Pairs:
    """State of a confirmation's trainings, and what they require next.

    Results are read in the order of the pairs, never in the order of arrival, so a fast configuration is not judged
    more often than a slow one.

    There are two rounds of looks. The first round looks for a claim of the pairs alone, and ends with one. From then
    on, each pair also gets an ablation of the leading arm (see `search.verdict.decide.Ablation`). The second round,
    only if `sequential`, looks for a claim that the ablation supports. Each look takes the first pairs up to some
    number, and waits until all of them have ended.

    Args:
        planned: largest number of pairs.
        mode: whether a higher (`max`) or a lower (`min`) objective is better.
        sequential: whether to look after each pair until the result is clear; otherwise there is one look, after the
            last pair.
        pair_is_ablation: whether the two configurations differ only in the modulation. Each is then the other's
            ablation, and none is trained.
    """

    def __init__(self, planned: int, mode: Mode, *, sequential: bool, pair_is_ablation: bool = False) -> None:
        self.planned, self.sequential, self.pair_is_ablation = planned, sequential, pair_is_ablation
        self._mode = mode
        self._trained: dict[tuple[int, Role], TrialRecord | None] = {}
        self._over = set[tuple[int, Role]]()  # finished or failed; what the budget stopped may continue
        self._results: dict[tuple[int, Role], float] = {}  # objective of each finished training
        self._claims: list[tuple[int, Decision]] = []  # claims that ended a round, each with its number of pairs
        self._looked = 0  # number of pairs at this round's last look

    @property
    def ablation_of(self) -> Arm | None:
        """Arm whose ablation is trained too, once the pairs alone make a claim."""
        return leader(self._claims[0][1].paired, self._mode) if self._claims else None

    @property
    def clear_at(self) -> int | None:
        """Number of pairs after which the result was clear, if `sequential`."""
        return self._claims[1][0] if len(self._claims) == 2 else None

    @property
    def roles(self) -> tuple[Role, ...]:
        """Roles that each pair is trained in by now."""
        return self._roles(self.ablation_of)

    @property
    def trainings(self) -> int:
        """Total number of trainings, as far as the results so far require them."""
        return len(self._trained) + sum(1 for _ in self._due())

    @property
    def has_more(self) -> bool:
        """Whether more trainings may be required: those that are due, or ablations of existing pairs."""
        return (not self._claims and self._prefix(PAIR) < self.planned) or next(self._due(), None) is not None

    def hand_out(self) -> tuple[int, Role]:
        """Return the next training: its pair and its role."""
        pair, role = next(self._due())
        self._trained[pair, role] = None
        return pair, role

    def _due(self) -> Iterator[tuple[int, Role]]:
        wanted = product(range(self.planned if self.clear_at is None else 0), self.roles)
        return filterfalse(self._trained.__contains__, wanted)

    def take(self, pair: int, role: Role, trial: TrialRecord) -> None:
        """Record the current state of a training that was handed out. Once it has ended, its result counts."""
        self._trained[pair, role] = trial
        if trial.status in ("finished", "failed"):
            self._over.add((pair, role))
        if trial.status == "finished" and trial.best is not None:
            self._results[pair, role] = trial.best
        self._look()

    def trial(self, pair: int, role: Role) -> TrialRecord | None:
        """Return a training that was handed out and recorded, or None."""
        return self._trained.get((pair, role))

    @property
    def failures(self) -> list[TrialRecord]:
        """Trainings that failed; their pairs do not count."""
        return [t for t in self._trained.values() if t is not None and t.status == "failed"]

    def values(self) -> Values:
        """Return the results for the verdict.

        Without the ablation if it is required but not complete yet, or if it failed with every seed.
        """
        among = range((self.clear_at or self._prefix(PAIR)) if self.sequential else self.planned)
        pairs, checked = self._values(among, None), self._values(among, self.ablation_of)
        return checked if checked.pairs and self._over.issuperset(product(pairs.pairs, self.roles)) else pairs

    def _values(self, among: Sequence[int], ablation_of: Arm | None) -> Values:
        """Return the results of the pairs that have one in each role; without an ablation, in both arms."""
        roles = self._roles(ablation_of)
        pairs = tuple(pair for pair in among if self._results.keys() >= set(product([pair], roles)))
        columns = {role: self._column(pairs, role) for role in roles}
        ablation = None
        if ablation_of is not None:
            ablation = Ablation(ablation_of, columns["ablation" if "ablation" in columns else other_arm(ablation_of)])
        return Values(pairs, columns["modulated"], columns["baseline"], ablation)

    def _roles(self, ablation_of: Arm | None) -> tuple[Role, ...]:
        """Return the roles that a pair is trained in."""
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
        """Return the number of pairs to look at now, or None if no look is due."""
        if len(self._claims) == (2 if self.sequential else 1):
            return None
        first = self._looked + 1 if self.sequential else self.planned
        return first if self._looked < first <= self._prefix(self.roles) else None

    def _prefix(self, roles: Sequence[Role]) -> int:
        """Return how many pairs have ended, counted from the first without a gap."""
        places = product(range(self.planned), roles)
        return next((pair for pair, role in places if (pair, role) not in self._over), self.planned)

    def _decision(self, first: int) -> Decision | None:
        values = self._values(range(first), self.ablation_of)
        if len(values.pairs) < 2:
            return None
        arms = values.modulated, values.baseline
        return decide(*arms, self._mode, sequential=self.sequential, ablation=values.ablation)
