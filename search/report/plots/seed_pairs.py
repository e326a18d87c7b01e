"""The confirmation's seeds, pair by pair, and what changed class by class."""

from __future__ import annotations

from typing import Any

from search.report.facts import ClassChange, Facts
from search.report.plots.figure import Figure, Scale, escape
from search.verdict.pairs import Role

MOST_CLASSES = 40  # in the plot: of more, those with the largest changes; the table has all
SEEDS = "Each line is one seed: the same first weights, the same order of the data, the same validation split."
PAIRS = (
    "Validation samples, means of the confirmation's pairs. The intervals hold for all classes at once; a class whose "
    "pairs all differ by the same has none."
)
SINGLE = "Validation samples, of the best trial of each arm: one seed each."
ROLES: dict[Role, str] = {"baseline": "unmodulated", "modulated": "modulated", "ablation": "the better one, switched"}


def seeds(facts: Facts) -> Figure | None:
    """A line for each pair of seeds, from the unmodulated to the modulated training of it, and to the ablation."""
    pairs = [pair for pair in facts.pairs if pair.is_whole]
    if not pairs:
        return None
    scale = Scale(facts.metric)
    roles = [role for role in ROLES if all(role in pair.values for pair in pairs)]
    traces = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": f"seed {pair.seed}",
            "x": [ROLES[role] for role in roles],
            "y": [scale(pair.values[role]) for role in roles],
            "line": {"width": 1.5, "color": "@ink"},
            "marker": {"size": 9, "color": [f"@{'kind3' if role == 'ablation' else role}" for role in roles]},
            "opacity": 0.75,
            "showlegend": False,
            "hovertemplate": f"seed {pair.seed}: {scale.hover}<extra></extra>",
        }
        for pair in pairs
    ]
    better = sum(pair.values["modulated"] > pair.values["baseline"] for pair in pairs)
    alt = f"{facts.metric} of {len(pairs)} pairs of seeds; with modulation it is higher in {better} of them"
    layout = {"yaxis": {"title": scale.title}, "xaxis": {"type": "category"}}
    return Figure("seeds", "The same seeds, without and with modulation", alt, traces, layout, SEEDS, 380)


def classes_to_show(changes: list[ClassChange]) -> list[ClassChange]:
    """Those that the plot has room for, from the one that gained most to the one that lost most."""
    order = sorted(changes, key=lambda change: -change.difference)
    if len(order) <= MOST_CLASSES:
        return order
    half = MOST_CLASSES // 2
    return [*order[:half], *order[-half:]]


def classes(facts: Facts) -> Figure | None:
    """How much more, or less, of each class is right with modulation, in points, with the seeds' interval."""
    drawn = classes_to_show(facts.classes)[::-1]
    if not drawn:
        return None
    trace: dict[str, Any] = {
        "type": "bar",
        "orientation": "h",
        "y": [escape(change.name) for change in drawn],
        "x": [round(100 * change.difference, 2) for change in drawn],
        "marker": {"color": ["@modulated" if change.difference > 0 else "@baseline" for change in drawn]},
        "customdata": [[round(100 * change.baseline, 1), round(100 * change.modulated, 1)] for change in drawn],
        "hovertemplate": "%{y}: %{customdata[0]} % without, %{customdata[1]} % with<extra></extra>",
    }
    halves = [0.0 if change.low is None or change.high is None else change.high - change.low for change in drawn]
    if any(halves):
        half = [50 * whole for whole in halves]
        trace["error_x"] = {
            "type": "data",
            "array": [round(value, 2) for value in half],
            "color": "@ink",
            "thickness": 1,
        }
    note = PAIRS if facts.evidence and facts.evidence.classes else SINGLE
    gained = sum(change.difference > 0 for change in facts.classes)
    alt = f"Of {len(facts.classes)} classes {gained} are recognised more often with modulation"
    layout = {
        "xaxis": {"title": "points more with modulation", "zeroline": True},
        "yaxis": {"automargin": True, "type": "category"},
        "showlegend": False,
    }
    return Figure("classes", "Class by class", alt, [trace], layout, note, 140 + 22 * len(drawn))
