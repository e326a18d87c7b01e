"""The table of all trials, with what it is sorted by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from search.experiment.formatting import duration, format_value, modalities_in, text
from search.experiment.space import END, START, is_number
from search.report.facts import Facts
from search.run.journal import TrialRecord
from search.verdict.text import TITLES

WORDS = {
    "waiting": "to go on",
    "running": "running",
    "finished": "to the end",
    "stopped": "stopped early",
    "failed": "failed",
}


@dataclass(frozen=True)
class Cell:
    """What is read, and what it is sorted by where that is a number."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Row:
    """A trial.

    Args:
        number, arm, status: as they are filtered by.
        cells: under the table's head.
        reason: why it was stopped or failed.
    """

    number: int
    arm: str
    status: str
    cells: list[Cell]
    reason: str


def head(facts: Facts) -> list[str]:
    """Above the columns between the trial's number and the reason."""
    return ["arm", "ended", "epochs", facts.metric, *_names(facts), *_paths(facts), "trained for"]


def rows(facts: Facts) -> list[Row]:
    """All trials, by number."""
    names, paths = _names(facts), _paths(facts)
    return [_row(facts, trial, names, paths) for trial in facts.record]


def _names(facts: Facts) -> list[str]:
    return modalities_in(trial.epochs[-1] for trial in facts.record if trial.epochs)


def _paths(facts: Facts) -> list[str]:
    """What is searched, the window as one."""
    paths = dict.fromkeys(path for trial in facts.record for path in trial.changes)
    return [path for path in paths if path != END]


def _row(facts: Facts, trial: TrialRecord, names: list[str], paths: list[str]) -> Row:
    best = trial.best_epoch(facts.metric) or {}
    status = "waiting" if trial.status == "running" and not facts.busy else trial.status
    cells = [Cell(TITLES[trial.arm]), Cell(WORDS[status]), _epochs(trial)]
    cells += [_metric(best, facts.metric), *(_metric(best, f"val/accuracy/{name}") for name in names)]
    cells += [_setting(trial, path) for path in paths]
    seconds = sum(m.get("seconds", 0.0) for m in trial.epochs if "inherited" not in m)
    cells.append(Cell(duration(seconds), seconds))
    return Row(trial.number, trial.arm, status, cells, str(trial.reason or ""))


def _epochs(trial: TrialRecord) -> Cell:
    taken = f" ({trial.inherited_epochs} in common)" if trial.inherited_epochs else ""
    return Cell(f"{len(trial.epochs)}{taken}", len(trial.epochs))


def _metric(best: dict[str, float], name: str) -> Cell:
    return Cell(format_value(name, best.get(name)), best.get(name))


def _setting(trial: TrialRecord, path: str) -> Cell:
    if path not in trial.changes:
        return Cell("")
    value: Any = trial.changes[path]
    if path == START:
        return Cell(f"{value} to {trial.changes[END]}", value)
    return Cell(text(value), value if is_number(value) else None)


def heading(path: str) -> str:
    """Of a column: the window's is its own.

    >>> heading("modulation.start"), heading("optimizer.lr")
    ('window', 'optimizer.lr')
    """
    return "window" if path == START else path
