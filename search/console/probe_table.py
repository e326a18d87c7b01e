"""Linear probes on the screen."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from search.experiment.formatting import format_difference, percent
from search.models.linear_probe import Report, Row


def _line(title: str, cells: Sequence[str]) -> list[Text]:
    return [Text(title), *map(Text, cells)]


def _probes(row: Row, names: Sequence[str]) -> list[str]:
    return [percent(row.encoders[name].probe.value) if name in row.encoders else "-" for name in names]


def _heads(row: Row, names: Sequence[str]) -> list[str]:
    return [percent(row.encoders[name].head.value) if name in row.encoders else "-" for name in names]


def _behind(row: Row, other: Row, names: Sequence[str]) -> list[str]:
    """How far the probes are from those of encoders that were trained alone."""
    pairs = [(row.encoders.get(name), other.encoders.get(name)) for name in names]
    return [format_difference("accuracy", a.probe.value - b.probe.value) if a and b else "-" for a, b in pairs]


def table(report: Report) -> Table:
    """A block of lines for each model, a column for each modality."""
    names = report.modalities
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    shown.add_column(Text(f"{report.split}, {report.examples} examples"), overflow="fold")
    for heading in (*names, "all together"):
        shown.add_column(Text(heading), justify="right", no_wrap=True)
    for row in report.rows:
        shown.add_row(Text(row.name, style="bold"))
        shown.add_row(*_line("  linear probe", [*_probes(row, names), ""]))
        fused = percent(row.fused.value) if row.fused else ""
        shown.add_row(*_line("  its own head", [*_heads(row, names), fused]), style="dim")
        if report.alone and row is not report.alone:
            shown.add_row(*_line("  probe, less that trained alone", [*_behind(row, report.alone, names), ""]))
    shown.add_row(*_line("most frequent class", [percent(report.chance)] * len(names)), style="dim")
    return shown
