"""The dimensions of a search space: how a value of each is written for a sampler.

Choices among numbers are sampled by their rank, which keeps their order. A window is sampled as a valid one: its start
first, then its end as a place among the ends that this start allows, so that no invalid trial is ever started.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

Internal = dict[str, Any]  # what a study samples, by name
Changes = dict[str, Any]  # what it means for the trial, by dotted path

METHOD, START, END = "modulation.method", "modulation.start", "modulation.end"
MODULATION = "modulation."  # what the paths of an arm's own settings begin with


def as_key(values: Mapping[str, Any]) -> str:
    """The same text for equal values, whatever their order."""
    return json.dumps(values, sort_keys=True)


class Range(BaseModel):
    """An interval: `low` and `high`, both included; in steps, or on a logarithmic scale."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    low: int | float
    """The least that is tried."""
    high: int | float
    """The most, itself included; above `low`."""
    step: int | float | None = Field(default=None, gt=0)
    """From one value to the next, counted from `low`; null is any number between, and of whole numbers every one."""
    log: bool = False
    """Whether as many trials fall between 1 and 10 as between 10 and 100; `low` is then above 0, and `step` null."""


def is_number(value: Any) -> bool:
    """Whether a setting is one; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class Choice:
    """One of some values. Numbers are sampled by their rank, anything else as a category."""

    path: str
    values: tuple[Any, ...]

    @property
    def is_ranked(self) -> bool:
        """Whether the values are numbers, which are sampled by their rank."""
        return all(map(is_number, self.values))

    @property
    def is_category(self) -> bool:
        """Whether there is more than one value, without an order."""
        return not self.is_ranked and len(self.values) > 1

    @property
    def count(self) -> float:
        return len(self.values)

    def decode(self, internal: Internal) -> Changes:
        sampled = internal[self.path]
        value = sorted(self.values)[sampled] if self.is_ranked else json.loads(sampled)
        return {self.path: value}

    def at(self, place: int) -> Internal:
        """The value at a place below `count`, as it is sampled."""
        return {self.path: place if self.is_ranked else json.dumps(self.values[place])}

    def nearest(self, changes: Changes) -> Internal:
        """The value nearest to that of a configuration, as it is sampled; the first where they have no order."""
        own = changes[self.path]
        if self.is_ranked and is_number(own):
            ranked = sorted(self.values)
            return self.at(min(range(len(ranked)), key=lambda place: abs(ranked[place] - own)))
        return self.at(self.values.index(own) if own in self.values else 0)


@dataclass(frozen=True)
class Interval:
    """A number between two others."""

    path: str
    range: Range
    integer: bool

    @property
    def _step(self) -> float | None:
        return self.range.step or (1 if self.integer else None)

    @property
    def count(self) -> float:
        if self._step is None:
            return math.inf
        low, high, width = (Decimal(str(v)) for v in (self.range.low, self.range.high, self._step))
        return float((high - low) // width + 1)  # as floats 0.3 // 0.1 is 2.0

    def decode(self, internal: Internal) -> Changes:
        value = internal[self.path]
        return {self.path: value} if self._step is None else self.at(self._place(value))  # 0.1 + 2 * 0.1 is 0.3

    def _place(self, value: float) -> int:
        """Which of its values is nearest, the range having a step."""
        return round((Decimal(str(value)) - Decimal(str(self.range.low))) / Decimal(str(self._step)))

    def at(self, place: int) -> Internal:
        """The value at a place below `count`, which is finite."""
        value = Decimal(str(self.range.low)) + place * Decimal(str(self._step))
        return {self.path: int(value) if self.integer else float(value)}

    def nearest(self, changes: Changes) -> Internal:
        """The value nearest to that of a configuration, as it is sampled; the lowest where that is no number."""
        asked = changes[self.path] if is_number(changes[self.path]) else self.range.low
        own = min(max(asked, self.range.low), self.range.high)
        if self._step is None:
            return {self.path: float(own)}
        return self.at(min(self._place(own), int(self.count) - 1))


@dataclass(frozen=True)
class Window:
    """A valid pair of first and last epoch, out of `pairs`."""

    pairs: tuple[tuple[int, int], ...]

    @property
    def ends(self) -> dict[int, list[int]]:
        """Start -> the ends that it allows, both in rising order."""
        ends: dict[int, list[int]] = {}
        for start, end in sorted(self.pairs):
            ends.setdefault(start, []).append(end)
        return ends

    @property
    def varying(self) -> list[str]:
        """Which of start and end are sampled: those that vary."""
        varies = {START: len(self.ends) > 1, END: any(len(allowed) > 1 for allowed in self.ends.values())}
        return [path for path, there in varies.items() if there]

    @property
    def count(self) -> float:
        return len(self.pairs)

    def decode(self, internal: Internal) -> Changes:
        ends = self.ends
        start = list(ends)[internal.get(START, 0)]
        allowed = ends[start]
        place = min(int(internal.get(END, 0.0) * len(allowed)), len(allowed) - 1)
        return {START: start, END: allowed[place]}

    def at(self, place: int) -> Internal:
        """The pair at a place below `count`, as it is sampled."""
        ends = self.ends
        start, end = sorted(self.pairs)[place]
        allowed = ends[start]
        found: Internal = {START: list(ends).index(start), END: (allowed.index(end) + 0.5) / len(allowed)}
        return {path: value for path, value in found.items() if path in self.varying}

    def nearest(self, changes: Changes) -> Internal:
        """The pair nearest to that of a configuration, as it is sampled."""
        start, end = changes[START], changes[END]
        pairs = sorted(self.pairs)
        return self.at(min(range(len(pairs)), key=lambda n: abs(pairs[n][0] - start) + abs(pairs[n][1] - end)))


Dimension = Choice | Interval | Window
