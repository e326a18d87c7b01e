"""Held-out samples, and ids or groups that lie in several splits."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from datasets.index.clips import SPLITS, SplitName

Part = tuple[str, str]  # ("group", its name) or ("clip", its id), held out as a whole


class Labelled(Protocol):
    """Clip, or entry of a store."""

    @property
    def id(self) -> str: ...
    @property
    def label(self) -> Hashable: ...
    @property
    def group(self) -> str | None: ...


class Placed(Labelled, Protocol):
    """Labelled sample in a split."""

    @property
    def split(self) -> SplitName: ...


def hold_out(entries: Iterable[Labelled], fraction: float, seed: int) -> set[str]:
    """Return the ids of the training entries to hold out.

    Of each class, the share that is held out is as close to `fraction` as whole groups allow; entries without a group
    count as groups of one. If its groups allow it, a class is on both sides; it is never on the held-out side alone.
    The result depends on the ids, labels, groups and the seed, not on the order of the entries. Missing entries change
    it only a little.

    Args:
        entries: training entries with unique ids.
        fraction: share of each class to hold out, between 0 and 1.
        seed: seed that selects the groups.
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
    """Held-out `ids` so far, and `counts_held` of each class; `parts` maps each part, in random order, to its ids."""

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
        """Hold out a part."""
        self.counts_held.update(self._labels[part])
        self.ids.update(self.parts[part])

    def add_cheapest(self, label: Hashable) -> None:
        """Hold out a part of a class that has none held out, if every class keeps something to train on."""
        best = min((part for part in self.parts if label in self._labels[part]), key=self.cost)
        if self.cost(best) < math.inf:
            self.add(best)

    def cost(self, part: Part) -> float:
        """Return by how much a part increases Σ (held - target)² / target.

        The result is infinite if the part leaves a class nothing to train on.
        """
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
    """Return a random share of at least two `names`, at least one of them, independent of their order."""
    drawn = sorted(set(names), key=lambda name: _rank(seed, "group", name))
    return set(drawn[: min(max(1, round(fraction * len(drawn))), len(drawn) - 1)])


@dataclass(frozen=True)
class Overlaps:
    """Ids and groups that lie in several splits: name -> splits."""

    ids: Mapping[str, tuple[SplitName, ...]]
    groups: Mapping[str, tuple[SplitName, ...]]


def find_overlaps(entries: Iterable[Placed]) -> Overlaps:
    """Return the ids and groups of `entries` that are in several splits."""
    ids, groups = _Splits(), _Splits()
    for entry in entries:
        ids.add(entry.id, entry.split)
        if entry.group is not None:
            groups.add(entry.group, entry.split)
    return Overlaps(ids.several(), groups.several())


class _Splits:
    """Splits of each name. A set of them takes 200 bytes, so names in one split have none."""

    def __init__(self) -> None:
        self._first: dict[str, SplitName] = {}
        self._several: defaultdict[str, set[SplitName]] = defaultdict(set)

    def add(self, name: str, split: SplitName) -> None:
        first = self._first.setdefault(name, split)
        if first != split:
            self._several[name].update((first, split))

    def several(self) -> dict[str, tuple[SplitName, ...]]:
        """Return the names in several splits, sorted, with their splits."""
        return {name: tuple(sorted(found, key=SPLITS.index)) for name, found in sorted(self._several.items())}
