"""What probes found, as a table and as `probe.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from rich.text import Text
from torch import Tensor

from ogmge.config import Modulation
from ogmge.linear_probe import LinearProbe, Right
from search.experiment.formatting import percent, signed

ALONE = "trained alone"


@dataclass(frozen=True)
class Accuracy:
    """The share of samples that were right, and the 95 % interval of it over other samples (Wilson, 1927)."""

    value: float
    low: float
    high: float


def accuracy(right: Tensor) -> Accuracy:
    """Of answers bool [N]."""
    from scipy.stats import binomtest

    found = binomtest(int(right.sum()), len(right))
    interval = found.proportion_ci(0.95, method="wilson")
    return Accuracy(float(found.statistic), float(interval.low), float(interval.high))


@dataclass(frozen=True)
class Encoder:
    """What is known of one encoder.

    Args:
        checkpoint: that it is from.
        probe: of the linear probe.
        head: of the model's own head, given this modality alone.
        weight_decay: of the probe.
        converged: whether the probe's fit is an optimum.
    """

    checkpoint: Path
    probe: Accuracy
    head: Accuracy
    weight_decay: float
    converged: bool


@dataclass(frozen=True)
class Row:
    """A model; or the encoders that were trained alone, together.

    Args:
        name: for people.
        modulation: that it was trained with.
        fused: of the whole model, where it is one.
        encoders: by modality.
    """

    name: str
    modulation: Modulation
    fused: Accuracy | None
    encoders: Mapping[str, Encoder]


def encoders(checkpoint: Path, probes: Mapping[str, LinearProbe], answers: Right) -> dict[str, Encoder]:
    """Of one checkpoint, by modality."""
    return {
        name: Encoder(
            checkpoint,
            accuracy(answers.probed[name]),
            accuracy(answers.alone[name]),
            probe.weight_decay,
            probe.fit.converged,
        )
        for name, probe in probes.items()
    }


@dataclass(frozen=True)
class Report:
    """All of it.

    Args:
        split: what the accuracies are on.
        examples: how many these are.
        training_examples: how many the probes were fitted to.
        classes: how many there are.
        chance: the share of the most frequent class, which is what an encoder that tells nothing reaches.
        rows: one for each model.
        read: the line that puts the reading of a test split on record.
    """

    split: str
    examples: int
    training_examples: int
    classes: int
    chance: float
    rows: Sequence[Row]
    read: Mapping[str, str] | None

    @property
    def modalities(self) -> list[str]:
        """Of all rows."""
        return list(dict.fromkeys(name for row in self.rows for name in row.encoders))

    @property
    def alone(self) -> Row | None:
        """The encoders that were trained alone."""
        return next((row for row in self.rows if row.name == ALONE), None)


def chance(y: Tensor) -> float:
    """The share of the most frequent class among class ids [N]."""
    return float(torch.bincount(y).max()) / len(y)


def document(report: Report) -> dict[str, Any]:
    """`probe.json`."""
    values = asdict(report)
    for row in values["rows"]:
        for encoder in row["encoders"].values():
            encoder["checkpoint"] = str(encoder["checkpoint"])
    return values


def _line(title: str, cells: Sequence[str]) -> list[Text]:
    return [Text(title), *map(Text, cells)]


def _probes(row: Row, names: Sequence[str]) -> list[str]:
    return [percent(row.encoders[name].probe.value) if name in row.encoders else "-" for name in names]


def _heads(row: Row, names: Sequence[str]) -> list[str]:
    return [percent(row.encoders[name].head.value) if name in row.encoders else "-" for name in names]


def _behind(row: Row, other: Row, names: Sequence[str]) -> list[str]:
    """How far the probes are from those of encoders that were trained alone."""
    pairs = [(row.encoders.get(name), other.encoders.get(name)) for name in names]
    return [signed("accuracy", a.probe.value - b.probe.value) if a and b else "-" for a, b in pairs]


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


def notes(report: Report) -> list[str]:
    """What is to be said beside the table."""
    unfinished = [f"{row.name}, {name}" for row in report.rows for name, e in row.encoders.items() if not e.converged]
    if not unfinished:
        return []
    return [f"the fit of a probe ended before it was at its optimum ({'; '.join(unfinished)}): its accuracy is too low"]
