"""Selection of the trials that a plot shows, and their windows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any

import plotly.graph_objects as go

from search.experiment.arms import ARMS, Arm
from search.experiment.dimensions import END, METHOD, START
from search.report.facts import Facts
from search.report.plots.plot import COLOURS
from search.run.trials import TrialRecord

TRIALS = "trials"  # `meta` of traces whose points are trials, with their numbers in `customdata`: the page filters them


def trials_with_result(facts: Facts) -> list[TrialRecord]:
    """Return the trials with a result, finished or stopped early."""
    return [trial for trial in facts.record if trial.status in ("finished", "stopped") and trial.best is not None]


def results(trials: Iterable[TrialRecord]) -> list[float]:
    """Return the result of each trial that has one."""
    return [trial.best for trial in trials if trial.best is not None]


def group_by(trials: Iterable[TrialRecord], key: Callable[[TrialRecord], Any]) -> dict[Any, list[TrialRecord]]:
    """Return trials grouped by the result of a function, in their order."""
    groups: dict[Any, list[TrialRecord]] = {}
    for trial in trials:
        groups.setdefault(key(trial), []).append(trial)
    return groups


def group_by_arm(trials: Iterable[TrialRecord]) -> dict[Arm, list[TrialRecord]]:
    """Return the trials of each arm that has some, the modulated arm first."""
    groups = group_by(trials, attrgetter("arm"))
    return {arm: groups[arm] for arm in reversed(ARMS) if arm in groups}


def best_trials(facts: Facts) -> dict[Arm, TrialRecord]:
    """Return the best trial of each arm that has a result, the modulated arm first."""
    return {arm: facts.best[arm].trial for arm in reversed(ARMS) if arm in facts.best}


def window_of(facts: Facts, trial: TrialRecord) -> tuple[int, int] | None:
    """Return the first and last epoch with modulation; None for a trial without modulation."""
    own = facts.experiment.trial.modulation
    if trial.changes.get(METHOD, own.method) == "none":
        return None
    return trial.changes.get(START, own.start), trial.changes.get(END, own.end)


def windows(facts: Facts) -> dict[int, tuple[int, int] | None]:
    """Return the window of each modulated trial, by number."""
    return {trial.number: window_of(facts, trial) for trial in facts.record if trial.arm == "modulated"}


def searches_window(facts: Facts) -> bool:
    """Return whether trials differ in their windows because the space says so."""
    return not {START, END}.isdisjoint(facts.experiment.space)


def shade_best_window(figure: go.Figure, facts: Facts) -> None:
    """Shade the best modulated trial's window, both ends included, in a figure over the epochs, if it was searched."""
    best = best_trials(facts).get("modulated") if searches_window(facts) else None
    if best is not None and (window := window_of(facts, best)) is not None:
        span = {"x0": window[0] - 0.5, "x1": window[1] + 0.5}
        figure.add_vrect(**span, fillcolor=COLOURS["modulated"], opacity=0.1, line_width=0, layer="below")
