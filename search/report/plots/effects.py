"""Results against settings: alpha by fusion, the window, and every other part of the space."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from statistics import fmean
from typing import Any

import plotly.graph_objects as go

from datasets.index.list_files import count
from ogmge.components import parse
from search.experiment.arms import Arm
from search.experiment.dimensions import END, METHOD, START
from search.experiment.formatting import label, text
from search.experiment.space import with_changes
from search.report.facts import Facts
from search.report.plots.axes import axis_type, better_half, setting_axis
from search.report.plots.plot import COLOURS, KINDS, Plot, Scale, columns, escape, make_figure
from search.report.plots.selection import (
    TRIALS,
    group_by,
    group_by_arm,
    results,
    searches_window,
    trials_with_result,
    window_of,
)
from search.report.table import WORDS
from search.run.trials import TrialRecord

ALPHA = "modulation.alpha"
OWN_PLOTS = (ALPHA, METHOD, START, END)
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "star", "hexagon", "cross", "pentagon")
NOTE = "Colour: the mean of the trials with this window. Number: how many trials."
LIKE_WITH_LIKE = (
    " Line and points are single trainings, on the split that chose them. Only the verdict says whether modulation "
    "helps."
)
MOST_MEANS = 6  # largest number of means in the description of a plot


def _by_arm(facts: Facts) -> dict[Arm, list[TrialRecord]]:
    return group_by_arm(trials_with_result(facts))


def _points(facts: Facts, path: str, trials: Sequence[TrialRecord], symbol: str, **more: Any) -> go.Scatter:
    """Return a point for each trial, open if the trial was stopped early."""
    scale = Scale(facts.metric)
    values, results, numbers, symbols = columns([_point(scale, trial, path, symbol) for trial in trials], 4)
    if axis_type(facts.experiment.space[path]) == "category":
        values = [escape(text(value)) for value in values]
    at = {"x": values, "y": results, "customdata": numbers, "meta": TRIALS}
    return go.Scatter(mode="markers", marker_symbol=symbols, **at, **more)


def _point(scale: Scale, trial: TrialRecord, path: str, symbol: str) -> tuple[Any, float, int, str]:
    """Return a point's x and y, its trial's number, and its symbol."""
    look = symbol if trial.status == "finished" else f"{symbol}-open"
    return trial.changes[path], scale(trial.best or 0.0), trial.number, look


def alpha(facts: Facts) -> Plot | None:
    """Return the searched metric against alpha, with a symbol for each fusion and a line for the baseline.

    The line is the search's own best baseline trial, also after a confirmation: it was chosen on the same split as
    these trials, so its result is as optimistic. None if alpha was not searched, or no modulated trial has a result.
    """
    modulated = _by_arm(facts).get("modulated")
    if ALPHA not in facts.experiment.space or not modulated:
        return None
    kinds = group_by(modulated, lambda trial: _fusion(facts, trial))
    traces = [_kind(facts, place, name, kinds[name]) for place, name in enumerate(sorted(kinds))]
    axis = setting_axis(facts.experiment.space[ALPHA], "alpha")
    shown = _result_axis(facts, modulated)
    figure = make_figure(traces, height=380, xaxis=axis, yaxis=shown)
    said = f"{_draw_baseline(facts, figure)}{LIKE_WITH_LIKE if facts.verdict else ''}"
    alt = f"{facts.metric} of {count(len(modulated), 'modulated trial')} against alpha, by fusion. {said}"
    return Plot("alpha", "Modulation strength alpha, by fusion", alt, figure, said, "range" in shown)


def _result_axis(facts: Facts, trials: Sequence[TrialRecord]) -> dict[str, Any]:
    """Return the vertical axis of results; with `range` if the plot opens with the better half of them."""
    scale = Scale(facts.metric)
    shown = better_half(scale, results(trials), facts.experiment.search.objective.mode)
    return {"title": scale.title, **({"range": shown} if shown else {})}


def _fusion(facts: Facts, trial: TrialRecord) -> str:
    """Return the name of a trial's fusion."""
    name: str = parse(with_changes(facts.experiment.trial, trial.changes).fusion).name
    return name


