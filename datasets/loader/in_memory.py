"""Data small enough to be tensors in memory."""

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
    """A permutation of `samples` that (seed, epoch) determine: int64 [samples]."""
    digest = hashlib.blake2b(f"{seed}/{epoch}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest) >> 1)
    return torch.randperm(samples, generator=generator)


@dataclass(frozen=True)
class InMemory:
    """A training and a validation set held as tensors, and a test set that is made when it is asked for.

    Args:
        classes: names of the classes, by id.
        training, held_out: the two splits, of the same modalities.
        fingerprint: of the data's content.
        make_test: the test set, where there is one.
    """

    classes: Sequence[str]
    training: Split
    held_out: Split
    fingerprint: str
    make_test: Callable[[], Split] | None = None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Modality -> shape of one sample."""
        return {name: tuple(value.shape[1:]) for name, value in self.training.x.items()}

    @property
    def sizes(self) -> dict[str, int]:
        """Samples of each split."""
        return {"train": len(self.training.y), "validation": len(self.held_out.y)}

    def all_for_training(self) -> InMemory:
        """The same data with the validation samples among those that are trained on, and none to validate on."""
        both = (self.training, self.held_out)
        x = {name: torch.cat([split.x[name] for split in both]) for name in self.training.x}
        none = Split({name: value[:0] for name, value in self.held_out.x.items()}, self.held_out.y[:0])
        training = Split(x, torch.cat([split.y for split in both]))
        return replace(self, training=training, held_out=none)

    def train(self, *, batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
        """Shuffled batches of `batch_size`; what remains at the end of a pass is skipped in that pass."""
        samples = len(self.training.y)
        whole = samples - samples % batch_size or samples
        for index in order(samples, seed, epoch)[:whole].split(batch_size):
            yield {name: value[index] for name, value in self.training.x.items()}, self.training.y[index]

    def validation(self, *, batch_size: int) -> Iterator[Batch]:
        """Each sample once, in order; the last batch may be smaller."""
        return _batches(self.held_out, batch_size)

    def test(self, *, batch_size: int, reason: str) -> Iterator[Batch]:
        """Each test sample once, in order. There is no file of these data in which that could be put on record.

        Raises:
            ValueError: no reason.
            DatasetError: there is no test set.
        """
        if not reason.strip():
            raise ValueError("`reason` must say what the test samples are read for")
        if self.make_test is None:
            raise DatasetError("these data have no test split, and one is asked for")
        return _batches(self.make_test(), batch_size)


def _batches(split: Split, batch_size: int) -> Iterator[Batch]:
    for first in range(0, len(split.y), batch_size):
        part = slice(first, first + batch_size)
        yield {name: value[part] for name, value in split.x.items()}, split.y[part]
