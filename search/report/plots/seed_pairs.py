"""The confirmation's pairs of seeds, and the differences by class."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from datasets.index.list_files import count
from search.report.facts import ClassChange, Facts
from search.report.plots.plot import COLOURS, INK, KINDS, Plot, Scale, columns, escape, make_figure
from search.verdict.evidence import Pair
from search.verdict.pairs import Role

MOST_CLASSES = 40  # largest number of classes in the plot; the table has all
SEEDS = "Each line is one seed: the same initial weights, order of the data and validation split."
PAIRS = (
    "Validation accuracy, mean over the confirmation's pairs. The 95 % intervals hold for all classes at once; a class "
    "in which all pairs differ by the same amount has no interval."
)
SINGLE = "Validation accuracy of the best trial of each arm: one seed each."
ROLES: dict[Role, str] = {  # role -> colour, in the order of the plot
    "baseline": COLOURS["baseline"],
    "modulated": COLOURS["modulated"],
    "ablation": KINDS[3],
}


def seeds(facts: Facts) -> Plot | None:
    """Return a line for each seed: its baseline training, the modulated one, and the ablation. None without a pair."""
    pairs = [pair for pair in facts.pairs if pair.is_whole]
    if not pairs:
        return None
    scale = Scale(facts.metric)
    traces = [_line(scale, pair, _shared_roles(pairs)) for pair in pairs]
    figure = make_figure(traces, height=380, xaxis_type="category", yaxis_title=scale.title)
    better = sum(pair.values["modulated"] > pair.values["baseline"] for pair in pairs)
    alt = f"{facts.metric} of {count(len(pairs), 'pair')} of seeds; it is higher with modulation in {better} of them"
    note = f"{SEEDS} {_ablation_note(facts)}".rstrip() if "ablation" in _shared_roles(pairs) else SEEDS
    return Plot("seeds", "Each seed without and with modulation", alt, figure, note)


def _ablation_note(facts: Facts) -> str:
    of = None if facts.evidence is None else facts.evidence.ablation_of
    if of is None:
        return ""
    return f"Ablation: the best {of} configuration with its modulation {'off' if of == 'modulated' else 'on'}."


def _shared_roles(pairs: Sequence[Pair]) -> list[Role]:
    """Return the roles in which every pair has a result."""
    shared = set.intersection(*(set(pair.values) for pair in pairs))
    return [role for role in ROLES if role in shared]


def _line(scale: Scale, pair: Pair, roles: Sequence[Role]) -> go.Scatter:
    colours = [ROLES[role] for role in roles]
    look = {"line": {"width": 1.5, "color": INK}, "marker": {"size": 9, "color": colours}, "opacity": 0.75}
    name, values = f"seed {pair.seed}", [scale(pair.values[role]) for role in roles]
    hover = f"{name}: {scale.hover}<extra></extra>"
    return go.Scatter(
        mode="lines+markers", name=name, x=list(roles), y=values, showlegend=False, hovertemplate=hover, **look
    )


def classes_to_show(changes: Sequence[ClassChange]) -> list[ClassChange]:
    """Return the classes that the plot has room for, from the largest gain to the largest loss."""
    order = sorted(changes, key=lambda change: -change.difference)
    if len(order) <= MOST_CLASSES:
        return order
    half = MOST_CLASSES // 2
    return [*order[:half], *order[-half:]]


def classes(facts: Facts) -> Plot | None:
    """Return the difference in accuracy of each class, in points, with its interval over the seeds."""
    drawn = classes_to_show(facts.classes)[::-1]
    if not drawn:
        return None
    axes = {"xaxis_title": "modulated minus baseline, points", "yaxis_type": "category"}
    figure = make_figure([_bars(drawn)], height=140 + 22 * len(drawn), showlegend=False, **axes)
    note = PAIRS if facts.evidence and facts.evidence.classes else SINGLE
    gained = sum(change.difference > 0 for change in facts.classes)
    alt = f"Of {len(facts.classes)} classes, {gained} have a higher accuracy with modulation"
    return Plot("classes", "Difference by class", alt, figure, note)


def _bars(changes: Sequence[ClassChange]) -> go.Bar:
    names, points, colours, shares, halves = columns(map(_bar, changes), 5)
    error = {"array": halves, "color": INK, "thickness": 1, "visible": any(halves)}
    hover = "%{y}: baseline %{customdata[0]} %, modulated %{customdata[1]} %<extra></extra>"
    at = {"x": points, "y": names, "customdata": shares}
    return go.Bar(orientation="h", **at, marker_color=colours, error_x=error, hovertemplate=hover)


def _bar(change: ClassChange) -> tuple[str, float, str, list[float], float]:
    """Return name, length in points, colour, accuracies in per cent, half of the interval (0 if there is none)."""
    colour = COLOURS["modulated" if change.difference > 0 else "baseline"]
    shares = [round(100 * share, 1) for share in (change.baseline, change.modulated)]
    half = 0.0 if change.low is None or change.high is None else round(50 * (change.high - change.low), 2)
    return escape(change.name), round(100 * change.difference, 2), colour, shares, half
