"""The dimensions of a search space, and how a sampler represents their values.

Choices of numbers are sampled by rank, which keeps their order. A window is sampled in two steps: its start, then the
position of its end among the ends that this start allows. Every sampled window is therefore valid.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

Internal = dict[str, Any]  # values as a study samples them, by name
Changes = dict[str, Any]  # the resulting values of the trial, by dotted path

METHOD, START, END = "modulation.method", "modulation.start", "modulation.end"
MODULATION = "modulation."  # prefix of the paths that only the modulated arm searches


def as_key(values: Mapping[str, Any]) -> str:
    """Return a text that is equal for equal values, whatever their order."""
    return json.dumps(values, sort_keys=True)


class Range(BaseModel):
    """A range from `low` to `high`, both included, optionally in steps or on a logarithmic scale."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    low: int | float
    """Smallest value to try."""
    high: int | float
    """Largest value to try; above `low`."""
    step: int | float | None = Field(default=None, gt=0)
    """Distance between successive values, counted from `low`. Every sampler tries exactly these values, with the
    decimals as written. The largest is the last that is not above `high`; a note says so if it is not `high` itself.
    null allows every value in the range; for whole numbers, every whole number."""
    log: bool = False
    """Whether to sample on a logarithmic scale, with as many trials between 1 and 10 as between 10 and 100. Requires
    `low` above 0, and no `step`."""


def is_number(value: Any) -> bool:
    """Return whether a setting is a number; booleans do not count."""
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class Choice:
    """A choice among given values. Numbers are sampled by rank, other values as categories."""

    path: str
    values: tuple[Any, ...]

    @property
    def is_ranked(self) -> bool:
        """Whether all values are numbers, which are sampled by rank."""
        return all(map(is_number, self.values))

    @property
    def is_category(self) -> bool:
        """Whether there are several values without an order."""
        return not self.is_ranked and len(self.values) > 1

    @property
    def count(self) -> float:
        return len(self.values)

    def decode(self, internal: Internal) -> Changes:
        sampled = internal[self.path]
        value = sorted(self.values)[sampled] if self.is_ranked else json.loads(sampled)
        return {self.path: value}

    def at(self, place: int) -> Internal:
        """Return the value at an index below `count`, as it is sampled."""
        return {self.path: place if self.is_ranked else json.dumps(self.values[place])}

    def nearest(self, changes: Changes) -> Internal:
        """Return the value nearest to that of a configuration, as it is sampled; without an order, an equal one or the
        first."""
        own = changes[self.path]
        if self.is_ranked and is_number(own):
            ranked = sorted(self.values)
            return self.at(min(range(len(ranked)), key=lambda place: abs(ranked[place] - own)))
        return self.at(self.values.index(own) if own in self.values else 0)


@dataclass(frozen=True)
class Interval:
    """A number in a range."""

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
        return float((high - low) // width + 1)  # with floats, 0.3 // 0.1 would be 2.0

    @property
    def largest(self) -> float:
        """Largest value that is tried: below `high` if the step does not lead to it."""
        last: float = self.range.high if self._step is None else self.at(int(self.count) - 1)[self.path]
        return last

    def decode(self, internal: Internal) -> Changes:
        return {self.path: self.exact(internal[self.path])}

    def exact(self, value: float) -> Any:
        """Return a sampled value with the decimals of the range: floats give 0.1 + 2 * 0.1 = 0.30000000000000004."""
        return value if self._step is None else self.at(self._place(value))[self.path]

    def _place(self, value: float) -> int:
        """Return the index of the nearest value of a range with a step."""
        return round((Decimal(str(value)) - Decimal(str(self.range.low))) / Decimal(str(self._step)))

    def at(self, place: int) -> Internal:
        """Return the value at an index below `count`, which must be finite."""
        value = Decimal(str(self.range.low)) + place * Decimal(str(self._step))
        return {self.path: int(value) if self.integer else float(value)}

    def nearest(self, changes: Changes) -> Internal:
        """Return the value nearest to that of a configuration, as it is sampled; the lowest if that is not a number."""
        asked = changes[self.path] if is_number(changes[self.path]) else self.range.low
        own = min(max(asked, self.range.low), self.range.high)
        if self._step is None:
            return {self.path: float(own)}
        return self.at(min(self._place(own), int(self.count) - 1))


@dataclass(frozen=True)
class Window:
    """A window: one of the valid `pairs` of first and last epoch."""

    pairs: tuple[tuple[int, int], ...]

    @property
    def ends(self) -> dict[int, list[int]]:
        """Ends that each start allows, by start; both in rising order."""
        ends: dict[int, list[int]] = {}
        for start, end in sorted(self.pairs):
            ends.setdefault(start, []).append(end)
        return ends

    @property
    def varying(self) -> list[str]:
        """Paths of the ends that vary, and are therefore sampled."""
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
        """Return the pair at an index below `count`, as it is sampled."""
        ends = self.ends
        start, end = sorted(self.pairs)[place]
        allowed = ends[start]
        found: Internal = {START: list(ends).index(start), END: (allowed.index(end) + 0.5) / len(allowed)}
        return {path: value for path, value in found.items() if path in self.varying}

    def nearest(self, changes: Changes) -> Internal:
        """Return the pair nearest to that of a configuration, as it is sampled."""
        start, end = changes[START], changes[END]
        pairs = sorted(self.pairs)
        return self.at(min(range(len(pairs)), key=lambda n: abs(pairs[n][0] - start) + abs(pairs[n][1] - end)))


Dimension = Choice | Interval | Window
