"""What the settings did: alpha by fusion, the window, and every other part of the space."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean, median
from typing import Any

from search.experiment.arms import ARMS, Arm
from search.experiment.formatting import label, text
from search.experiment.space import END, METHOD, START, Range, is_number, with_changes
from search.report.facts import Facts
from search.report.plots.curves import window_of
from search.report.plots.figure import COLOURS, Figure, Scale, escape
from search.run.journal import TrialRecord
from search.verdict.text import TITLES

ALPHA = "modulation.alpha"
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "star", "hexagon", "cross", "pentagon")
NOTE = "Colour: the mean of the trials with this window; the number: how many there were."
COUNT = 6  # the page's colours for kinds


def trials_with_result(facts: Facts) -> list[TrialRecord]:
    """Trials with a result, whether they were trained to the end or stopped early."""
    return [trial for trial in facts.record if trial.status in ("finished", "stopped") and trial.best is not None]


def alpha(facts: Facts) -> Figure | None:
    """The searched metric against alpha, a kind of points for each fusion, with the baseline's band. None where alpha
    was not searched, or nothing has come of it."""
    if ALPHA not in facts.experiment.space:
        return None
    kinds: dict[str, list[TrialRecord]] = {}
    for trial in trials_with_result(facts):
        if trial.arm == "modulated":
            kinds.setdefault(with_changes(facts.experiment.trial, trial.changes).fusion, []).append(trial)
    if not kinds:
        return None
    scale = Scale(facts.metric)
    traces = [_kind(facts, place, name, trials) for place, (name, trials) in enumerate(sorted(kinds.items()))]
    band, said = _band(facts)
    axis: dict[str, Any] = {"title": "alpha"} | ({"type": "log"} if _logarithmic(facts, ALPHA) else {})
    layout = {"xaxis": axis, "yaxis": {"title": scale.title}, "shapes": band}
    count = sum(map(len, kinds.values()))
    alt = f"{facts.metric} of {count} modulated trials against alpha, by fusion. {said}"
    return Figure("alpha", "Strength of the modulation, by fusion", alt, traces, layout, said, 380)


def _kind(facts: Facts, place: int, name: str, trials: list[TrialRecord]) -> dict[str, Any]:
    scale = Scale(facts.metric)
    symbol = SYMBOLS[place % len(SYMBOLS)]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": escape(name),
        "x": [trial.changes[ALPHA] for trial in trials],
        "y": [scale(trial.best or 0.0) for trial in trials],
        "customdata": [trial.number for trial in trials],
        "text": [escape(f"{label(t.changes)}: {len(t.epochs)} epochs, {t.status}") for t in trials],
        "marker": {
            "size": 9,
            "color": f"@kind{place % COUNT}",
            "symbol": [symbol if t.status == "finished" else f"{symbol}-open" for t in trials],
        },
        "hovertemplate": f"trial %{{customdata}}: {scale.hover}<br>%{{text}}<extra></extra>",
    }


def _band(facts: Facts) -> tuple[list[dict[str, Any]], str]:
    """Where the baseline is: its seeds' spread, where it was confirmed, or else its better half of the trials."""
    scale = Scale(facts.metric)
    if facts.verdict is not None and facts.verdict.paired.baseline.sd is not None:
        found = facts.verdict.paired.baseline
        low, high = found.mean - (found.sd or 0.0), found.mean + (found.sd or 0.0)
        said = "The band is the confirmed baseline's mean, one standard deviation of its seeds either way."
    elif baseline := [t.best for t in trials_with_result(facts) if t.arm == "baseline" and t.best is not None]:
        best = facts.best["baseline"].value
        low, high = sorted((median(baseline), best))
        said = "The band is the better half of the unmodulated trials."
    else:
        return [], "No unmodulated trial has a result yet."
    shape = {"type": "rect", "xref": "paper", "yref": "y", "x0": 0, "x1": 1, "y0": scale(low), "y1": scale(high)}
    look = {"fillcolor": "@baseline", "opacity": 0.2, "line": {"width": 0}, "layer": "below"}
    return [shape | look], said


def _logarithmic(facts: Facts, path: str) -> bool:
    """Whether a part of the space is best seen so: where it is searched so, or its choices are far apart."""
    entry = facts.experiment.space[path]
    if isinstance(entry, Range):
        return entry.log
    return all(is_number(v) and v > 0 for v in entry) and max(entry) >= 10 * min(entry)


