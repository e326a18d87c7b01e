"""The confirmation's seeds, pair by pair, and what changed class by class."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from search.report.facts import ClassChange, Facts
from search.report.plots.plot import COLOURS, INK, KINDS, Plot, Scale, columns, escape, make_figure
from search.verdict.evidence import Pair
from search.verdict.pairs import Role

MOST_CLASSES = 40  # in the plot: of more, those with the largest changes; the table has all
SEEDS = "Each line is one seed: the same first weights, the same order of the data, the same validation split."
PAIRS = (
    "Validation samples, means of the confirmation's pairs. The intervals hold for all classes at once; a class whose "
    "pairs all differ by the same has none."
)
SINGLE = "Validation samples, of the best trial of each arm: one seed each."
ROLES: dict[Role, tuple[str, str]] = {  # role -> its name, its colour
    "baseline": ("unmodulated", COLOURS["baseline"]),
    "modulated": ("modulated", COLOURS["modulated"]),
    "ablation": ("the better one, switched", KINDS[3]),
}


def seeds(facts: Facts) -> Plot | None:
    """A line for each pair of seeds, from the unmodulated to the modulated training of it, and to the ablation."""
    pairs = [pair for pair in facts.pairs if pair.is_whole]
    if not pairs:
        return None
    scale = Scale(facts.metric)
    traces = [_line(scale, pair, _shared_roles(pairs)) for pair in pairs]
    figure = make_figure(traces, height=380, xaxis_type="category", yaxis_title=scale.title)
    better = sum(pair.values["modulated"] > pair.values["baseline"] for pair in pairs)
    alt = f"{facts.metric} of {len(pairs)} pairs of seeds; with modulation it is higher in {better} of them"
    return Plot("seeds", "The same seeds, without and with modulation", alt, figure, SEEDS)


def _shared_roles(pairs: Sequence[Pair]) -> list[Role]:
    """Those that every pair has a result of."""
    shared = set.intersection(*(set(pair.values) for pair in pairs))
    return [role for role in ROLES if role in shared]


def _line(scale: Scale, pair: Pair, roles: Sequence[Role]) -> go.Scatter:
    names, colours = columns([ROLES[role] for role in roles], 2)
    look = {"line": {"width": 1.5, "color": INK}, "marker": {"size": 9, "color": colours}, "opacity": 0.75}
    name, values = f"seed {pair.seed}", [scale(pair.values[role]) for role in roles]
    hover = f"{name}: {scale.hover}<extra></extra>"
    return go.Scatter(mode="lines+markers", name=name, x=names, y=values, showlegend=False, hovertemplate=hover, **look)


def classes_to_show(changes: Sequence[ClassChange]) -> list[ClassChange]:
    """Those that the plot has room for, from the one that gained most to the one that lost most."""
    order = sorted(changes, key=lambda change: -change.difference)
    if len(order) <= MOST_CLASSES:
        return order
    half = MOST_CLASSES // 2
    return [*order[:half], *order[-half:]]


def classes(facts: Facts) -> Plot | None:
    """How much more, or less, of each class is right with modulation, in points, with the seeds' interval."""
    drawn = classes_to_show(facts.classes)[::-1]
    if not drawn:
        return None
    axes = {"xaxis_title": "points more with modulation", "yaxis_type": "category"}
    figure = make_figure([_bars(drawn)], height=140 + 22 * len(drawn), showlegend=False, **axes)
    note = PAIRS if facts.evidence and facts.evidence.classes else SINGLE
    gained = sum(change.difference > 0 for change in facts.classes)
    alt = f"Of {len(facts.classes)} classes {gained} are recognised more often with modulation"
    return Plot("classes", "Class by class", alt, figure, note)


def _bars(changes: Sequence[ClassChange]) -> go.Bar:
    names, points, colours, shares, halves = columns(map(_bar, changes), 5)
    error = {"array": halves, "color": INK, "thickness": 1, "visible": any(halves)}
    hover = "%{y}: %{customdata[0]} % without, %{customdata[1]} % with<extra></extra>"
    at = {"x": points, "y": names, "customdata": shares}
    return go.Bar(orientation="h", **at, marker_color=colours, error_x=error, hovertemplate=hover)


def _bar(change: ClassChange) -> tuple[str, float, str, list[float], float]:
    """Its name, length in points, colour, what is right in per cent, half of the interval (0 where there is none)."""
    colour = COLOURS["modulated" if change.difference > 0 else "baseline"]
    shares = [round(100 * share, 1) for share in (change.baseline, change.modulated)]
    half = 0.0 if change.low is None or change.high is None else round(50 * (change.high - change.low), 2)
    return escape(change.name), round(100 * change.difference, 2), colour, shares, half
