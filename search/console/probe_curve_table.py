"""Linear probes over the epochs, on the screen: while the trainings run, and what came out."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from search.console.progress import View
from search.experiment.formatting import duration
from search.models.probe_curve import ROLES, Line, ProbeCurves
from search.tuner.tuner import Tuner
from search.verdict.probe_policy import probe_title
from search.verdict.text import format_spread


def of_probes(tuner: Tuner) -> View:
    """How trainings that are probed are shown."""
    return View(
        f"{tuner.experiment.name}, probes",
        "trainings",
        lambda trial: f"{probe_title(trial)} seed={trial.changes['seed']}",
        lambda: [],
        lambda: [],
    )


def curve_headline(curves: ProbeCurves, seconds: float) -> str:
    """What the table is of."""
    count = len(curves.seeds)
    figures = "one seed" if count == 1 else f"mean ± standard deviation of {count} seeds"
    return f"{curves.experiment}, probed: {figures}, after the last epoch, in {duration(seconds)}"


def curve_table(curves: ProbeCurves) -> Table:
    """Return the accuracies after the last epoch: a row for each modality, and one for the whole models."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    table.add_column("", overflow="fold")
    for heading in ROLES.values():
        table.add_column(heading, justify="right", overflow="fold")
    for modality, lines in curves.panels.items():
        title = "all together" if modality is None else f"{modality}, linear probe"
        final = {line.role: _final(line, curves) for line in lines}
        table.add_row(Text(title, style="dim"), *(Text(final.get(role, "-")) for role in ROLES))
    return table


def _final(line: Line, curves: ProbeCurves) -> str:
    """The last point, with its number of seeds where that is not all of them."""
    text = format_spread("accuracy", line.spreads[-1])
    return text if len(line.seeds) == len(curves.seeds) else f"{text} ({len(line.seeds)} of {len(curves.seeds)} seeds)"
