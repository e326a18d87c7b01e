"""Linear probes of each encoder over the epochs, as in the paper's first figure."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from search.models.probe_curve import ROLES, Line, ProbeCurves
from search.report.facts import Facts
from search.report.plots.plot import COLOURS, INK, Plot, escape, make_figure
from search.verdict.probe_policy import ProbedRole

LOOKS: dict[ProbedRole, tuple[str, str, str]] = {  # role -> colour, dash, symbol
    "modulated": (COLOURS["modulated"], "solid", "circle"),
    "baseline": (COLOURS["baseline"], "solid", "square"),
    "alone": (INK, "dash", "triangle-up"),
}


def by_encoder(facts: Facts) -> list[Plot]:
    """Return a plot for each modality, with a line for each training of its encoder; the whole models come last."""
    curves = facts.probe_curves
    if curves is None:
        return []
    return [_plot(curves, number, *panel) for number, panel in enumerate(curves.panels.items())]


def _plot(curves: ProbeCurves, number: int, modality: str | None, lines: Sequence[Line]) -> Plot:
    title = "All together" if modality is None else f"Linear probe of {modality}"
    figure = make_figure(map(_trace, lines), xaxis_title="epochs trained", yaxis_title="accuracy (%)")
    start, end = curves.window
    figure.add_vrect(x0=start, x1=end + 1, fillcolor=COLOURS["modulated"], opacity=0.1, line_width=0, layer="below")
    figure.update_xaxes(range=[0, max(line.epochs[-1] for line in lines) + 0.5])
    ends = ", ".join(f"{ROLES[line.role]} {100 * line.spreads[-1].mean:.1f} %" for line in lines)
    return Plot(f"probe{number}", title, f"{title} over the epochs; after the last: {ends}", figure)


def _trace(line: Line) -> go.Scatter:
    colour, dash, symbol = LOOKS[line.role]
    means = [round(100 * spread.mean, 2) for spread in line.spreads]
    deviations = [None if spread.sd is None else round(100 * spread.sd, 2) for spread in line.spreads]
    name, several = escape(ROLES[line.role]), len(line.seeds) > 1
    spread = " ± %{customdata:.1f}" if several else ""
    return go.Scatter(
        mode="lines+markers",
        name=name,
        x=list(line.epochs),
        y=means,
        customdata=deviations,
        error_y={"array": deviations, "color": colour, "thickness": 1, "width": 3, "visible": several},
        line={"color": colour, "dash": dash, "width": 2},
        marker={"color": colour, "symbol": symbol, "size": 6},
        hovertemplate=f"{name}, after %{{x}} epochs: %{{y:.1f}}{spread} %<extra></extra>",
    )
