"""Metrics of an epoch, accumulated on the device and read once at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ogmge.devices import widest_float
from ogmge.distributed import ALONE, Ranks
from ogmge.modulation import ModulationStats


class Answers(NamedTuple):
    """Results of the fused predictions, in the order of the data.

    Args:
        correct: whether each fused prediction is correct, bool [N].
        targets: class ids, int64 [N].
    """

    correct: Tensor
    targets: Tensor


class Tally:
    """Loss, fused accuracy and unimodal accuracies over the batches of an epoch; read once with `result`.

    Args:
        names: names of the modalities.
        device: device of the batches.
        ranks: processes over which the sums are taken.
    """

    def __init__(self, names: tuple[str, ...], device: torch.device, ranks: Ranks = ALONE) -> None:
        self.names, self._ranks = names, ranks
        self.samples = 0  # of this process
        self._loss = torch.zeros((), dtype=widest_float(device), device=device)
        self._correct: list[Tensor] = []  # each [1 + M, B]
        self._targets: list[Tensor] = []  # each [B]

    def add(self, loss: Tensor, logits: Tensor, unimodal: Mapping[str, Tensor], y: Tensor) -> None:
        """Add a batch: mean loss [], fused logits [B, K], name -> unimodal logits [B, K], class ids [B]."""
        self.samples += y.shape[0]
        if len(y):  # the mean loss of an empty batch is NaN
            self._loss += loss.detach() * y.shape[0]
        each = torch.stack([logits.detach(), *(unimodal[name] for name in self.names)])
        self._correct.append(each.argmax(dim=2) == y)
        self._targets.append(y)

    def answers(self) -> Answers:
        """Return the results for the samples of all processes."""
        return Answers(self._in_order([right[0] for right in self._correct]), self._in_order(self._targets))

    def _in_order(self, mine: list[Tensor]) -> Tensor:
        if self._ranks.alone:
            return torch.cat(mine)
        parts = self._ranks.each([part.cpu() for part in mine])
        return torch.cat([part for batch in zip(*parts, strict=True) for part in batch])

    def result(self, prefix: str) -> dict[str, float]:
        """Return `PREFIX/loss`, `PREFIX/accuracy` and `PREFIX/accuracy/NAME`; synchronises with the device.

        Raises:
            ValueError: if no batch was added.
        """
        if not self._correct:
            raise ValueError(f"cannot compute {prefix} metrics: there is no batch")
        right = torch.cat(self._correct, dim=1).sum(dim=1).to(self._loss.dtype)
        samples = torch.full_like(self._loss, self.samples)
        sums = self._ranks.sum(torch.cat([samples[None], self._loss[None], right]))
        loss, fused, *unimodal = (sums[1:] / sums[0]).tolist()
        accuracies = {f"{prefix}/accuracy/{name}": value for name, value in zip(self.names, unimodal, strict=True)}
        return {f"{prefix}/loss": loss, f"{prefix}/accuracy": fused, **accuracies}


class ModulationTally:
    """Mean discrepancy ratio and mean coefficient of each modality over the steps of an epoch."""

    def __init__(self, names: tuple[str, ...], device: torch.device) -> None:
        self.names = names
        self._steps = 0
        self._sums = torch.zeros(2, len(names), dtype=widest_float(device), device=device)

    def add(self, stats: ModulationStats) -> None:
        self._steps += 1
        self._sums += torch.stack([stats.ratio, stats.coefficient])

    def result(self) -> dict[str, float]:
        """Return `ratio/NAME` and `coefficient/NAME`; synchronises with the device."""
        means = (self._sums / self._steps).tolist()
        return {
            f"{what}/{name}": value
            for what, values in zip(("ratio", "coefficient"), means, strict=True)
            for name, value in zip(self.names, values, strict=True)
        }
