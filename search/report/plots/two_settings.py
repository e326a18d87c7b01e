"""The searched metric over two settings at once, for each arm."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean
from typing import Any

import plotly.graph_objects as go

from search.experiment.arms import Arm
from search.experiment.dimensions import METHOD, MODULATION
from search.experiment.formatting import text
from search.report.facts import Facts
from search.report.plots.axes import axis_type, setting_axis
from search.report.plots.plot import INK, Plot, Scale, Trace, escape, make_figure
from search.report.plots.selection import TRIALS, group_by_arm, trials_with_result
from search.run.trials import TrialRecord

FEWEST = 4  # least number of trials of a surface
MOST_CELLS = 100  # along an axis
NOTE = "Colour: the result, interpolated between trials. Dots: trials. Far from the dots, the colour says nothing."
CELLS = "Colour: the mean of the trials with these two values."


@dataclass(frozen=True)
class Ground:
    """The two settings that a surface lies over: across, and up."""

    facts: Facts
    paths: tuple[str, str]

    @property
    def is_smooth(self) -> bool:
        """Whether both settings are numbers, between which results can be interpolated."""
        return "category" not in {axis_type(self.facts.experiment.space[path]) for path in self.paths}

    def position(self, trial: TrialRecord) -> tuple[Any, Any]:
        """Return where a trial lies."""
        across, up = (trial.changes[path] for path in self.paths)
        return (across, up) if self.is_smooth else (escape(text(across)), escape(text(up)))

    def trials(self) -> dict[Arm, list[TrialRecord]]:
        """Return the trials of each arm, if both settings vary in it and the trials are enough."""
        found = [trial for trial in trials_with_result(self.facts) if {*self.paths} <= trial.changes.keys()]
        return {
            arm: trials
            for arm, trials in group_by_arm(found).items()
            if len(trials) >= FEWEST
            and all(len(set(ends)) > 1 for ends in zip(*map(self.position, trials), strict=True))
        }

    def axis(self, place: int) -> dict[str, Any]:
        """Return the axis of one of the settings."""
        path = self.paths[place]
        made = setting_axis(self.facts.experiment.space[path], escape(path))
        return made if self.is_smooth else {"title": made["title"], "type": "category"}


def contour(facts: Facts, shares: Mapping[Arm, Mapping[str, float]]) -> Plot | None:
    """Return the searched metric over the two most important settings, of each arm that searched them.

    Settings that both arms search are preferred. Numbers give contours, as in `optuna.visualization.plot_contour`;
    with other settings there are cells. None if no two settings vary enough.

    Args:
        facts: facts of the run.
        shares: importance of each setting, by arm; if it is empty, the first settings of the space are shown.
    """
    for paths in _candidates(facts, shares):
        ground = Ground(facts, paths)
        if drawn := ground.trials():
            why = "The two most important settings." if shares else "The first two settings of the space."
            return _plot(ground, drawn, why)
    return None


def _candidates(facts: Facts, shares: Mapping[Arm, Mapping[str, float]]) -> list[tuple[str, str]]:
    weights = {path: sum(own.get(path, 0.0) for own in shares.values()) for path in facts.experiment.space}
    ranked = sorted((path for path in weights if path != METHOD), key=lambda path: -weights[path])
    shared = [path for path in ranked if not path.startswith(MODULATION)]
    return [(paths[0], paths[1]) for paths in (shared, ranked) if len(paths) > 1]


def _plot(ground: Ground, drawn: Mapping[Arm, Sequence[TrialRecord]], why: str) -> Plot:
    metric = ground.facts.metric
    traces = [trace for place, trials in enumerate(drawn.values()) for trace in _traces(ground, trials, place)]
    bar = {"title": {"text": Scale(metric).title, "side": "right"}, "thickness": 12}
    layout = {"coloraxis": {"colorscale": "Viridis", "colorbar": bar}, "showlegend": False}
    margins = {"l": 60, "r": 80, "t": 36, "b": 48}
    figure = make_figure(traces, height=420, margin=margins, **layout, **_panels(ground, list(drawn)))
    title = " and ".join(path.rpartition(".")[2] for path in ground.paths)
    alt = f"{metric} over {' and '.join(ground.paths)}, {' and '.join(drawn)}"
    return Plot("pair", f"Two settings at once: {title}", alt, figure, f"{why} {NOTE if ground.is_smooth else CELLS}")


def _panels(ground: Ground, arms: Sequence[Arm]) -> dict[str, Any]:
    """Return the axes of a panel for each arm, side by side, with its heading."""
    layout: dict[str, Any] = {"annotations": []}
    width = 1.0 if len(arms) == 1 else 0.44
    for place, arm in enumerate(arms):
        number = _number(place)
        left = place * (1 - width)
        layout[f"xaxis{number}"] = {**ground.axis(0), "domain": [left, left + width], "anchor": f"y{number}"}
        layout[f"yaxis{number}"] = {**ground.axis(1), "anchor": f"x{number}"}
        at = {"x": left, "y": 1.02, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom"}
        layout["annotations"].append({"text": arm, "showarrow": False, **at})
    return layout


def _number(place: int) -> str:
    """Return the number of a panel's axes in Plotly's names, which the first does not have."""
    return "" if place == 0 else str(place + 1)


def _traces(ground: Ground, trials: Sequence[TrialRecord], place: int) -> Iterator[Trace]:
    """Yield the surface, and a dot for each trial.

    The surface's `meta` has each trial's number, column, row and result, so that the page can average selected trials.
    """
    scale, axes = Scale(ground.facts.metric), {"xaxis": f"x{_number(place)}", "yaxis": f"y{_number(place)}"}
    where = [ground.position(trial) for trial in trials]
    (x, columns), (y, rows) = (_places(ends) for ends in zip(*where, strict=True))
    values = [scale(trial.best or 0.0) for trial in trials]
    cells = [
        [trial.number, columns[across], rows[up], value]
        for trial, (across, up), value in zip(trials, where, values, strict=True)
    ]
    means = _means(cells, len(x), len(y))
    look = {"coloraxis": "coloraxis", "meta": {"cells": cells}, "hovertemplate": "%{z:.4g}<extra></extra>"}
    if ground.is_smooth:
        yield go.Contour(x=x, y=y, z=means, connectgaps=True, line_width=0.5, **look, **axes)
    else:
        yield go.Heatmap(x=x, y=y, z=means, xgap=2, ygap=2, **look, **axes)
    numbers = [trial.number for trial in trials]
    dots = {"color": INK, "size": 5, "symbol": "circle-open"}
    hover = [f"trial {number}: {value:.4g}" for number, value in zip(numbers, values, strict=True)]
    at = {"x": [across for across, _ in where], "y": [up for _, up in where], "customdata": numbers, "meta": TRIALS}
    yield go.Scatter(mode="markers", marker=dots, text=hover, hovertemplate="%{text}<extra></extra>", **at, **axes)


def _places(values: Iterable[Any]) -> tuple[list[Any], dict[Any, int]]:
    """Return the coordinates of a surface's cells along an axis, and the cell of each value.

    Each value has its own cell, up to `MOST_CELLS`; then neighbours share one, which lies at the middle one of them.

    >>> _places([3, 1, 3])
    ([1, 3], {1: 0, 3: 1})
    """
    distinct = sorted(set(values))
    count = min(len(distinct), MOST_CELLS)
    places = {value: rank * count // len(distinct) for rank, value in enumerate(distinct)}
    members = [list(group) for _, group in groupby(distinct, places.__getitem__)]
    return [group[len(group) // 2] for group in members], places


def _means(cells: Iterable[list[Any]], columns: int, rows: int) -> list[list[float | None]]:
    """Return the mean result of each cell, by row and column; None where there is no trial."""
    found: dict[tuple[int, int], list[float]] = defaultdict(list)
    for _, column, row, value in cells:
        found[row, column].append(value)
    places = [[found.get((row, column)) for column in range(columns)] for row in range(rows)]
    return [[None if values is None else fmean(values) for values in line] for line in places]
