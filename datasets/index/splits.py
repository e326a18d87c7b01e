"""Which samples are held out of training, and which speakers, source videos or ids lie on both sides of a split."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from datasets.index.clips import SPLITS, SplitName

Part = tuple[str, str]  # ("group", its name) or ("clip", its id): what is held out as a whole


class Labelled(Protocol):
    """A clip, or a row of a store."""

    @property
    def id(self) -> str: ...
    @property
    def label(self) -> Hashable: ...
    @property
    def group(self) -> str | None: ...


class Placed(Labelled, Protocol):
    """A labelled sample in a split."""

    @property
    def split(self) -> SplitName: ...


def hold_out(entries: Iterable[Labelled], fraction: float, seed: int) -> set[str]:
    """Ids to hold out of `entries`, which are those that could be trained on.

    A share of `fraction` of each class, as near as whole groups allow; entries without a group go one by one. A
    class is on both sides where its groups allow it, and never on the held-out side alone. What is held out depends on
    the ids, labels, groups and the seed, not on the order of the entries, and little on whether some are missing.

    Args:
        entries: unique by id.
        fraction: of each class, between 0 and 1.
        seed: another one draws other groups.
    """
    held = _HeldOut(entries, fraction, seed)
    for part in held.parts:
        if held.cost(part) < 0:
            held.add(part)
    for label in sorted(held.counts, key=str):
        if not held.counts_held[label]:
            held.add_cheapest(label)
    return held.ids


class _HeldOut:
    """What is held out so far: `ids`, and `counts_held` of each class; `parts` are the ids of each part, as drawn."""

    def __init__(self, entries: Iterable[Labelled], fraction: float, seed: int) -> None:
        members: defaultdict[Part, list[str]] = defaultdict(list)
        self._labels: defaultdict[Part, Counter[Hashable]] = defaultdict(Counter)
        self.counts: Counter[Hashable] = Counter()
        for entry in entries:
            part = _part(entry)
            members[part].append(entry.id)
            self._labels[part][entry.label] += 1
            self.counts[entry.label] += 1
        self.parts = {part: members[part] for part in sorted(members, key=lambda part: _rank(seed, *part))}
        self._target = {label: fraction * n for label, n in self.counts.items()}
        self.counts_held: Counter[Hashable] = Counter()
        self.ids: set[str] = set()

    def add(self, part: Part) -> None:
        """Holds out a part."""
        self.counts_held.update(self._labels[part])
        self.ids.update(self.parts[part])

    def add_cheapest(self, label: Hashable) -> None:
        """Holds out a part of a class that has none held out, if every class keeps something to train on."""
        best = min((part for part in self.parts if label in self._labels[part]), key=self.cost)
        if self.cost(best) < math.inf:
            self.add(best)

    def cost(self, part: Part) -> float:
        """By how much Σ (held - target)² / target grows with a part; infinite where it takes all that a class has left
        to train on."""
        total = 0.0
        for label, n in self._labels[part].items():
            held, target = self.counts_held[label], self._target[label]
            if held + n >= self.counts[label]:
                return math.inf
            total += n * (n + 2 * (held - target)) / target
        return total


def _part(entry: Labelled) -> Part:
    return ("clip", entry.id) if entry.group is None else ("group", entry.group)


def _rank(seed: int, kind: str, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}/{kind}/{name}".encode(), digest_size=16).digest()


def draw(names: Iterable[str], fraction: float, seed: int) -> set[str]:
    """A share of `names`, at least one, where there are two or more; independent of their order."""
    drawn = sorted(set(names), key=lambda name: _rank(seed, "group", name))
    return set(drawn[: min(max(1, round(fraction * len(drawn))), len(drawn) - 1)])


@dataclass(frozen=True)
class Overlaps:
    """What lies in more than one split: name -> those splits."""

    ids: Mapping[str, tuple[SplitName, ...]]
    groups: Mapping[str, tuple[SplitName, ...]]


def find_overlaps(entries: Iterable[Placed]) -> Overlaps:
    """Ids and groups of `entries` that are in more than one split."""
    ids: defaultdict[str, set[SplitName]] = defaultdict(set)
    groups: defaultdict[str, set[SplitName]] = defaultdict(set)
    for entry in entries:
        ids[entry.id].add(entry.split)
        if entry.group is not None:
            groups[entry.group].add(entry.split)
    return Overlaps(_in_several(ids), _in_several(groups))


def _in_several(splits: Mapping[str, set[SplitName]]) -> dict[str, tuple[SplitName, ...]]:
    several = sorted(name for name, found in splits.items() if len(found) > 1)
    return {name: tuple(sorted(splits[name], key=SPLITS.index)) for name in several}
