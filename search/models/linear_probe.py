"""What probes found, as values and as `probe.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ogmge.config import Modulation
from ogmge.linear_probe import LinearProbe, Right

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
        name: to print.
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
            accuracy(answers.unimodal[name]),
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


def notes(report: Report) -> list[str]:
    """What is to be said beside the table."""
    unfinished = [f"{row.name}, {name}" for row in report.rows for name, e in row.encoders.items() if not e.converged]
    if not unfinished:
        return []
    return [f"the fit of a probe ended before it was at its optimum ({'; '.join(unfinished)}): its accuracy is too low"]
