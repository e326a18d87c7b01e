"""Trainings that may begin alike, as a tree: where they branch off from each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Keys = Sequence[str]  # of a training after 0, 1, 2, … epochs, see `ogmge.prefix_keys`
Marks = tuple[str, ...]  # those of them at the branches, as far as it goes


@dataclass(frozen=True)
class Member:
    """A training that may come.

    Args:
        keys: of all its epochs.
        endless: there are so many like it that it is never used up.
    """

    keys: Keys
    endless: bool = False


def branches(trainings: Iterable[Keys]) -> tuple[int, ...]:
    """After how many epochs (of 1 and more) trainings part that were one until then, or one of them ends.

    >>> branches(["ABCD", "ABXY", "ABC"])
    (1, 2)
    """
    follows: dict[str, set[str]] = {}
    places: dict[str, int] = {}
    for keys in trainings:
        for epochs, key in enumerate(keys):
            follows.setdefault(key, set()).add(keys[epochs + 1] if epochs + 1 < len(keys) else "")
            places[key] = epochs
    return tuple(sorted({places[key] for key, next_ones in follows.items() if len(next_ones) > 1} - {0}))


class Family:
    """Trainings that may come and begin alike.

    Args:
        members: all of them; those that have begun are taken out again by `begun`.

    Attributes:
        branches: after how many epochs some of them part.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.branches = branches(member.keys for member in members)
        self._to_come = {member.keys[-1]: self.marks(member.keys) for member in members if not member.endless}
        self._endless = list({self.marks(member.keys): None for member in members if member.endless})

    def marks(self, keys: Keys) -> Marks:
        """The keys of a training at the branches."""
        return tuple(keys[epochs] for epochs in self.branches if epochs < len(keys))

    def begun(self, keys: Keys) -> None:
        """It will not come any more."""
        self._to_come.pop(keys[-1], None)

    @property
    def to_come(self) -> list[Marks]:
        """Of all that may still come."""
        return [*self._to_come.values(), *self._endless]


def parting(marks: Marks, others: Sequence[Marks]) -> list[int]:
    """The places in `marks` at which one of the others parts from it.

    >>> parting(("a", "b", "c"), [("a", "x"), ("a", "b")])
    [0, 1]
    """
    found = {_common(marks, other) - 1 for other in others}
    return sorted(found - {-1})


def _common(one: Marks, other: Marks) -> int:
    """How many marks two trainings have in common."""
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
