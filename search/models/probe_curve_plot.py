"""`probe_curve.png`: linear probes of each encoder over the epochs, as in the paper's first figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from search.models.probe_curve import ROLES, Line, ProbeCurves, describe_lines
from search.models.probe_plot import COLOURS, GREY
from search.verdict.probe_policy import ProbedRole

LOOKS: dict[ProbedRole, dict[str, Any]] = {
    "modulated": {"color": COLOURS[0], "linestyle": "-", "marker": "o"},
    "baseline": {"color": COLOURS[1], "linestyle": "-", "marker": "s"},
    "alone": {"color": GREY, "linestyle": "--", "marker": "^"},
}
MOST_MARKERS = 30  # largest number of markers of a line


def draw_curves(curves: ProbeCurves, path: Path) -> None:
    """Draw a panel for each modality, and one for the accuracy of the whole models."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    panels = curves.panels
    with rc_context({"text.parse_math": False, "font.size": 10}):
        figure = Figure(figsize=(1.0 + 4.0 * len(panels), 4.8), layout="constrained")  # inches
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        handles: dict[ProbedRole, Any] = {}
        for place, (modality, lines) in zip(axes, panels.items(), strict=True):
            handles |= _draw_panel(place, curves, lines)
            place.set_title("all together" if modality is None else f"{modality}: linear probe")
        axes[0].set_ylabel("accuracy, % of the validation examples")
        shown = [role for role in ROLES if role in handles]
        figure.legend(
            [handles[role] for role in shown],
            [ROLES[role] for role in shown],
            loc="outside upper center",
            ncols=3,
            frameon=False,
        )
        figure.supxlabel(_caption(curves), fontsize=9)
        figure.savefig(path, dpi=150)


def _draw_panel(axes: Any, curves: ProbeCurves, lines: Sequence[Line]) -> dict[ProbedRole, Any]:
    """Draw lines with their bands; return the legend's handle of each role."""
    start, end = curves.window
    axes.axvspan(start, end + 1, color=COLOURS[0], alpha=0.07, linewidth=0)
    handles = {line.role: _draw_line(axes, line) for line in lines}
    axes.set_xlim(0, max(line.epochs[-1] for line in lines) + 0.5)
    axes.set_xlabel("epochs trained")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(color="#e4e8ee", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return handles


def _draw_line(axes: Any, line: Line) -> Any:
    means = 100 * np.array([spread.mean for spread in line.spreads])
    look = LOOKS[line.role]
    every = max(1, len(line.epochs) // MOST_MARKERS)
    [handle] = axes.plot(line.epochs, means, linewidth=2, markersize=4, markevery=every, **look)
    if len(line.seeds) > 1:
        deviations = 100 * np.array([spread.sd for spread in line.spreads])
        axes.fill_between(line.epochs, means - deviations, means + deviations, color=look["color"], alpha=0.2, lw=0)
    return handle


def _caption(curves: ProbeCurves) -> str:
    return f"{describe_lines(curves)} Shaded: the modulation window."
