"""Several processes that train one model: each has its part of every batch, and what is summed is summed over all."""

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
    """This process's place among those that train together.

    Args:
        rank: from 0; the first one writes checkpoints.
        world: how many there are. With more than one, `torch.distributed` has its default group.
    """

    rank: int = 0
    world: int = 1

    @property
    def alone(self) -> bool:
        return self.world == 1

    def sum(self, value: Tensor) -> Tensor:
        """Of all processes, in place."""
        if not self.alone:
            dist.all_reduce(value)
        return value

    def least(self, value: Tensor) -> Tensor:
        """The smallest of all processes, in place."""
        if not self.alone:
            dist.all_reduce(value, op=dist.ReduceOp.MIN)
        return value

    def first(self, value: Any) -> Any:
        """The first process's value, plain or with tensors on the CPU, in all of them."""
        if self.alone:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0)
        return held[0]

    def each(self, value: Any) -> list[Any]:
        """Every process's value, by rank."""
        if self.alone:
            return [value]
        held: list[Any] = [None] * self.world
        dist.all_gather_object(held, value)
        return held


ALONE = Ranks()


def part_of(samples: int, ranks: Ranks) -> slice:
    """Which of so many samples are this process's: parts that differ by one at most, the larger ones first.

    >>> [part_of(7, Ranks(rank, 3)) for rank in range(3)]
    [slice(0, 3, None), slice(3, 5, None), slice(5, 7, None)]
    """
    each, more = divmod(samples, ranks.world)
    first = ranks.rank * each + min(ranks.rank, more)
    return slice(first, first + each + (ranks.rank < more))


@runtime_checkable
class Divisible(Protocol):
    """Data that can make a part of each batch without making the rest."""

    def part(self, rank: int, world: int) -> Any:
        """The same data, of which each batch has the part of one of `world` processes alone, by `part_of`."""


class Part:
    """Data that make whole batches, cut to a part.

    Args:
        data: see `ogmge.fit.Data`.
        ranks: whose part.
    """

    def __init__(self, data: Any, ranks: Ranks) -> None:
        self._data, self._ranks = data, ranks

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        shapes: Mapping[str, tuple[int, ...]] = self._data.shapes
        return shapes

    @property
    def classes(self) -> Sequence[str]:
        classes: Sequence[str] = self._data.classes
        return classes

    def train(self, *, batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
        """This process's part of each training batch."""
        return self._cut(self._data.train(batch_size=batch_size, seed=seed, epoch=epoch))

    def validation(self, *, batch_size: int) -> Iterator[Batch]:
        """This process's part of each validation batch, which may be empty."""
        return self._cut(self._data.validation(batch_size=batch_size))

    def _cut(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        for x, y in batches:
            mine = part_of(len(y), self._ranks)
            yield {name: value[mine] for name, value in x.items()}, y[mine]


def part(data: Any, ranks: Ranks) -> Any:
    """The data as this process is to train on them."""
    if ranks.alone:
        return data
    return data.part(ranks.rank, ranks.world) if isinstance(data, Divisible) else Part(data, ranks)


def weight(samples: int, ranks: Ranks, device: torch.device) -> Tensor | float:
    """What a mean over this process's samples counts in the mean of all processes' means, as DDP takes it, so that the
    result is the mean over all samples: samples * world / all samples, on the device."""
    if ranks.alone:
        return 1.0
    total = ranks.sum(torch.tensor(float(samples), device=device))
    return samples * ranks.world / total
