"""Plots of each modality over the epochs: unimodal accuracy, discrepancy ratio, coefficient."""

from __future__ import annotations

import plotly.graph_objects as go

from search.experiment.arms import Arm
from search.experiment.formatting import modalities
from search.report.facts import Facts
from search.report.plots.plot import KINDS, Plot, Scale, escape, make_figure
from search.report.plots.selection import best_trials, shade_best_window
from search.run.trials import TrialRecord

SHOWN = (  # name of the plot, metric (without its modality), title, title of the vertical axis
    ("accuracy", "val/accuracy", "Unimodal accuracy", "val/accuracy (%)"),
    ("ratio", "ratio", "Discrepancy ratio", "ratio, mean per epoch"),
    ("coefficient", "coefficient", "Modulation coefficient", "k, mean per epoch"),
)
DASHES: dict[Arm, str] = {"modulated": "solid", "baseline": "dash"}


def by_modality(facts: Facts) -> list[Plot]:
    """Return a plot of each metric in `SHOWN`: the best modulated trial is solid, the best baseline trial dashed."""
    return [_plot(facts, *shown) for shown in SHOWN] if facts.best else []


def _plot(facts: Facts, key: str, metric: str, title: str, axis: str) -> Plot:
    traces, ends = [], []
    for arm, trial in best_trials(facts).items():
        lines = _lines(trial, metric)
        traces += [_trace(arm, place, name, lines[name]) for place, name in enumerate(lines)]
        ends.append(f"{arm} {', '.join(f'{name} {values[-1]:.3g}' for name, values in lines.items())}")
    figure = make_figure(traces, xaxis_title="epoch", yaxis_title=axis)
    shade_best_window(figure, facts)
    alt = f"{title} over the epochs of the best trial of each arm; at the last epoch: {'; '.join(ends)}"
    return Plot(key, title, alt, figure)


def _lines(trial: TrialRecord, metric: str) -> dict[str, list[float]]:
    """Return the values of each modality over the epochs."""
    scale, names = Scale(metric), modalities(trial.epochs[-1])
    return {name: [scale(metrics[f"{metric}/{name}"]) for metrics in trial.epochs] for name in names}


def _trace(arm: Arm, place: int, modality: str, values: list[float]) -> go.Scatter:
    line = {"color": KINDS[place % len(KINDS)], "dash": DASHES[arm], "width": 2}
    name = f"{escape(modality)}, {arm}"
    return go.Scatter(mode="lines", name=name, x=[*range(len(values))], y=values, line=line)
