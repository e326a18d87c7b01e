"""Table of all trials, with the values that it is sorted by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from search.console.summary import SOURCE
from search.experiment.dimensions import END, START, is_number
from search.experiment.formatting import duration, format_value, modalities_in, text
from search.report.facts import Facts
from search.run.trials import TrialRecord

WORDS = {
    "waiting": "interrupted",
    "running": "running",
    "finished": "finished",
    "stopped": "stopped early",
    "failed": "failed",
}


@dataclass(frozen=True)
class Cell:
    """Text, and the number that it is sorted by, if any."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Row:
    """Trial, the status that it is filtered by, and its cells."""

    trial: TrialRecord
    status: str
    cells: list[Cell]


def head(facts: Facts) -> list[str]:
    """Return the headings between the trial's number and the reason."""
    return [
        "arm",
        SOURCE,
        "state",
        "epochs",
        facts.metric,
        *_names(facts),
        *_headings(_paths(facts)),
        "training time",
    ]


def rows(facts: Facts) -> list[Row]:
    """Return a row for each trial, by number."""
    metrics, paths = [facts.metric, *(f"val/accuracy/{name}" for name in _names(facts))], _paths(facts)
    return [_row(facts, trial, metrics, paths) for trial in facts.record]


def trained_seconds(trial: TrialRecord) -> float:
    """Return the training time of a trial in seconds, without epochs that another trial trained."""
    return sum(metrics.get("seconds", 0.0) for metrics in trial.epochs if "inherited" not in metrics)


def _names(facts: Facts) -> list[str]:
    return modalities_in(trial.epochs[-1] for trial in facts.record if trial.epochs)


def _paths(facts: Facts) -> list[str]:
    """Return the searched paths; the window counts as one."""
    paths = dict.fromkeys(path for trial in facts.record for path in trial.changes)
    return [path for path in paths if path != END]


def _row(facts: Facts, trial: TrialRecord, metrics: list[str], paths: list[str]) -> Row:
    best, seconds = trial.best_epoch(facts.metric) or {}, trained_seconds(trial)
    status = "waiting" if trial.status == "running" and not facts.busy else trial.status
    cells = [Cell(trial.arm), Cell(trial.source or ""), Cell(WORDS[status]), _epochs(trial)]
    cells += [Cell(format_value(name, best.get(name)), best.get(name)) for name in metrics]
    cells += [_setting(trial, path) for path in paths]
    return Row(trial, status, [*cells, Cell(duration(seconds), seconds)])


def _epochs(trial: TrialRecord) -> Cell:
    taken = f" ({trial.inherited_epochs} inherited)" if trial.inherited_epochs else ""
    return Cell(f"{len(trial.epochs)}{taken}", len(trial.epochs))


def _setting(trial: TrialRecord, path: str) -> Cell:
    if path not in trial.changes:
        return Cell("")
    value: Any = trial.changes[path]
    if path == START:
        return Cell(f"{value} to {trial.changes[END]}", value)
    return Cell(text(value), value if is_number(value) else None)


def _headings(paths: Sequence[str]) -> list[str]:
    """Return the headings of settings: the last part of each path, or the path where another one ends alike.

    Both ends of the window are one column.

    >>> _headings(["modulation.start", "optimizer.lr", "optimizer.name", "schedule.name"])
    ['window', 'lr', 'optimizer.name', 'schedule.name']
    """
    last = ["window" if path == START else path.rpartition(".")[2] for path in paths]
    return [name if last.count(name) == 1 else path for name, path in zip(last, paths, strict=True)]
