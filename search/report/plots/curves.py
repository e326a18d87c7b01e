"""Validation curves of all trials."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import attrgetter

import plotly.graph_objects as go

from datasets.index.list_files import count
from search.experiment.arms import ARMS
from search.experiment.formatting import label
from search.report.facts import Facts
from search.report.plots.axes import better_half
from search.report.plots.plot import COLOURS, INK, Plot, Scale, columns, escape, make_figure
from search.report.plots.selection import TRIALS, best_trials, group_by, results, shade_best_window, trials_with_result
from search.run.trials import TrialRecord

MOST_POINTS = 20_000  # limit for a plot that a browser draws quickly; above it, curves have fewer points
FEWEST = 8  # least number of points of a curve, unless it has fewer epochs
ENDS = {"stopped": ("stopped early", "x-thin"), "failed": ("failed", "star")}  # status -> name, symbol
NOTE = (
    "Thick lines: the best trial of each arm. Crosses: stopped early.{shaded} Select a trial in the table below to "
    "highlight it here."
)
SHADED = " Shaded: the modulation window of the best modulated trial."


def curves(facts: Facts) -> Plot | None:
    """Return the searched metric of every trial over its epochs; None before the first epoch.

    Early stops are marked, the best trials' curves are thick, and the best modulated trial's window is shaded.
    """
    trials = [trial for trial in facts.record if trial.epochs]
    if not trials:
        return None
    scale = Scale(facts.metric)
    traces = [*_all_curves(scale, trials), *_ends(scale, trials), *_best_curves(scale, facts)]
    shown = better_half(scale, results(trials_with_result(facts)), facts.experiment.search.objective.mode)
    axis = {"title": scale.title, **({"range": shown} if shown else {})}
    figure = make_figure(traces, height=460, xaxis_title="epoch", yaxis=axis)
    shade_best_window(figure, facts)
    note = NOTE.format(shaded=SHADED if figure.layout.shapes else "")
    best = ", ".join(f"{arm} {scale(found.value):.4g}" for arm, found in facts.best.items())
    alt = f"{facts.metric} of {count(len(trials), 'trial')} over their epochs; the best: {best}"
    return Plot("curves", "Validation curves of all trials", alt, figure, note, shown is not None)


def _all_curves(scale: Scale, trials: Sequence[TrialRecord]) -> Iterator[go.Scatter]:
    """Yield each arm's curves as one line with gaps, which draws a hundred times faster than one line per trial."""
    most = max(FEWEST, MOST_POINTS // len(trials))
    for arm in reversed(ARMS):
        points = (point for trial in trials if trial.arm == arm for point in _points(scale, trial, most))
        numbers, epochs, values = columns(points, 3)
        look = {"line": {"color": COLOURS[arm], "width": 1}, "marker_size": 3, "opacity": 0.45}
        hover = f"trial %{{customdata}}, {arm}, epoch %{{x}}: {scale.hover}<extra></extra>"
        at = {"x": epochs, "y": values, "customdata": numbers, "meta": TRIALS}
        yield go.Scatter(mode="lines+markers", name=arm, **at, **look, hovertemplate=hover)


def _points(scale: Scale, trial: TrialRecord, most: int) -> Iterator[tuple[int | None, int | None, float | None]]:
    """Yield number, epoch and value of at most `most` epochs, then a gap.

    The epochs are the first, the last, and others evenly between them.
    """
    last = len(trial.epochs) - 1
    steps = max(1, min(last, most - 1))
    for epoch in sorted({round(step * last / steps) for step in range(steps + 1)}):
        yield trial.number, epoch, scale(trial.epochs[epoch][scale.metric])
    yield None, None, None


def _ends(scale: Scale, trials: Sequence[TrialRecord]) -> Iterator[go.Scatter]:
    groups = group_by(trials, attrgetter("status"))
    for status, (name, symbol) in ENDS.items():
        rows = [_end(scale, trial, name) for trial in groups.get(status, [])]
        numbers, epochs, values, texts = columns(rows, 4)
        look = {"symbol": symbol, "size": 7, "color": INK, "line": {"width": 1.5, "color": INK}}
        hover = f"trial %{{customdata}} after epoch %{{x}}, {scale.hover}: %{{text}}<extra></extra>"
        at = {"x": epochs, "y": values, "customdata": numbers, "text": texts, "meta": TRIALS}
        yield go.Scatter(mode="markers", name=name, **at, marker=look, hovertemplate=hover)


def _end(scale: Scale, t: TrialRecord, name: str) -> tuple[int, int, float, str]:
    """Return a trial's number, last epoch, value there, and reason why it ended."""
    text = escape(str(t.reason).splitlines()[0][:160]) if t.reason else name
    return t.number, len(t.epochs) - 1, scale(t.epochs[-1][scale.metric]), text


def _best_curves(scale: Scale, facts: Facts) -> Iterator[go.Scatter]:
    for arm, trial in best_trials(facts).items():
        name = f"best {arm}: trial {trial.number}"
        values = [scale(metrics[scale.metric]) for metrics in trial.epochs]
        line = {"color": COLOURS[arm], "width": 3}
        hover = f"{escape(label(trial.changes))}<br>epoch %{{x}}: {scale.hover}<extra></extra>"
        yield go.Scatter(mode="lines", name=name, x=[*range(len(values))], y=values, line=line, hovertemplate=hover)
