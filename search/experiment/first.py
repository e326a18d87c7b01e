"""Checks of `search.first`: configurations by dotted path that the search tries first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from ogmge.config import TrialConfig
from search.experiment import space as spaces
from search.experiment.dimensions import START, Changes, as_key
from search.experiment.factory_arguments import argument_faults
from search.experiment.messages import Fault, format_setting, nearest, validate
from search.experiment.schema import Experiment


def first_faults(experiment: Experiment) -> list[Fault]:
    """Return all faults of `search.first`: invalid entries, and entries that repeat an earlier one."""
    faults: list[Fault] = []
    seen: dict[str, int] = {}
    for number, changes in enumerate(experiment.search.first):
        place = ("search", "first", number)
        if not isinstance(changes, dict):
            text = f"must be a mapping from dotted paths into `trial` to values, but got {format_setting(changes)}"
            faults.append((place, text))
            continue
        problems = [*_problems(experiment.trial, changes)] or [*_short(experiment, changes)]
        faults += [((*place, path), text) for path, text in problems]
        if problems:
            continue
        before = seen.setdefault(_text(experiment.trial, changes), number)
        if before != number:
            faults.append((place, f"is the same configuration as `search.first[{before}]`: keep one of them"))
    return faults


def _problems(trial: TrialConfig, changes: Changes) -> Iterator[tuple[str, str]]:
    """Yield the faults of an entry: (dotted path, rest of the sentence)."""
    known = spaces.paths(trial)
    yield from ((path, "is not a path into `trial`" + nearest(path, known)) for path in changes if path not in known)
    sound = {path: value for path, value in changes.items() if path in known}
    config, faults = validate(TrialConfig, spaces.merge(trial, sound))
    yield from ((".".join(map(str, path)), text) for path, text in faults)
    if not faults:
        own = dict(argument_faults(trial))
        yield from ((".".join(map(str, path)), text) for path, text in argument_faults(config) if path not in own)
    if not faults and config.modulation.start >= config.epochs:
        yield START, f"must be below {config.epochs}, the entry's number of epochs, but got {config.modulation.start}"


def _short(experiment: Experiment, changes: Changes) -> Iterator[tuple[str, str]]:
    """Yield a fault if an entry is too short for a window of the space: it may be paired with any of them."""
    epochs = changes.get("epochs")
    starts = [start for start, _ in spaces.windows(experiment.space, experiment.trial)]
    if isinstance(epochs, int) and starts and epochs <= max(starts):
        yield "epochs", f"must be above {max(starts)}, the latest start of a window in the space, but got {epochs}"


def _text(trial: TrialConfig, changes: Changes) -> str:
    """Return a text that is equal for changes that lead to the same trial."""
    return as_key(asdict(spaces.with_changes(trial, changes)))
