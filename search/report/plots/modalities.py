"""What the modulation does to each modality: accuracy alone, discrepancy ratio, coefficient, over the epochs."""

from __future__ import annotations

from typing import Any

from search.experiment.arms import ARMS, Arm
from search.experiment.formatting import modalities
from search.report.facts import Facts
from search.report.plots.curves import window_of
from search.report.plots.effects import COUNT
from search.report.plots.figure import Figure, escape, shade
from search.verdict.text import TITLES

SHOWN = (
    ("accuracy", "val/accuracy/{}", "Accuracy of each modality alone", "val/accuracy (%)", 100.0),
    ("ratio", "ratio/{}", "Discrepancy ratio of each modality", "ratio, mean of an epoch", 1.0),
    ("coefficient", "coefficient/{}", "Coefficient of each encoder's gradients", "k, mean of an epoch", 1.0),
)
DASHES: dict[Arm, str] = {"modulated": "solid", "baseline": "dash"}


def by_modality(facts: Facts) -> list[Figure]:
    """A plot of each, the best modulated trial's lines solid and the best unmodulated one's dashed."""
    if not facts.best:
        return []
    trial = facts.best["modulated"].trial if "modulated" in facts.best else None
    window = window_of(facts, trial) if trial is not None else None
    return [_figure(facts, *which, window) for which in SHOWN]


def _figure(
    facts: Facts, name: str, key: str, title: str, axis: str, factor: float, window: tuple[int, int] | None
) -> Figure:
    traces, said = [], []
    for arm in reversed(ARMS):
        if arm in facts.best:
            names = modalities(facts.best[arm].metrics)
            traces += [_line(facts, arm, modality, place, key, factor) for place, modality in enumerate(names)]
            last = facts.best[arm].trial.epochs[-1]
            ends = ", ".join(f"{modality} {factor * last[key.format(modality)]:.3g}" for modality in names)
            said.append(f"{TITLES[arm]} {ends}")
    layout: dict[str, Any] = {
        "xaxis": {"title": "epoch"},
        "yaxis": {"title": axis},
        "shapes": [shade(window)] if window else [],
    }
    alt = f"{title} over the epochs of the best trial of each arm; at the last epoch: {'; '.join(said)}"
    return Figure(name, title, alt, traces, layout)


def _line(facts: Facts, arm: Arm, modality: str, place: int, key: str, factor: float) -> dict[str, Any]:
    trial = facts.best[arm].trial
    return {
        "type": "scatter",
        "mode": "lines",
        "name": f"{escape(modality)}, {TITLES[arm]}",
        "x": [int(metrics["epoch"]) for metrics in trial.epochs],
        "y": [round(factor * metrics[key.format(modality)], 4) for metrics in trial.epochs],
        "line": {"color": f"@kind{place % COUNT}", "dash": DASHES[arm], "width": 2},
    }