def _kind(facts: Facts, place: int, name: str, trials: Sequence[TrialRecord]) -> go.Scatter:
    texts = [escape(f"{label(t.changes)}: {count(len(t.epochs), 'epoch')}, {WORDS[t.status]}") for t in trials]
    hover = f"trial %{{customdata}}: {Scale(facts.metric).hover}<br>%{{text}}<extra></extra>"
    look = {"marker": {"size": 9, "color": KINDS[place % len(KINDS)]}, "text": texts, "hovertemplate": hover}
    return _points(facts, ALPHA, trials, SYMBOLS[place % len(SYMBOLS)], name=escape(name), **look)


def _draw_baseline(facts: Facts, figure: go.Figure) -> str:
    """Draw a line at the result of the best baseline trial; return its description."""
    best = facts.best.get("baseline")
    if best is None:
        return "No baseline trial has a result yet."
    figure.add_hline(
        y=Scale(facts.metric)(best.value), line={"color": COLOURS["baseline"], "width": 1.5, "dash": "dash"}
    )
    return "Dashed line: the best baseline trial."


def window(facts: Facts) -> Plot | None:
    """Return the mean of the searched metric by first and last epoch of the window.

    None if the window was not searched, or for fewer than two windows.
    """
    if not searches_window(facts):
        return None
    groups = group_by(_by_arm(facts).get("modulated", []), partial(window_of, facts))
    groups.pop(None, None)
    if len(groups) < 2:
        return None
    scale = Scale(facts.metric)
    means = {where: scale(fmean(results(trials))) for where, trials in groups.items()}
    starts, ends = columns(means, 2)
    at = {"x": starts, "y": ends, "customdata": list(means.values()), "text": [str(len(t)) for t in groups.values()]}
    bar = {"title": {"text": scale.title, "side": "right"}, "thickness": 12}
    look = {"symbol": "square", "size": 20, "color": at["customdata"], "colorscale": "Viridis", "colorbar": bar}
    hover = "epochs %{x} to %{y}: mean %{customdata:.4g}, %{text} trials<extra></extra>"
    trace = go.Scatter(mode="markers+text", textposition="middle right", **at, marker=look, hovertemplate=hover)
    axes = {"xaxis_title": "first epoch with modulation", "yaxis_title": "last epoch with modulation"}
    better = max if facts.experiment.search.objective.mode == "max" else min
    start, end = better(means, key=means.__getitem__)
    alt = f"Mean {facts.metric} of the trials with each of {len(means)} windows; the best is epochs {start} to {end}"
    return Plot("window", "Modulation window", alt, make_figure([trace], height=380, **axes), NOTE)


def slices(facts: Facts) -> list[Plot]:
    """Return the searched metric of both arms against every part of the space except alpha and the window."""
    paths = [path for path in facts.experiment.space if path not in OWN_PLOTS]
    plots = [_slice(facts, f"slice{place}", path) for place, path in enumerate(paths)]
    return [plot for plot in plots if plot.figure.data]


def _slice(facts: Facts, name: str, path: str) -> Plot:
    trials = [trial for trial in trials_with_result(facts) if path in trial.changes]
    traces = [_arm_points(facts, path, arm, own) for arm, own in group_by_arm(trials).items()]
    axis, shown = setting_axis(facts.experiment.space[path], escape(path)), _result_axis(facts, trials)
    figure = make_figure(traces, height=300, xaxis=axis, yaxis=shown)
    means = _means_by_value(Scale(facts.metric), trials, path)
    alt = f"{facts.metric} of {count(len(trials), 'trial')} against {path}{means}"
    return Plot(name, path, alt, figure, opens_with_best="range" in shown)


def _arm_points(facts: Facts, path: str, arm: Arm, trials: Sequence[TrialRecord]) -> go.Scatter:
    symbol, marker = "circle" if arm == "modulated" else "square", {"size": 8, "color": COLOURS[arm]}
    hover = f"trial %{{customdata}}, {arm}: {Scale(facts.metric).hover}<extra></extra>"
    return _points(facts, path, trials, symbol, name=arm, marker=marker, hovertemplate=hover)


def _means_by_value(scale: Scale, trials: Sequence[TrialRecord], path: str) -> str:
    """Return the mean for each value, if there are few values."""
    groups = group_by(trials, lambda trial: text(trial.changes[path]))
    if len(groups) > MOST_MEANS:
        return ""
    return ": means " + ", ".join(f"{name} {scale(fmean(results(groups[name]))):.4g}" for name in sorted(groups))
