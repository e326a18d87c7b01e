"""All settings of each trial and its result, as one line across parallel axes."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from datasets.index.list_files import count
from search.experiment.arms import Arm
from search.experiment.dimensions import Range
from search.experiment.formatting import format_value, label, text
from search.experiment.space import Entry
from search.report.facts import Facts
from search.report.plots.axes import axis_type, ticks
from search.report.plots.plot import COLOURS, Plot, Scale, columns, escape, make_figure
from search.report.plots.selection import TRIALS, group_by_arm, results, trials_with_result
from search.run.trials import TrialRecord

MOST = 250  # trials of each arm, the best ones: a browser filters and draws them quickly
ABSENT = -0.15  # height of trials that do not have a setting
NOTE = (
    "Each line is one trial. Drag a box over an axis to keep only the trials that pass through it, also in the plots "
    "above and in the table; a double click brings all back."
)


@dataclass(frozen=True)
class Axis:
    """One of the parallel axes.

    Args:
        title: name below it.
        entry: entry of the search space, or the range of the results.
    """

    title: str
    entry: Entry

    def height(self, value: Any) -> float:
        """Return the height of a value: from 0 for the lowest number or the first choice to 1; `ABSENT` for others."""
        if axis_type(self.entry) == "category":
            assert not isinstance(self.entry, Range)
            names = [text(choice) for choice in self.entry]
            return names.index(text(value)) / max(len(names) - 1, 1) if text(value) in names else ABSENT
        low, high, own = (math.log10(v) if self._is_log else v for v in (*self._ends, value))
        return round((own - low) / (high - low), 4) if high > low else 0.5

    @property
    def _is_log(self) -> bool:
        return axis_type(self.entry) == "log"

    @property
    def _ends(self) -> tuple[float, float]:
        entry = self.entry
        return (entry.low, entry.high) if isinstance(entry, Range) else (min(entry), max(entry))

    @property
    def labels(self) -> list[tuple[float, str]]:
        """Heights and texts of the ticks."""
        values = ticks(self.entry) or self._ends
        return [(self.height(value), escape(text(value))) for value in values]


def parallel(facts: Facts) -> Plot | None:
    """Return a line for each trial with a result, across the searched settings and the searched metric.

    None for fewer than two trials, or one setting, for which the other plots suffice.
    """
    trials, space = trials_with_result(facts), facts.experiment.space
    if len(trials) < 2 or len(space) < 2:
        return None
    scale = Scale(facts.metric)
    values = [scale(value) for value in results(trials)]
    axes = [*(Axis(escape(path.rpartition(".")[2]), entry) for path, entry in space.items())]
    last = Axis(scale.title, Range(low=min(values), high=max(values)))
    groups, paths = group_by_arm(trials), list(space)
    traces = [_lines(facts, arm, groups[arm], [*zip(paths, axes, strict=True)], last) for arm in groups]
    lacking = {place for trace in traces for place, height in zip(trace.x, trace.y, strict=True) if height == ABSENT}
    figure = make_figure(traces, height=400, dragmode="select", **_layout([*axes, last], lacking))
    shown = sum(min(MOST, len(group)) for group in groups.values())
    alt = f"{count(shown, 'trial')} as lines across {count(len(axes), 'setting')} and {facts.metric}"
    return Plot("parallel", "All settings at once", alt, figure, NOTE)


def _lines(
    facts: Facts, arm: Arm, trials: Sequence[TrialRecord], settings: Sequence[tuple[str, Axis]], last: Axis
) -> go.Scatter:
    """Return an arm's trials as one line with gaps."""
    sign = 1 if facts.experiment.search.objective.mode == "max" else -1
    best = sorted(trials, key=lambda trial: -sign * (trial.best or 0.0))[:MOST]
    points = (point for trial in best for point in _points(Scale(facts.metric), trial, settings, last))
    places, heights, numbers, texts = columns(points, 4)
    look = {"line": {"color": COLOURS[arm], "width": 1.2}, "marker": {"color": COLOURS[arm], "size": 5}, "opacity": 0.6}
    at = {"x": places, "y": heights, "customdata": numbers, "text": texts, "meta": TRIALS}
    hover = f"trial %{{customdata}}, {arm}: %{{text}}<extra></extra>"
    return go.Scatter(mode="lines+markers", name=arm, **at, **look, hovertemplate=hover)


def _points(
    scale: Scale, trial: TrialRecord, settings: Sequence[tuple[str, Axis]], last: Axis
) -> Iterator[tuple[int | None, float | None, int | None, str | None]]:
    """Yield place, height, number and description of a trial at each axis, then a gap."""
    result = trial.best or 0.0
    words = escape(f"{label(trial.changes)}, {format_value(scale.metric, result)}")
    for place, (path, axis) in enumerate(settings):
        there = path in trial.changes
        yield place, axis.height(trial.changes[path]) if there else ABSENT, trial.number, words
    yield len(settings), last.height(scale(result)), trial.number, words
    yield None, None, None, None


def _layout(axes: Sequence[Axis], lacking: Collection[int]) -> dict[str, Any]:
    """Return the parallel axes, which Plotly does not have on a scatter plot: vertical lines with labels.

    Plotly's own parallel coordinates need `eval`, which the page forbids.

    Args:
        axes: the axes, from left to right.
        lacking: places of the axes that some trial has no value on.
    """
    lines = [
        {"type": "line", "x0": place, "x1": place, "y0": 0, "y1": 1, "layer": "below", "line": {"color": "var(--line)"}}
        for place in range(len(axes))
    ]
    labels = [
        {"x": place, "y": height, "text": name, "xanchor": "right", "xshift": -6, "showarrow": False, "font_size": 11}
        for place, axis in enumerate(axes)
        for height, name in [*axis.labels, *[(ABSENT, "none")] * (place in lacking)]
    ]
    titles = [axis.title for axis in axes]
    across = {"tickvals": [*range(len(axes))], "ticktext": titles, "range": [-0.6, len(axes) - 0.8]}
    up = {"visible": False, "range": [ABSENT - 0.08, 1.08], "fixedrange": True}
    still = {"showgrid": False, "zeroline": False, "showline": False, "fixedrange": True}
    return {"xaxis": {**across, **still}, "yaxis": up, "shapes": lines, "annotations": labels}
