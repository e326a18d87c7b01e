"""Rows of the result, and the sizes of what is measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from benchmarks.speed import CREMAD, DEMO

Value = float | bool | str  # numbers are finite; units are part of their names
Values = dict[str, Value]
CLASSES = 10


@dataclass(frozen=True)
class Row:
    """Result of one case of a measurement.

    Args:
        case: what was measured.
        values: name -> value.
        status: `skipped` and `failed` rows have a reason in place of values.
        reason: why the case was skipped or failed.
        goal: what the values should be; empty if nothing is expected.
        is_met: whether they are; None without a goal, and on a CPU.
    """

    case: str
    values: Values = field(default_factory=dict)
    status: Literal["measured", "skipped", "failed"] = "measured"
    reason: str = ""
    goal: str = ""
    is_met: bool | None = None


class Skipped(RuntimeError):
    """Error: this machine cannot run a measurement; the message says what it lacks."""


@dataclass(frozen=True)
class Load:
    """Device and sizes of the measurements.

    Args:
        device: device to measure.
        encoder: encoder of both modalities.
        batch: number of samples per step.
        steps: number of steps to time.
        seconds: seconds of training where a rate is measured.
        clips: number of videos to generate.
    """

    device: torch.device
    encoder: str
    batch: int
    steps: int
    seconds: float
    clips: int

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of a sample of each modality: CREMA-D's; the demo's on a CPU."""
        return dict(CREMAD if self.on_gpu else DEMO)

    def omitted(self, case: str) -> Iterator[Row]:
        """Yield a row for a case that a CPU cannot show; nothing on a GPU."""
        if not self.on_gpu:
            yield Row(case, status="skipped", reason="needs a GPU")

    def samples(self, count: int) -> tuple[dict[str, Tensor], Tensor]:
        """Return random samples in the host's memory, always the same."""
        generator = torch.Generator().manual_seed(0)
        x = {name: torch.randn(count, *shape, generator=generator) for name, shape in self.shapes.items()}
        return x, torch.randint(0, CLASSES, (count,), generator=generator)

    def batch_on_device(self) -> tuple[dict[str, Tensor], Tensor]:
        """Return a batch of random samples on the device."""
        x, y = self.samples(self.batch)
        return {name: value.to(self.device) for name, value in x.items()}, y.to(self.device)

    def judge(self, case: str, values: Values, goal: str, *, is_met: bool) -> Row:
        """Return a row with a goal, which is judged only on a GPU."""
        return Row(case, values, goal=goal, is_met=is_met if self.on_gpu else None)


def load_of(device: torch.device) -> Load:
    """Return the sizes for a device."""
    if device.type == "cuda":
        return Load(device, "resnet18", batch=64, steps=20, seconds=8.0, clips=12)
    return Load(device, "small_conv", batch=8, steps=3, seconds=0.5, clips=2)