def window(facts: Facts) -> Figure | None:
    """The searched metric by first and last epoch of the window: the mean of the trials that had it. None where there
    was one window only."""
    found: dict[tuple[int, int], list[float]] = {}
    for trial in trials_with_result(facts):
        if (where := window_of(facts, trial)) is not None and trial.arm == "modulated":
            found.setdefault(where, []).append(trial.best or 0.0)
    if len(found) < 2:
        return None
    scale = Scale(facts.metric)
    means = {where: scale(fmean(values)) for where, values in found.items()}
    trace = {
        "type": "scatter",
        "mode": "markers+text",
        "x": [start for start, _ in means],
        "y": [end for _, end in means],
        "text": [str(len(values)) for values in found.values()],
        "textposition": "middle right",
        "customdata": list(means.values()),
        "marker": {
            "symbol": "square",
            "size": 20,
            "color": list(means.values()),
            "colorscale": "Viridis",
            "showscale": True,
            "colorbar": {"title": {"text": scale.title, "side": "right"}, "thickness": 12},
        },
        "hovertemplate": "epochs %{x} to %{y}: mean %{customdata:.4g} of %{text} trials<extra></extra>",
    }
    layout = {
        "xaxis": {"title": "first epoch with modulation"},
        "yaxis": {"title": "last epoch"},
        "showlegend": False,
    }
    better = max if facts.experiment.search.objective.mode == "max" else min
    start, end = better(means, key=lambda where: means[where])
    alt = (
        f"Mean {facts.metric} of the trials with each of {len(means)} windows; the best mean at epochs {start} to {end}"
    )
    return Figure("window", "The window: first and last epoch", alt, [trace], layout, NOTE, 380)


def slices(facts: Facts) -> list[Figure]:
    """The searched metric against every part of the space but alpha and the window, both arms."""
    paths = [path for path in facts.experiment.space if path not in (ALPHA, METHOD, START, END)]
    found = [_slice(facts, place, path) for place, path in enumerate(paths)]
    return [figure for figure in found if figure.traces]


def _slice(facts: Facts, place: int, path: str) -> Figure:
    trials = [trial for trial in trials_with_result(facts) if path in trial.changes]
    numbers = all(is_number(trial.changes[path]) for trial in trials)
    traces = [_points(facts, path, [t for t in trials if t.arm == arm], arm, numbers) for arm in reversed(ARMS)]
    axis: dict[str, Any] = {"title": escape(path)}
    axis |= {"type": "log" if _logarithmic(facts, path) else "linear"} if numbers else {"type": "category"}
    layout = {"xaxis": axis, "yaxis": {"title": Scale(facts.metric).title}}
    alt = f"{facts.metric} of {len(trials)} trials against {path}{_by_value(facts, path, trials)}"
    return Figure(f"slice{place}", path, alt, [t for t in traces if t["x"]], layout, height=300)


def _points(facts: Facts, path: str, listed: list[TrialRecord], arm: Arm, numbers: bool) -> dict[str, Any]:
    scale, symbol = Scale(facts.metric), "circle" if arm == "modulated" else "square"
    values = [t.changes[path] for t in listed]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": TITLES[arm],
        "x": values if numbers else [escape(text(value)) for value in values],
        "y": [scale(t.best or 0.0) for t in listed],
        "customdata": [t.number for t in listed],
        "marker": {
            "size": 8,
            "color": COLOURS[arm],
            "symbol": [symbol if t.status == "finished" else f"{symbol}-open" for t in listed],
        },
        "hovertemplate": f"trial %{{customdata}}, {TITLES[arm]}: {scale.hover}<extra></extra>",
    }


def _by_value(facts: Facts, path: str, trials: Iterable[TrialRecord]) -> str:
    """Means by value, where these are few."""
    values: dict[str, list[float]] = {}
    for trial in trials:
        values.setdefault(text(trial.changes[path]), []).append(trial.best or 0.0)
    if len(values) > COUNT:
        return ""
    scale = Scale(facts.metric)
    return ": means " + ", ".join(f"{name} {scale(fmean(found)):.4g}" for name, found in sorted(values.items()))
