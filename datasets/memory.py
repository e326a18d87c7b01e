"""Data small enough to be tensors in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Batch = tuple[dict[str, Tensor], Tensor]


@dataclass(frozen=True)
class Split:
    """Samples of one split: modality -> [N, *shape], and class ids [N]."""

    x: Mapping[str, Tensor]
    y: Tensor


def order(samples: int, seed: int, epoch: int) -> Tensor:
    """A permutation of `samples` that (seed, epoch) determine: int64 [samples]."""
    digest = hashlib.blake2b(f"{seed}/{epoch}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest) >> 1)
    return torch.randperm(samples, generator=generator)


@dataclass(frozen=True)
class InMemory:
    """A training and a validation set held as tensors.

    Args:
        classes: names of the classes, by id.
        training, held_out: the two splits, of the same modalities.
        fingerprint: of the data's content.
    """

    classes: Sequence[str]
    training: Split
    held_out: Split
    fingerprint: str

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Modality -> shape of one sample."""
        return {name: tuple(value.shape[1:]) for name, value in self.training.x.items()}

    @property
    def sizes(self) -> dict[str, int]:
        """Samples of each split."""
        return {"train": len(self.training.y), "validation": len(self.held_out.y)}

    def train(self, *, batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
        """Shuffled batches of `batch_size`; what is left over at the end of a pass is left out of that pass."""
        samples = len(self.training.y)
        whole = samples - samples % batch_size or samples
        for index in order(samples, seed, epoch)[:whole].split(batch_size):
            yield {name: value[index] for name, value in self.training.x.items()}, self.training.y[index]

    def validation(self, *, batch_size: int) -> Iterator[Batch]:
        """Each sample once, in order; the last batch may be smaller."""
        for first in range(0, len(self.held_out.y), batch_size):
            part = slice(first, first + batch_size)
            yield {name: value[part] for name, value in self.held_out.x.items()}, self.held_out.y[part]
