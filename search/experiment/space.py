"""The search space: what an experiment file's `space` means, and how a configuration of it is written for a sampler.

A study's space is flat and static, so that a sampler can see how alpha goes with everything else. Choices among numbers
are sampled by their rank, which keeps their order. A window is sampled as a valid one: its start first, then its end as
a place among the ends that this start allows, so that no invalid trial is ever started.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ogmge.config import TrialConfig
from search.experiment.messages import expectation, suggestion

Internal = dict[str, Any]  # what a study samples, by name
Changes = dict[str, Any]  # what it means for the trial, by dotted path

METHOD, START, END = "modulation.method", "modulation.start", "modulation.end"

_COUPLED = (("batch_size", "accumulate"), ("schedule.name", "schedule.milestones"))  # what one may be, the other says

_TRIAL = TypeAdapter(TrialConfig)


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


Entry = list[Any] | Range


def is_number(value: Any) -> bool:
    """Whether a setting is one; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def trial_from(values: Mapping[str, Any]) -> TrialConfig:
    """A trial from plain values.

    Raises:
        pydantic.ValidationError: they do not make one.
    """
    return _TRIAL.validate_json(json.dumps(values))


def with_changes(trial: TrialConfig, changes: Changes) -> TrialConfig:
    """The trial with each dotted path of `changes` set to its value.

    Raises:
        pydantic.ValidationError: the result is no valid trial.
    """
    values = asdict(trial)
    for path, value in changes.items():
        *way, last = path.split(".")
        target = values
        for part in way:
            target = target[part]
        target[last] = copy.deepcopy(value)
    return trial_from(values)


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
        return {self.path: internal[self.path]}

    def at(self, place: int) -> Internal:
        """The value at a place below `count`, which is finite."""
        value = Decimal(str(self.range.low)) + place * Decimal(str(self._step))
        return {self.path: int(value) if self.integer else float(value)}


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


Dimension = Choice | Interval | Window


def _existing(trial: TrialConfig, path: str) -> Any:
    """The trial's own value at a dotted path.

    Raises:
        KeyError: there is no such path, or it names a whole section.
    """
    value: Any = asdict(trial)
    for part in path.split("."):
        if not isinstance(value, dict) or part not in value:
            raise KeyError(path)
        value = value[part]
    if isinstance(value, dict):
        raise KeyError(path)
    return value


def paths(trial: TrialConfig) -> list[str]:
    """Every dotted path that can be searched."""

    def walk(value: dict[str, Any], prefix: str) -> list[str]:
        found: list[str] = []
        for key, inner in value.items():
            if "." not in key:  # a modality's name may hold one, and then it has no path
                found += walk(inner, f"{prefix}{key}.") if isinstance(inner, dict) else [f"{prefix}{key}"]
        return found

    return walk(asdict(trial), "")


def _integer(trial: TrialConfig, path: str) -> bool:
    return type(_existing(trial, path)) is int


_OTHER_END: dict[str, Changes] = {START: {END: sys.maxsize}, END: {START: 0}}


def _requirement(trial: TrialConfig, path: str, value: Any) -> str | None:
    """None where `value` can stand at `path`, else what was expected. The two ends of a window are judged apart."""
    try:
        with_changes(trial, {path: value} | _OTHER_END.get(path, {}))
    except ValidationError as error:
        return expectation(error)
    return None


def _range_problem(entry: Range, integer: bool) -> str | None:
    rules = [
        (entry.low < entry.high, f"a range with `low` below `high`, but got {entry.low} and {entry.high}"),
        (not entry.log or entry.low > 0, f"a range with `low` above 0 where `log` is true, but got {entry.low}"),
        (not entry.log or entry.step is None, "a range with either `log` or `step`"),
        (not integer or float not in map(type, (entry.low, entry.high, entry.step)), "a range of whole numbers"),
    ]
    return next((expected for holds, expected in rules if not holds), None)


def _entry_problem(trial: TrialConfig, path: str, entry: Entry) -> str | None:
    if isinstance(entry, list):
        return None if entry else "a list of one choice or more, but it is empty"
    if isinstance(_existing(trial, path), str | tuple | bool):
        return "a list of choices: this is no number"
    return _range_problem(entry, _integer(trial, path))


