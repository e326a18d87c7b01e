"""Linear probes over the epochs on the screen: progress and results."""

from __future__ import annotations

from rich.table import Table

from search.console.progress import View
from search.console.tables import add_row, plain_table
from search.experiment.formatting import duration
from search.models.probe_curve import ROLES, Line, ProbeCurves
from search.run.trials import TrialRecord
from search.tuner.tuner import Tuner
from search.verdict.probe_policy import probed_of
from search.verdict.seeds import SEED
from search.verdict.text import format_spread


def of_probes(tuner: Tuner) -> View:
    """Return the view of trainings with linear probes."""
    return View(
        f"{tuner.experiment.name}, probes",
        "training",
        _title,
        _title,
        lambda: [],
        lambda: [],
        "model",
    )


def _title(trial: TrialRecord) -> str:
    """Return what a training trains, and its seed."""
    return f"{probed_of(trial)}, seed {trial.changes[SEED]}"


def curve_headline(curves: ProbeCurves, seconds: float) -> str:
    """Return the heading of the table."""
    seeds = len(curves.seeds)
    figures = "one seed" if seeds == 1 else f"mean ± standard deviation of {seeds} seeds"
    return f"{curves.experiment}, probed: accuracy after the last epoch, {figures}, in {duration(seconds)}"


def curve_table(curves: ProbeCurves) -> Table:
    """Return the accuracies after the last epoch: a row for each modality, and one for the whole models."""
    table = plain_table(["", *ROLES.values()], right=range(1, 1 + len(ROLES)))
    for modality, lines in curves.panels.items():
        title = "all together" if modality is None else f"{modality} probe"
        final = {line.role: _final(line, curves) for line in lines}
        add_row(table, [title, *(final.get(role, "-") for role in ROLES)])
    return table


def _final(line: Line, curves: ProbeCurves) -> str:
    """Return the last point, with its number of seeds if some are missing."""
    text = format_spread("accuracy", line.spreads[-1])
    return text if len(line.seeds) == len(curves.seeds) else f"{text} (n={len(line.seeds)})"
