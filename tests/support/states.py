"""Bitwise comparison of the states and metrics of trainings."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch

SECONDS = ("seconds",)  # the duration of an epoch is not part of its result


def same(one: object, other: object, skip: Collection[str] = SECONDS) -> bool:
    """Return whether nested states are equal to the bit, apart from the keys to skip."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        names = one.keys() - set(skip)
        return names == other.keys() - set(skip) and all(same(one[name], other[name], skip) for name in names)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(same(a, b, skip) for a, b in zip(one, other, strict=True))
    return one == other


def without(history: Sequence[Mapping[str, float]], skip: Collection[str] = SECONDS) -> list[dict[str, float]]:
    """Return the metrics of epochs without the skipped ones."""
    return [{name: value for name, value in metrics.items() if name not in skip} for metrics in history]
