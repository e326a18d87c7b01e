"""Batches as models take them, whatever the number types of the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

Batch = tuple[Mapping[str, Tensor], Tensor]


def to_device(batch: Batch, device: torch.device) -> tuple[dict[str, Tensor], Tensor]:
    """Return a batch on a device: modality -> samples in float32, and class ids in int64.

    Values keep their size, whatever their type: 0 to 255 in uint8 become 0.0 to 255.0. Labels that are no integers are
    not converted, because they are no class ids.
    """
    x, y = batch
    ids = y.to(device, non_blocking=True)
    return {name: _as_float(value, device) for name, value in x.items()}, ids if y.is_floating_point() else ids.long()


def _as_float(value: Tensor, device: torch.device) -> Tensor:
    """Return samples in float32 on a device; the smaller of both types crosses to it (`mps` has no float64)."""
    small = value.float() if value.dtype.itemsize > 4 else value
    return small.to(device, non_blocking=True).float()


def micro_batches(
    x: Mapping[str, Tensor], y: Tensor, parts: int, smallest: int = 1
) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """Split a batch into `parts` micro-batches of nearly equal size, or fewer, so that none has less than `smallest`.

    >>> [len(y) for _, y in micro_batches({}, torch.zeros(5), 3)]
    [2, 2, 1]
    >>> [len(y) for _, y in micro_batches({}, torch.zeros(5), 3, smallest=2)]
    [3, 2]
    """
    parts = min(parts, max(1, len(y) // smallest))
    for index in torch.arange(len(y), device=y.device).tensor_split(parts) if parts > 1 else (slice(None),):
        yield {name: value[index] for name, value in x.items()}, y[index]
