"""What trainings leave, compared to the bit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch

SECONDS = ("seconds",)  # how long an epoch took is no part of what it did


def same(one: object, other: object, skip: Collection[str] = SECONDS) -> bool:
    """Whether nested states are equal to the bit, but for what lies under the keys to skip."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        names = one.keys() - set(skip)
        return names == other.keys() - set(skip) and all(same(one[name], other[name], skip) for name in names)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(same(a, b, skip) for a, b in zip(one, other, strict=True))
    return one == other


def without(history: Sequence[Mapping[str, float]], skip: Collection[str] = SECONDS) -> list[dict[str, float]]:
    """The metrics of epochs, less some of them."""
    return [{name: value for name, value in metrics.items() if name not in skip} for metrics in history]