def entry_problems(trial: TrialConfig, path: str, entry: Entry) -> list[tuple[tuple[str | int, ...], str]]:
    """What is wrong with one entry of the space: (path below the entry, what it must be)."""
    if problem := _entry_problem(trial, path, entry):
        return [((), problem)]
    values = _extremes(entry)
    expected = {key: text for key, value in values.items() if (text := _requirement(trial, path, value))}
    return [
        ((key,), f"{text}, but got {values[key]!r}{suggestion(text, values[key])}") for key, text in expected.items()
    ]


def clashes(space: Mapping[str, Entry], trial: TrialConfig) -> list[tuple[str, str]]:
    """Where two entries, each fine by itself, allow what cannot stand together: (path, what it must be)."""
    found: dict[str, str] = {}
    for one, other in _COUPLED:
        firsts, seconds = (_extremes(space.get(path, [])).values() for path in (one, other))
        for first, second in itertools.product(firsts, seconds):
            try:
                with_changes(trial, {one: first, other: second})
            except ValidationError as error:
                found[other] = f"{expectation(error)}, but got {second!r} beside `{one}` {first!r}"
    return list(found.items())


def _extremes(entry: Entry) -> dict[str | int, Any]:
    """The ends of a range by name, or all choices by number."""
    return {"low": entry.low, "high": entry.high} if isinstance(entry, Range) else dict(enumerate(entry))


def most_epochs(space: Mapping[str, Entry], trial: TrialConfig) -> int:
    """The longest that a trial can be."""
    return _epochs(space, trial)[1]


def _epochs(space: Mapping[str, Entry], trial: TrialConfig) -> tuple[int, int]:
    """The fewest and the most epochs a trial can have."""
    values = _extremes(space.get("epochs", [trial.epochs])).values()
    return int(min(values)), int(max(values))


def _values_at(space: Mapping[str, Entry], path: str, otherwise: int, epochs: int) -> list[int]:
    """What is asked for at `path`; of a range, no more than one epoch past the end of training."""
    entry = space.get(path, [otherwise])
    if isinstance(entry, Range):
        low, step = int(entry.low), int(entry.step or 1)
        return list(range(low, min(int(entry.high), max(low, epochs - 1 + step)) + 1, step))
    return [int(v) for v in entry]


def windows(space: Mapping[str, Entry], trial: TrialConfig) -> tuple[tuple[int, int], ...]:
    """Every (start, end) with start <= end that opens during training; an end past the last epoch is the last epoch."""
    fewest, most = _epochs(space, trial)
    starts = _values_at(space, START, trial.modulation.start, most)
    ends = {min(end, most - 1) for end in _values_at(space, END, trial.modulation.end, most)}
    return tuple(sorted({(s, e) for s in starts for e in ends if s <= min(e, fewest - 1)}))


def _dimension(trial: TrialConfig, path: str, entry: Entry) -> Dimension:
    if isinstance(entry, Range):
        return Interval(path, entry, _integer(trial, path))
    distinct: Sequence[Any] = [v for i, v in enumerate(entry) if v not in entry[:i]]
    return Choice(path, tuple(distinct))


def methods(space: Mapping[str, Entry], trial: TrialConfig) -> list[str]:
    """The modulating methods a search is to compare with `none`; empty where it names none."""
    entry = space.get(METHOD, [trial.modulation.method])
    return list(dict.fromkeys(m for m in entry if m != "none")) if isinstance(entry, list) else []


def _arm_dimensions(space: Mapping[str, Entry], trial: TrialConfig, *, modulation: bool) -> list[Dimension]:
    """What stands in the space of the modulation, or of all else; without what an arm's study samples its own way."""
    paths = [path for path in space if path.startswith("modulation.") == modulation]
    return [_dimension(trial, path, space[path]) for path in paths if path not in (METHOD, START, END)]


def dimensions(space: Mapping[str, Entry], trial: TrialConfig, *, modulated: bool) -> list[Dimension]:
    """What an arm's study samples: all but the modulation for the baseline, everything for the other."""
    shared = _arm_dimensions(space, trial, modulation=False)
    if not modulated:
        return shared
    method, window = Choice(METHOD, tuple(methods(space, trial))), Window(windows(space, trial))
    return [*shared, method, *_arm_dimensions(space, trial, modulation=True), window]
