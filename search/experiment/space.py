"""The search space that an experiment file's `space` describes.

A study's space is flat and static, which lets a sampler learn how alpha interacts with all other settings.
"""

from __future__ import annotations

import copy
import itertools
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ogmge.config import TrialConfig
from search.experiment.dimensions import (
    END,
    METHOD,
    MODULATION,
    START,
    Changes,
    Choice,
    Dimension,
    Interval,
    Range,
    Window,
)
from search.experiment.messages import expectation, format_setting, suggestion

Entry = list[Any] | Range

# pairs of settings: the valid values of one depend on the other
_COUPLED = (("batch_size", "accumulate"), ("schedule.name", "schedule.milestones"))

_TRIAL = TypeAdapter(TrialConfig)


def trial_from(values: Mapping[str, Any]) -> TrialConfig:
    """Return a trial from plain values.

    Raises:
        pydantic.ValidationError: if the values are invalid.
    """
    return _TRIAL.validate_json(json.dumps(values))


def with_changes(trial: TrialConfig, changes: Changes) -> TrialConfig:
    """Return the trial with each dotted path of `changes` set to its value.

    Raises:
        pydantic.ValidationError: if the result is invalid.
    """
    return trial_from(merge(trial, changes))


def merge(trial: TrialConfig, changes: Changes) -> dict[str, Any]:
    """Return the trial as plain values, with each dotted path of `changes` set to its value, without validation."""
    values = asdict(trial)
    for path, value in changes.items():
        *way, last = path.split(".")
        target = values
        for part in way:
            target = target[part]
        target[last] = copy.deepcopy(value)
    return values


