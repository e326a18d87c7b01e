"""Check of what a user's own data set yields, before a model or a picture is made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from datasets.loader.in_memory import InMemory
from datasets.loader.loader import StoreData
from ogmge.fit import Data
from search.experiment.mistakes import UserError

MEMBERS = ("shapes", "classes", "train", "validation")


class DataError(UserError):
    """Error: a data set yields what no model can be trained on."""


def check_members(data: object) -> None:
    """Raise DataError unless an object has what a data set must have."""
    if lacks := [name for name in MEMBERS if not hasattr(data, name)]:
        raise DataError(
            "`dataset.name`: `open()` must return an `InMemory`, or an object with `shapes`, `classes`, `train` and "
            f"`validation`, but returned {type(data).__name__}, which lacks {', '.join(lacks)}"
        )


def check_batches(data: Data, batch_size: int) -> None:
    """Check the whole of data in memory, and the first batch of each split of other data.

    Args:
        data: data that a user's class has opened.
        batch_size: number of samples per batch.

    Raises:
        DataError: if a split has no sample, or samples or labels of a wrong type, shape, number or value.
    """
    if isinstance(data, StoreData):  # checked when they were prepared
        return
    faults = [fault for split, batch in _batches(data, batch_size) for fault in _faults(split, batch, data)]
    if faults:
        raise DataError(*dict.fromkeys(faults))


def _batches(data: Data, batch_size: int) -> Iterator[tuple[str, Any]]:
    if isinstance(data, InMemory):
        yield "training", (data.training.x, data.training.y)
        yield "validation", (data.held_out.x, data.held_out.y)
        return
    yield "training", next(iter(islice(data.train(batch_size=batch_size, seed=0, epoch=0), 1)), None)
    yield "validation", next(iter(islice(data.validation(batch_size=batch_size), 1)), None)


def _faults(split: str, batch: Any, data: Data) -> Iterator[str]:
    if not (isinstance(batch, tuple) and len(batch) == 2 and isinstance(batch[0], Mapping)):
        got = "no batch" if batch is None else type(batch).__name__
        yield f"{split} data: expected batches ({{modality: tensor}}, class ids), but got {got}"
        return
    x, y = batch
    yield from (f"{split} data: {fault}" for fault in _label_faults(y, len(data.classes)))
    for name, shape in data.shapes.items():
        yield from (f"{split} data, {name}: {fault}" for fault in _sample_faults(x.get(name), tuple(shape), y))


def _label_faults(y: Any, classes: int) -> Iterator[str]:
    if not isinstance(y, Tensor) or y.is_floating_point() or y.ndim != 1:
        yield f"labels must be a tensor of class ids, int64 [N], but are {_described(y)}"
    elif not len(y):
        yield "expected samples, but there are none"
    elif int(y.min()) < 0 or int(y.max()) >= classes:
        yield f"labels must be 0 to {classes - 1}, as there are {classes} classes, but are {y.min()} to {y.max()}"


def _sample_faults(x: Any, shape: tuple[int, ...], y: Any) -> Iterator[str]:
    if not isinstance(x, Tensor):
        yield f"samples must be a tensor, but are {_described(x)}"
    elif tuple(x.shape[1:]) != shape:
        yield f"samples must have the shape {list(shape)}, but have {list(x.shape[1:])}"
    elif isinstance(y, Tensor) and len(x) != len(y):
        yield f"there are {len(x)} samples, but {len(y)} labels"
    elif x.is_floating_point() and not (finite := torch.isfinite(x.flatten(1)).all(dim=1)).all():
        bad = ~finite
        which = f"{int(bad.sum())} of {len(x)} samples"
        yield f"{which} have NaN or infinite values, the first at index {int(bad.int().argmax())}"


def _described(value: Any) -> str:
    """Return the type of a value, with the numbers of its elements and their type if it has those.

    >>> _described(torch.zeros(2, 3)), _described([1])
    ('float32 [2, 3]', 'list')
    """
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if "numpy" in type(value).__module__:
        return f"numpy's {type(value).__name__} (torch.from_numpy makes a tensor of it)"
    return type(value).__name__
