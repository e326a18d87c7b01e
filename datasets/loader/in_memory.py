"""Data held in memory as tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from datasets.registry import DatasetError

Batch = tuple[dict[str, Tensor], Tensor]


@dataclass(frozen=True)
class Split:
    """Samples of one split: modality -> [N, *shape], and class ids [N]."""

    x: Mapping[str, Tensor]
    y: Tensor


def order(samples: int, seed: int, epoch: int) -> Tensor:
    """Return a permutation that depends on the seed and the epoch: int64 [samples]."""
    digest = hashlib.blake2b(f"{seed}/{epoch}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest) >> 1)
    return torch.randperm(samples, generator=generator)


@dataclass(frozen=True)
class InMemory:
    """Training and validation splits held as tensors, and a test split that is made on demand.

    Args:
        classes: names of the classes, by id.
        training, held_out: training and validation split, with the same modalities.
        fingerprint: text that identifies the content of the data.
        make_test: function that returns the test split, or None if there is none.
    """

    classes: Sequence[str]
    training: Split
    held_out: Split
    fingerprint: str
    make_test: Callable[[], Split] | None = None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one sample, by modality."""
        return {name: tuple(value.shape[1:]) for name, value in self.training.x.items()}

    @property
    def sizes(self) -> dict[str, int]:
        """Number of samples in the training and validation splits."""
        return {"train": len(self.training.y), "validation": len(self.held_out.y)}

    def all_for_training(self) -> InMemory:
        """Return data with the validation samples added to the training split and an empty validation split."""
        both = (self.training, self.held_out)
        x = {name: torch.cat([split.x[name] for split in both]) for name in self.training.x}
        none = Split({name: value[:0] for name, value in self.held_out.x.items()}, self.held_out.y[:0])
        training = Split(x, torch.cat([split.y for split in both]))
        return replace(self, training=training, held_out=none)

    def train(self, *, batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
        """Yield shuffled batches of `batch_size`; an incomplete last batch is skipped."""
        samples = len(self.training.y)
        whole = samples - samples % batch_size or samples
        for index in order(samples, seed, epoch)[:whole].split(batch_size):
            yield {name: value[index] for name, value in self.training.x.items()}, self.training.y[index]

    def validation(self, *, batch_size: int) -> Iterator[Batch]:
        """Yield each validation sample once, in order; the last batch may be smaller."""
        return _batches(self.held_out, batch_size)

    def test(self, *, batch_size: int, reason: str) -> Iterator[Batch]:
        """Yield each test sample once, in order. Such data have no store in which to log the read.

        Raises:
            ValueError: if the reason is empty.
            DatasetError: if there is no test split.
        """
        if not reason.strip():
            raise ValueError("`reason` must say why the test split is read")
        if self.make_test is None:
            raise DatasetError("these data have no test split")
        return _batches(self.make_test(), batch_size)


def _batches(split: Split, batch_size: int) -> Iterator[Batch]:
    for first in range(0, len(split.y), batch_size):
        part = slice(first, first + batch_size)
        yield {name: value[part] for name, value in split.x.items()}, split.y[part]