def _existing(trial: TrialConfig, path: str) -> Any:
    """Return the trial's value at a dotted path.

    Raises:
        KeyError: if there is no such path, or it names a whole section.
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
    """Return every dotted path that can be searched."""

    def walk(value: dict[str, Any], prefix: str) -> list[str]:
        found: list[str] = []
        for key, inner in value.items():
            if "." not in key:  # a modality whose name contains a dot has no path
                found += walk(inner, f"{prefix}{key}.") if isinstance(inner, dict) else [f"{prefix}{key}"]
        return found

    return walk(asdict(trial), "")


def _integer(trial: TrialConfig, path: str) -> bool:
    return type(_existing(trial, path)) is int


_OTHER_END: dict[str, Changes] = {START: {END: sys.maxsize}, END: {START: 0}}


def step_notes(space: Mapping[str, Entry], trial: TrialConfig) -> list[str]:
    """Return a note for each range whose step does not lead to its end, which is therefore never tried."""
    ranges = {path: entry for path, entry in space.items() if isinstance(entry, Range)}
    intervals = [Interval(path, entry, _integer(trial, path)) for path, entry in ranges.items()]
    return [
        f"`space.{i.path}.high` is {i.range.high}, but steps of {i.range.step} from {i.range.low} lead to {i.largest}, "
        f"the largest value that is tried; to remove this note, set `high` to {i.largest}"
        for i in intervals
        if i.largest != i.range.high
    ]


def _requirement(trial: TrialConfig, path: str, value: Any) -> str | None:
    """Return None if `value` is valid at `path`, otherwise what was expected.

    Each end of a window is checked without the other.
    """
    try:
        with_changes(trial, {path: value} | _OTHER_END.get(path, {}))
    except ValidationError as error:
        return expectation(error)
    return None


def _range_problem(entry: Range, integer: bool) -> str | None:
    rules = [
        (entry.low < entry.high, f"a range with `low` below `high`, but got {entry.low} and {entry.high}"),
        (not entry.log or entry.low > 0, f"a range with `low` above 0 where `log` is true, but got {entry.low}"),
        (not entry.log or entry.step is None, "a range with `log` or `step`, but not both"),
        (not integer or float not in map(type, (entry.low, entry.high, entry.step)), "a range of whole numbers"),
    ]
    return next((expected for holds, expected in rules if not holds), None)


def _entry_problem(trial: TrialConfig, path: str, entry: Entry) -> str | None:
    if isinstance(entry, list):
        return None if entry else "a list of at least one choice, but it is empty"
    if isinstance(_existing(trial, path), str | tuple | list | bool):
        return "a list of choices: only numbers have ranges"
    return _range_problem(entry, _integer(trial, path))


def entry_problems(trial: TrialConfig, path: str, entry: Entry) -> list[tuple[tuple[str | int, ...], str]]:
    """Return the problems of one entry of the space: (path below the entry, what was expected)."""
    if problem := _entry_problem(trial, path, entry):
        return [((), problem)]
    values = extremes(entry)
    expected = {key: text for key, value in values.items() if (text := _requirement(trial, path, value))}
    return [
        ((key,), f"{text}, but got {format_setting(values[key])}{suggestion(text, values[key])}")
        for key, text in expected.items()
    ]


def clashes(space: Mapping[str, Entry], trial: TrialConfig) -> list[tuple[str, str]]:
    """Return where two valid entries allow values that are invalid together: (path, what was expected)."""
    found: dict[str, str] = {}
    for one, other in _COUPLED:
        firsts, seconds = (extremes(space.get(path, [])).values() for path in (one, other))
        for first, second in itertools.product(firsts, seconds):
            try:
                with_changes(trial, {one: first, other: second})
            except ValidationError as error:
                got = f"{format_setting(second)} with `{one}` {format_setting(first)}"
                found[other] = f"{expectation(error)}, but got {got}"
    return list(found.items())


def extremes(entry: Entry) -> dict[str | int, Any]:
    """Return the ends of a range by name, or all choices by index."""
    return {"low": entry.low, "high": entry.high} if isinstance(entry, Range) else dict(enumerate(entry))


def most_epochs(space: Mapping[str, Entry], trial: TrialConfig, first: Iterable[Changes] = ()) -> int:
    """Return the epochs of the longest trial: of the space, or of given configurations, which may lie outside it."""
    return max([_epochs(space, trial)[1], *(int(changes.get("epochs", 0)) for changes in first)])


def fewest_epochs(space: Mapping[str, Entry], trial: TrialConfig) -> int:
    """Return the epochs of the shortest trial of the space."""
    return _epochs(space, trial)[0]


def _epochs(space: Mapping[str, Entry], trial: TrialConfig) -> tuple[int, int]:
    """Return the fewest and the most epochs that a trial of the space can have."""
    values = extremes(space.get("epochs", [trial.epochs])).values()
    return int(min(values)), int(max(values))


def _values_at(space: Mapping[str, Entry], path: str, otherwise: int, epochs: int) -> list[int]:
    """Return the epochs that the space allows at `path`; a range is cut one value past the end of training."""
    entry = space.get(path, [otherwise])
    if isinstance(entry, Range):
        low, step = int(entry.low), int(entry.step or 1)
        return list(range(low, min(int(entry.high), max(low, epochs - 1 + step)) + 1, step))
    return [int(v) for v in entry]


def windows(space: Mapping[str, Entry], trial: TrialConfig) -> tuple[tuple[int, int], ...]:
    """Return every (start, end) with start <= end that opens in each trial; later ends become the last epoch."""
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
    """Return the methods that a search compares with `none`, without duplicates."""
    entry = space.get(METHOD, [trial.modulation.method])
    return list(dict.fromkeys(m for m in entry if m != "none")) if isinstance(entry, list) else []


def _arm_dimensions(space: Mapping[str, Entry], trial: TrialConfig, *, modulation: bool) -> list[Dimension]:
    """Return the dimensions of the modulation or of all other settings, without the method and the window."""
    paths = [path for path in space if path.startswith(MODULATION) == modulation]
    return [_dimension(trial, path, space[path]) for path in paths if path not in (METHOD, START, END)]


def dimensions(space: Mapping[str, Entry], trial: TrialConfig, *, modulated: bool) -> list[Dimension]:
    """Return what an arm's study samples: everything for the modulated arm, all but the modulation for the baseline."""
    shared = _arm_dimensions(space, trial, modulation=False)
    if not modulated:
        return shared
    method, window = Choice(METHOD, tuple(methods(space, trial))), Window(windows(space, trial))
    return [*shared, method, *_arm_dimensions(space, trial, modulation=True), window]
