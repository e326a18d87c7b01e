"""Data-parallel training of one model: each process trains on its part of every batch, and sums are reduced."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor

Batch = tuple[Mapping[str, Tensor], Tensor]


@dataclass(frozen=True)
class Ranks:
    """Rank of this process among the processes that train a model together.

    Args:
        rank: rank, counted from 0; rank 0 writes the checkpoints.
        world: number of processes. If there are several, `torch.distributed` must be initialised.
    """

    rank: int = 0
    world: int = 1

    @property
    def alone(self) -> bool:
        return self.world == 1

    def sum(self, value: Tensor) -> Tensor:
        """Sum a tensor over all processes, in place."""
        if not self.alone:
            dist.all_reduce(value)
        return value

    def least(self, value: Tensor) -> Tensor:
        """Take the elementwise minimum of a tensor over all processes, in place."""
        if not self.alone:
            dist.all_reduce(value, op=dist.ReduceOp.MIN)
        return value

    def first(self, value: Any) -> Any:
        """Return the first process's value (plain values and CPU tensors) in every process."""
        if self.alone:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0)
        return held[0]

    def each(self, value: Any) -> list[Any]:
        """Return the values of all processes, ordered by rank."""
        if self.alone:
            return [value]
        held: list[Any] = [None] * self.world
        dist.all_gather_object(held, value)
        return held


ALONE = Ranks()


def part_of(samples: int, ranks: Ranks) -> slice:
    """Return the slice of a batch that belongs to this process. Parts differ by at most one sample, larger ones first.

    >>> [part_of(7, Ranks(rank, 3)) for rank in range(3)]
    [slice(0, 3, None), slice(3, 5, None), slice(5, 7, None)]
    """
    each, more = divmod(samples, ranks.world)
    first = ranks.rank * each + min(ranks.rank, more)
    return slice(first, first + each + (ranks.rank < more))


@runtime_checkable
class Divisible(Protocol):
    """Data that can load a part of each batch without loading the rest.

    Each training batch must have two samples or more per process: the model may have a batch norm that needs them.
    """

    def part(self, rank: int, world: int) -> Any:
        """Return the same data with each batch reduced to the part of one of `world` processes (`part_of`)."""


class Part:
    """One process's part of data that only load whole batches.

    Args:
        data: data; see `ogmge.fit.Data`.
        ranks: rank of the process.
        smallest: smallest training batch; smaller ones are skipped, by all processes alike.
    """

    def __init__(self, data: Any, ranks: Ranks, smallest: int = 1) -> None:
        self._data, self._ranks, self._smallest = data, ranks, smallest

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        shapes: Mapping[str, tuple[int, ...]] = self._data.shapes
        return shapes

    @property
    def classes(self) -> Sequence[str]:
        classes: Sequence[str] = self._data.classes
        return classes

    def train(self, *, batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
        """Yield this process's part of each training batch that is large enough."""
        batches = self._data.train(batch_size=batch_size, seed=seed, epoch=epoch)
        return self._cut(batch for batch in batches if len(batch[1]) >= self._smallest)

    def validation(self, *, batch_size: int) -> Iterator[Batch]:
        """Yield this process's part of each validation batch, which may be empty."""
        return self._cut(self._data.validation(batch_size=batch_size))

    def _cut(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        for x, y in batches:
            mine = part_of(len(y), self._ranks)
            yield {name: value[mine] for name, value in x.items()}, y[mine]


def part(data: Any, ranks: Ranks, smallest: int = 1) -> Any:
    """Return this process's part of the data; the data themselves if there is one process.

    Args:
        data: data; see `ogmge.fit.Data`.
        ranks: rank of the process.
        smallest: smallest training batch over all processes. Smaller ones are skipped, but not those of `Divisible`
            data, which must not have any.
    """
    if ranks.alone:
        return data
    return data.part(ranks.rank, ranks.world) if isinstance(data, Divisible) else Part(data, ranks, smallest)


def weight(samples: int, ranks: Ranks, device: torch.device) -> Tensor | float:
    """Return the weight of this process's mean loss: samples * world / samples of all processes.

    DDP averages the gradients over processes. With this weight, the result is the mean over all samples.
    """
    if ranks.alone:
        return 1.0
    total = ranks.sum(torch.tensor(float(samples), device=device))
    return samples * ranks.world / total
