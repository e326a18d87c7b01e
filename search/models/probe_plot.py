"""`probe.png`: linear probes of each encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from search.models.linear_probe import Report, Row

# Okabe and Ito's palette
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
GREY = "#999999"  # colour of encoders trained alone
INK = "#222222"
LONGEST = 40  # largest number of characters of a name


def _title(row: Row) -> str:
    name = row.name if len(row.name) <= LONGEST else f"…{row.name[1 - LONGEST :]}"
    return name if row.fused is None else f"{name} (all together {100 * row.fused.value:.1f} %)"


def draw(report: Report, path: Path) -> None:
    """Draw a bar for each modality and model, with its interval, the own head's accuracy, and the chance level."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    names, count = report.modalities, len(report.rows)
    size = (max(6.0, 1.6 + len(names) * (0.7 * count + 0.6)), 4.6 + 0.24 * count)  # inches
    with rc_context({"text.parse_math": False, "font.size": 10}):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        handles = _bars(axes, report)
        level = 100 * report.chance
        handles.append(axes.axhline(level, color=INK, linestyle="--", linewidth=1))
        axes.set_xticks(range(len(names)), names)
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.set_ylim(0, 112)
        axes.set_yticks(range(0, 101, 20))
        axes.set_xlabel("modality")
        axes.set_ylabel(f"accuracy, % of {report.examples} {report.split} examples")
        axes.set_title("Linear probes of frozen encoders, with 95 % intervals")
        axes.spines[["top", "right"]].set_visible(False)
        titles = [_title(row) for row in report.rows]
        said = [*titles, "the model's own head, given this modality alone", f"most frequent class, {level:.1f} %"]
        figure.legend(handles, said, loc="outside lower center", frameon=False)
        figure.savefig(path, dpi=150)


def _bars(axes: Any, report: Report) -> list[Any]:
    """Draw the bars; return the legend's handles: one for each row, and one for the heads."""
    width, handles = 0.8 / len(report.rows), []
    for number, row in enumerate(report.rows):
        colour = GREY if row is report.alone else COLOURS[number % len(COLOURS)]
        offset = (number - (len(report.rows) - 1) / 2) * width
        places = [report.modalities.index(name) + offset for name in row.encoders]
        bars, marks = _row_bars(axes, row, places, width, colour)
        handles.append(bars)
    return [*handles, marks]


def _row_bars(axes: Any, row: Row, places: list[float], width: float, colour: str) -> tuple[Any, Any]:
    """Draw a row at places on the x axis; return its bars and the marks of the heads."""
    encoders = row.encoders.values()
    shares = [(e.probe.value, e.probe.low, e.probe.high, e.head.value) for e in encoders]
    values, low, high, heads = 100 * np.array(shares).T
    bars = axes.bar(places, values, 0.92 * width, color=colour)
    axes.errorbar(places, values, [values - low, high - values], fmt="none", ecolor=INK, elinewidth=1, capsize=3)
    marks = axes.scatter(places, heads, s=34, marker="D", color="white", edgecolor=INK, zorder=3)
    for place, value, top in zip(places, values, np.maximum(high, heads + 1.5), strict=True):
        axes.text(place, top + 1.5, f"{value:.1f}", ha="center", va="bottom")
    return bars, marks
