"""Linear probes on the screen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from rich.table import Table
from rich.text import Text

from datasets.index.list_files import count
from search.console.tables import plain_table
from search.experiment.formatting import format_difference, percent
from search.models.linear_probe import Encoder, Report, Row


def _line(title: str, cells: Sequence[str]) -> list[Text]:
    return [Text(title), *map(Text, cells)]


def _cells(row: Row, names: Sequence[str], cell: Callable[[str, Encoder], str]) -> list[str]:
    """Return a cell for each modality, a dash if the row lacks it."""
    return [cell(name, row.encoders[name]) if name in row.encoders else "-" for name in names]


def _probe_lead(other: Row, name: str, encoder: Encoder) -> str:
    """Return the accuracy of a probe, minus that of the encoder trained alone, in points."""
    if name not in other.encoders:
        return "-"
    return format_difference("accuracy", encoder.probe.value - other.encoders[name].probe.value, unit=False)


def _add_model(shown: Table, row: Row, names: Sequence[str], alone: Row | None) -> None:
    probes = _cells(row, names, lambda _, encoder: percent(encoder.probe.value))
    heads = _cells(row, names, lambda _, encoder: percent(encoder.head.value))
    shown.add_row(Text(row.name, style="bold"))
    shown.add_row(*_line("  linear probe", [*probes, ""]))
    shown.add_row(*_line("  its own head", [*heads, percent(row.fused.value) if row.fused else ""]), style="dim")
    if alone is not None and row is not alone:
        leads = _cells(row, names, partial(_probe_lead, alone))
        shown.add_row(*_line("  vs trained alone, points", [*leads, ""]))


def table(report: Report) -> Table:
    """Return a block of lines for each model, with a column for each modality."""
    names = report.modalities
    headings = [f"{report.split}, {count(report.examples, 'example')}", *names, "all together"]
    shown = plain_table(headings, names=[0], right=range(1, len(headings)))
    for row in report.rows:
        _add_model(shown, row, names, report.alone)
    shown.add_row(*_line("most frequent class", [percent(report.chance)] * len(names)), style="dim")
    return shown
