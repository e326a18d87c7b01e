"""`probe.png`: how good each encoder is by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from search.models.linear_probe import Report, Row

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")  # Okabe and Ito's, told apart
GREY = "#999999"  # of what was trained alone
INK = "#222222"
LONGEST = 40  # letters of a name


def _title(row: Row) -> str:
    name = row.name if len(row.name) <= LONGEST else f"…{row.name[1 - LONGEST :]}"
    return name if row.fused is None else f"{name} (all together {100 * row.fused.value:.1f} %)"


def draw(report: Report, path: Path) -> None:
    """Bars by modality, one for each model, with 95 % intervals, the heads' own accuracies, and the chance level."""
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
    """Draws them; returns what stands for each row in the legend, and for the heads."""
    names, count = report.modalities, len(report.rows)
    width, handles = 0.8 / count, []
    for number, row in enumerate(report.rows):
        colour = GREY if row is report.alone else COLOURS[number % len(COLOURS)]
        places = [names.index(name) + (number - (count - 1) / 2) * width for name in row.encoders]
        probes = [encoder.probe for encoder in row.encoders.values()]
        heads = [100 * encoder.head.value for encoder in row.encoders.values()]
        values = [100 * probe.value for probe in probes]
        reach = [[100 * (p.value - p.low) for p in probes], [100 * (p.high - p.value) for p in probes]]
        handles.append(axes.bar(places, values, 0.92 * width, color=colour))
        axes.errorbar(places, values, reach, fmt="none", ecolor=INK, elinewidth=1, capsize=3)
        marks = axes.scatter(places, heads, s=34, marker="D", color="white", edgecolor=INK, zorder=3)
        for place, value, probe, head in zip(places, values, probes, heads, strict=True):
            top = max(100 * probe.high, head + 1.5)
            axes.text(place, top + 1.5, f"{value:.1f}", ha="center", va="bottom")
    return [*handles, marks]
