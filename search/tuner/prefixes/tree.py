"""Tree of prefixes: after how many epochs siblings (trainings that may share a prefix) branch off."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from itertools import pairwise

Keys = Sequence[str]  # of a training after 0, 1, 2, … epochs, see `ogmge.prefix_keys`
Prefixes = dict[str, int]  # key -> epochs, for a training's prefixes that end at a branch; the shortest first


def branches(trainings: Iterable[Keys]) -> tuple[int, ...]:
    """Return after how many epochs (at least 1) trainings part that were equal so far, or one of them ends.

    >>> branches(["ABCD", "ABXY", "ABC"])
    (1, 2)
    """
    following: dict[tuple[int, str], set[str]] = defaultdict(set)
    for keys in trainings:
        for epochs, (key, next_key) in enumerate(pairwise([*keys[1:], ""]), start=1):
            following[epochs, key].add(next_key)
    return tuple(sorted({epochs for (epochs, _), next_keys in following.items() if len(next_keys) > 1}))


def longest_prefix(prefixes: Prefixes, among: Container[str]) -> str | None:
    """Return the key of the longest prefix that is in `among`, or None.

    >>> longest_prefix({"a": 1, "b": 3, "c": 4}, {"a", "b"})
    'b'
    """
    return next((key for key in reversed(prefixes) if key in among), None)


def branch_points(prefixes: Prefixes, others: Iterable[Prefixes]) -> dict[int, str]:
    """Return where other trainings branch off: number of epochs -> key of the prefix up to there.

    >>> branch_points({"a": 1, "b": 3, "c": 4}, [{"a": 1, "x": 3}, {"a": 1, "b": 3}])
    {1: 'a', 3: 'b'}
    """
    ends = {longest_prefix(prefixes, other) for other in others}
    return {epochs: key for key, epochs in prefixes.items() if key in ends}


class Tree:
    """Siblings, and those of them that may still come.

    Args:
        siblings: keys of each sibling, and whether it stands for so many that they are never used up.

    Attributes:
        branches: numbers of epochs after which some of the siblings part.
    """

    def __init__(self, siblings: Sequence[tuple[Keys, bool]]) -> None:
        self.branches = branches(keys for keys, _ in siblings)
        self._upcoming = {keys[-1]: self.prefixes(keys) for keys, _ in siblings}
        self._endless = {keys[-1] for keys, endless in siblings if endless}

    def prefixes(self, keys: Keys) -> Prefixes:
        """Return the prefixes of a training that end at a branch."""
        return {keys[epochs]: epochs for epochs in self.branches if epochs < len(keys)}

    def remove(self, keys: Keys) -> None:
        """Remove a sibling that has begun, and so will not come again."""
        if keys[-1] not in self._endless:
            self._upcoming.pop(keys[-1], None)

    @property
    def upcoming(self) -> list[Prefixes]:
        """Prefixes of each sibling that may still come."""
        return list(self._upcoming.values())
