"""Who goes on from whose beginning: decided from what has been told, without files and processes.

A trial begins where the longest beginning of its own ends that another trial has left. At which epochs a trial is to
leave one is known from the space: where a configuration that may still come parts from it. Two trials that need a
beginning that is not there yet do not both train it: one leads, the other is not handed out until the leader has come
to where they part, or has ended.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ogmge.config import TrialConfig
from ogmge.prefix_keys import keys
from search.experiment.space import with_changes
from search.run.journal import TrialRecord
from search.tuner.prefixes.siblings import Sibling
from search.tuner.prefixes.tree import Family, Keys, Marks, Member, parting


class Relations(Protocol):
    """What of a tuner's policy matters here."""

    @property
    def has_more(self) -> bool:
        """Whether trials may still be suggested."""

    def siblings(self, trial: TrialRecord) -> list[Sibling]:
        """All configurations that may be suggested at any time and begin as this one does."""

    def dataset(self, trial: TrialRecord) -> Mapping[str, Any]:
        """Options of the data set that are the trial's own."""


@dataclass(frozen=True)
class Order:
    """What a worker is to do about it.

    Args:
        inherits: keys of beginnings to go on from, the longest first.
        leaves: number of epochs -> key of the beginning to leave after it.
    """

    inherits: tuple[str, ...] = ()
    leaves: Mapping[int, str] = field(default_factory=dict)


@dataclass
class _Left:
    """A beginning that is there."""

    epochs: int
    bytes: int
    family: Family


@dataclass
class _Trial:
    """What is known of a trial that has not ended."""

    keys: Keys
    family: Family
    marks: Marks


class Sharing:
    """Follows the trials of a tuner.

    Args:
        relations: the tuner's policy.
        trial: the experiment's.
        context: what else than its configuration makes a training, see `ogmge.prefix_keys.keys`.
        drop: takes a beginning away that nobody will go on from.
        max_bytes: of all beginnings together; over it, those go that are the least use.
        there: key -> bytes, of beginnings from before.
    """

    def __init__(
        self,
        relations: Relations,
        trial: TrialConfig,
        context: str,
        drop: Callable[[str], None],
        max_bytes: float,
        there: Mapping[str, int],
    ) -> None:
        self._relations, self._trial, self._context = relations, trial, context
        self._drop, self._max_bytes = drop, max_bytes
        self._families: dict[str, Family] = {}
        self._found = dict(there)  # of which no family is known yet
        self._left: dict[str, _Left] = {}
        self._waiting: dict[int, _Trial] = {}
        self._running: dict[int, _Trial] = {}
        self._leads: dict[str, int] = {}  # key of a beginning that is to come -> the trial that trains it
        self._takes: dict[int, str | None] = {}  # trial that may not have begun yet -> what it is to go on from

    def known(self, trials: Iterable[TrialRecord]) -> None:
        """Those of before: what has ended will not come again, what was interrupted will go on."""
        for trial in trials:
            seen = self._seen(trial)
            seen.family.begun(seen.keys)
            if not trial.is_over:
                self._waiting[trial.number] = seen
        for key in self._found:
            self._drop(key)
        self._tidy()

    def expect(self, trial: TrialRecord) -> None:
        """It will be handed out, once it is free to begin."""
        self._waiting.setdefault(trial.number, self._seen(trial))

    def free(self, trial: TrialRecord) -> bool:
        """Whether nobody is on the way to where it could begin, farther on than it can begin now."""
        if trial.oom_retries:
            return True
        marks = self._waiting[trial.number].marks
        there = [place for place, key in enumerate(marks) if key in self._left]
        coming = [place for place, key in enumerate(marks) if key in self._leads]
        return max(coming, default=-1) <= max(there, default=-1)

    def begin(self, trial: TrialRecord) -> Order:
        """It is handed out."""
        known = self._waiting.pop(trial.number, None) or self._seen(trial)
        known.family.begun(known.keys)
        if trial.oom_retries:  # with another number of threads nothing is the same to the bit
            return Order()
        self._running[trial.number] = known
        places = parting(known.marks, self._others(known.family))
        leaves = {known.family.branches[place]: known.marks[place] for place in places}
        inherits = tuple(key for key in reversed(known.marks) if key in self._left)
        self._takes[trial.number] = self._longest(known.marks)
        for epochs, key in leaves.items():
            if key not in self._left and epochs > len(trial.epochs):
                self._leads.setdefault(key, trial.number)
        return Order(inherits, leaves)

    def left(self, number: int, key: str, size: int) -> None:
        """A trial has left a beginning, of so many bytes."""
        known = self._running.get(number)
        if known is not None and key in known.marks:
            epochs = known.family.branches[known.marks.index(key)]
            self._left.setdefault(key, _Left(epochs, size, known.family))

    def trained(self, number: int, epochs: int) -> None:
        """A trial has trained or inherited so many epochs."""
        self._takes.pop(number, None)
        known = self._running.get(number)
        if known is None:
            return
        passed = [key for at, key in zip(known.family.branches, known.marks, strict=False) if at <= epochs]
        behind = [key for key in passed if self._leads.get(key) == number]
        for key in behind:
            del self._leads[key]
        if behind:
            self._tidy()

    def over(self, number: int) -> None:
        """A trial trains no more, for now or for good."""
        self._running.pop(number, None)
        self._takes.pop(number, None)
        self._leads = {key: leader for key, leader in self._leads.items() if leader != number}
        self._tidy()

    # ---- what is kept ----

    def _seen(self, trial: TrialRecord) -> _Trial:
        own = json.dumps(dict(self._relations.dataset(trial)), sort_keys=True)
        config = with_changes(self._trial, trial.changes)
        found = keys(config, self._context + own)
        name = f"{found[0]} {config.optimizer.lr!r}"
        if name not in self._families:
            siblings = self._relations.siblings(trial)
            members = [(with_changes(self._trial, s.changes), s.endless) for s in siblings]
            self._families[name] = Family([Member(keys(c, self._context + own), endless) for c, endless in members])
            self._recognise(self._families[name])
        family = self._families[name]
        return _Trial(found, family, family.marks(found))

    def _recognise(self, family: Family) -> None:
        """Which of the beginnings from before are a family's."""
        for marks in family.to_come:
            for epochs, key in zip(family.branches, marks, strict=False):
                if key in self._found:
                    self._left[key] = _Left(epochs, self._found.pop(key), family)

    def _others(self, family: Family) -> list[Marks]:
        """What may still begin, of a family."""
        waiting = [other.marks for other in self._waiting.values() if other.family is family]
        return waiting + (family.to_come if self._relations.has_more else [])

    def _tidy(self) -> None:
        """Drops what nobody will go on from, then what is the least use, until there is room."""
        wanted = set(self._takes.values())
        for family in {id(left.family): left.family for left in self._left.values()}.values():
            wanted |= {self._longest(marks) for marks in self._others(family)}
        for key in set(self._left) - wanted:
            self._forget(key)
        sure = set(self._takes.values()) | {self._longest(other.marks) for other in self._waiting.values()}
        for key in sorted(self._left, key=lambda key: (key in sure, self._left[key].epochs)):
            if sum(left.bytes for left in self._left.values()) <= self._max_bytes:
                break
            self._forget(key)

    def _longest(self, marks: Marks) -> str | None:
        """The beginning that is there from which most is gained."""
        return next((key for key in reversed(marks) if key in self._left), None)

    def _forget(self, key: str) -> None:
        del self._left[key]
        self._drop(key)
