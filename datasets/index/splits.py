"""Which samples are held out of training, and which speakers, films or ids lie on both sides of a split."""

from __future__ import annotations

import hashlib
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
    parts: defaultdict[Part, Counter[Hashable]] = defaultdict(Counter)
    members: defaultdict[Part, list[str]] = defaultdict(list)
    counts: Counter[Hashable] = Counter()
    for entry in entries:
        part = _part(entry)
        parts[part][entry.label] += 1
        members[part].append(entry.id)
        counts[entry.label] += 1
    target = {label: fraction * n for label, n in counts.items()}
    held: Counter[Hashable] = Counter()
    taken: set[Part] = set()
    drawn = sorted(parts, key=lambda part: _rank(seed, *part))
    for part in drawn:
        if _spares(parts[part], held, counts) and _cost(parts[part], held, target) < 0:
            taken.add(part)
            held.update(parts[part])
    for label in sorted(counts, key=str):
        if held[label]:
            continue
        fit = [p for p in drawn if label in parts[p] and p not in taken and _spares(parts[p], held, counts)]
        if fit:
            best = min(fit, key=lambda p: _cost(parts[p], held, target))
            taken.add(best)
            held.update(parts[best])
    return {id_ for part in taken for id_ in members[part]}


def _part(entry: Labelled) -> Part:
    return ("clip", entry.id) if entry.group is None else ("group", entry.group)


def _rank(seed: int, kind: str, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}/{kind}/{name}".encode(), digest_size=16).digest()


def _spares(part: Mapping[Hashable, int], held: Mapping[Hashable, int], counts: Mapping[Hashable, int]) -> bool:
    """Whether each class still has something to train on when `part` is held out too."""
    return all(held.get(label, 0) + n < counts[label] for label, n in part.items())


def _cost(part: Mapping[Hashable, int], held: Mapping[Hashable, int], target: Mapping[Hashable, float]) -> float:
    """By how much Σ (held - target)² / target grows with `part`."""
    return sum(n * (n + 2 * (held.get(label, 0) - target[label])) / target[label] for label, n in part.items())


def draw(names: Iterable[str], fraction: float, seed: int) -> set[str]:
    """A share of `names`, at least one, where there are two or more; independent of their order."""
    drawn = sorted(set(names), key=lambda name: _rank(seed, "group", name))
    return set(drawn[: min(max(1, round(fraction * len(drawn))), len(drawn) - 1)])


@dataclass(frozen=True)
class Torn:
    """What lies in more than one split: name -> those splits."""

    ids: Mapping[str, tuple[SplitName, ...]]
    groups: Mapping[str, tuple[SplitName, ...]]


def torn(entries: Iterable[Placed]) -> Torn:
    """Ids and groups of `entries` that are in more than one split."""
    places: dict[str, defaultdict[str, set[SplitName]]] = {"id": defaultdict(set), "group": defaultdict(set)}
    for entry in entries:
        places["id"][entry.id].add(entry.split)
        if entry.group is not None:
            places["group"][entry.group].add(entry.split)
    ids, groups = (
        {name: tuple(s for s in SPLITS if s in found) for name, found in sorted(kind.items()) if len(found) > 1}
        for kind in places.values()
    )
    return Torn(ids, groups)
