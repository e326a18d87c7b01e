"""Results of linear probes, as values and as `probe.json`."""

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
    """Accuracy as a share of 1, with its 95 % interval over other samples (Wilson, 1927)."""

    value: float
    low: float
    high: float


def accuracy(right: Tensor) -> Accuracy:
    """Return the accuracy of N predictions, given whether each is correct, bool [N]."""
    from scipy.stats import binomtest

    found = binomtest(int(right.sum()), len(right))
    interval = found.proportion_ci(0.95, method="wilson")
    return Accuracy(float(found.statistic), float(interval.low), float(interval.high))


@dataclass(frozen=True)
class Encoder:
    """Results of one encoder.

    Args:
        checkpoint: file that holds the encoder.
        probe: accuracy of the linear probe.
        head: accuracy of the model's own head, given this modality alone.
        weight_decay: weight decay of the probe.
        converged: whether the probe's fit reached its optimum.
    """

    checkpoint: Path
    probe: Accuracy
    head: Accuracy
    weight_decay: float
    converged: bool


@dataclass(frozen=True)
class Row:
    """Results of a model, or of the encoders that were trained alone.

    Args:
        name: name as it is printed.
        modulation: modulation of the training.
        fused: accuracy of the whole model; None for encoders trained alone.
        encoders: results of the encoders, by modality.
    """

    name: str
    modulation: Modulation
    fused: Accuracy | None
    encoders: Mapping[str, Encoder]


def encoders(checkpoint: Path, probes: Mapping[str, LinearProbe], answers: Right) -> dict[str, Encoder]:
    """Return the results of a checkpoint's encoders, by modality."""
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
    """Results of `probe`.

    Args:
        split: split that the accuracies were measured on.
        examples: number of examples in it.
        training_examples: number of examples that the probes were fitted to.
        classes: number of classes.
        chance: share of the most frequent class: the accuracy that needs no features.
        rows: results of each model, and of the encoders trained alone.
        read: line of test_readings.jsonl that logs this reading; None for the validation split.
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
        """Modalities of all rows."""
        return list(dict.fromkeys(name for row in self.rows for name in row.encoders))

    @property
    def alone(self) -> Row | None:
        """Row of the encoders that were trained alone; None if there is none."""
        return next((row for row in self.rows if row.name == ALONE), None)


def chance(y: Tensor) -> float:
    """Return the share of the most frequent class among class ids [N]."""
    return float(torch.bincount(y).max()) / len(y)


def document(report: Report) -> dict[str, Any]:
    """Return the content of `probe.json`."""
    values = asdict(report)
    for row in values["rows"]:
        for encoder in row["encoders"].values():
            encoder["checkpoint"] = str(encoder["checkpoint"])
    return values


def notes(report: Report) -> list[str]:
    """Return the notes below the table."""
    unfinished = [f"{row.name}, {name}" for row in report.rows for name, e in row.encoders.items() if not e.converged]
    if not unfinished:
        return []
    fits = "the fit of a probe" if len(unfinished) == 1 else "the fits of some probes"
    return [f"{fits} did not converge ({'; '.join(unfinished)}): a converged probe may be more accurate"]
