"""The validation curves of all trials."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from search.experiment.arms import ARMS, Arm
from search.experiment.formatting import label
from search.experiment.space import END, METHOD, START, with_changes
from search.report.facts import Facts
from search.report.plots.figure import COLOURS, Figure, Scale, escape, shade
from search.run.journal import TrialRecord
from search.verdict.text import TITLES

MOST_POINTS = 20_000  # that a browser draws at once; of more trials each curve has fewer points
FEWEST = 8
NOTE = (
    "Thick: the best of each arm. Crosses: stopped early. Shaded: the window of the best modulated trial, or of the "
    "one that was chosen in the table below."
)


def curves(facts: Facts) -> Figure | None:
    """The searched metric of every trial over its epochs, early stops marked, the best trials' curves strong, and the
    best modulated one's window shaded. None before the first epoch."""
    drawn = [trial for trial in facts.record if trial.epochs]
    if not drawn:
        return None
    scale, most = Scale(facts.metric), max(FEWEST, MOST_POINTS // len(drawn))
    traces = [_all(facts, arm, [t for t in drawn if t.arm == arm], most) for arm in reversed(ARMS)]
    traces += [
        _ends(facts, "stopped", "stopped early", "x-thin", drawn),
        _ends(facts, "failed", "failed", "star", drawn),
    ]
    traces += [_best(facts, arm) for arm in reversed(ARMS) if arm in facts.best]
    window = window_of(facts, facts.best["modulated"].trial) if "modulated" in facts.best else None
    layout: dict[str, Any] = {
        "xaxis": {"title": "epoch"},
        "yaxis": {"title": scale.title},
        "shapes": [shade(window)] if window else [],
    }
    best = ", ".join(f"{TITLES[arm]} {scale(found.value):.4g}" for arm, found in facts.best.items())
    alt = f"{facts.metric} of {len(drawn)} trials over their epochs; the best: {best}"
    return Figure("curves", "Validation curves of all trials", alt, [t for t in traces if t["x"]], layout, NOTE, 460)


def window_of(facts: Facts, trial: TrialRecord) -> tuple[int, int] | None:
    """First and last epoch with modulation; None where a trial has none."""
    changes = {path: v for path, v in trial.changes.items() if path in (METHOD, START, END)}
    modulation = with_changes(facts.experiment.trial, changes).modulation
    return None if modulation.method == "none" else (modulation.start, modulation.end)


def _all(facts: Facts, arm: Arm, trials: Iterable[TrialRecord], most: int) -> dict[str, Any]:
    """All curves of an arm as one line with gaps, which is drawn a hundred times as fast as a line each."""
    scale = Scale(facts.metric)
    x: list[int | None] = []
    y: list[float | None] = []
    numbers: list[int | None] = []
    for trial in trials:
        epochs = _some(trial, most)
        x += [*epochs, None]
        y += [*(scale(trial.epochs[epoch][facts.metric]) for epoch in epochs), None]
        numbers += [*([trial.number] * len(epochs)), None]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": TITLES[arm],
        "x": x,
        "y": y,
        "customdata": numbers,
        "line": {"color": COLOURS[arm], "width": 1},
        "marker": {"size": 3, "color": COLOURS[arm]},
        "opacity": 0.45,
        "hovertemplate": f"trial %{{customdata}}, {TITLES[arm]}, epoch %{{x}}: {scale.hover}<extra></extra>",
    }


def _some(trial: TrialRecord, most: int) -> list[int]:
    """Epochs of a trial that are drawn: the first and last, and those between, evenly, as many as there is room for."""
    count = len(trial.epochs)
    if count <= most:
        return list(range(count))
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)})


def _ends(facts: Facts, status: str, name: str, symbol: str, trials: Iterable[TrialRecord]) -> dict[str, Any]:
    scale = Scale(facts.metric)
    ended = [trial for trial in trials if trial.status == status]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [len(t.epochs) - 1 for t in ended],
        "y": [scale(t.epochs[-1][facts.metric]) for t in ended],
        "customdata": [t.number for t in ended],
        "text": [escape(str(t.reason).splitlines()[0][:160]) if t.reason else name for t in ended],
        "marker": {"symbol": symbol, "size": 7, "color": "@ink", "line": {"width": 1.5, "color": "@ink"}},
        "hovertemplate": f"trial %{{customdata}} after epoch %{{x}}, {scale.hover}: %{{text}}<extra></extra>",
    }


def _best(facts: Facts, arm: Arm) -> dict[str, Any]:
    scale, trial = Scale(facts.metric), facts.best[arm].trial
    return {
        "type": "scatter",
        "mode": "lines",
        "name": f"best {TITLES[arm]}: trial {trial.number}",
        "x": [int(metrics["epoch"]) for metrics in trial.epochs],
        "y": [scale(metrics[facts.metric]) for metrics in trial.epochs],
        "line": {"color": COLOURS[arm], "width": 3},
        "hovertemplate": f"{escape(label(trial.changes))}<br>epoch %{{x}}: {scale.hover}<extra></extra>",
    }
