"""Check of what a user's own data set yields, before a model or a picture is made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, nullcontext
from typing import Any

import torch
from torch import Tensor

from datasets.loader.in_memory import InMemory
from datasets.loader.loader import StoreData
from datasets.registry import DatasetError
from ogmge.batches import Batch
from ogmge.fit import Data
from search.experiment.mistakes import UserError
from search.experiment.own_errors import describe
from search.run.member_check import DataError

READ = 8  # samples per batch that is read for the check, at most
EXACT = 2**24  # largest number up to which float32 has all whole numbers

Batches = dict[str, Batch]  # first batch of each split, by its name


def check_batches(data: Data, batch_size: int) -> Batches:
    """Check the whole of data in memory, and the first batch of each split of other data; return the first batches.

    Args:
        data: data that a user's class has opened, or a store, whose samples were checked when they were prepared.
        batch_size: number of samples per batch. Fewer are read.

    Raises:
        DataError: if a split has no sample, if its first batch cannot be read, or if samples or labels have a wrong
            type, shape, number or value.
        DatasetError: if a store cannot be read.
    """
    data = data.on_cpu() if isinstance(data, StoreData) else data
    faults: list[str] = []
    batches: Batches = {}
    for split, read in _readers(data, max(2, min(batch_size, READ))).items():
        try:
            batch = read()
        except _Unreadable as error:
            faults.append(f"{split} data: {error}")
            continue
        faults += _faults(split, batch, data)
        batches[split] = batch
    if faults:
        raise DataError(*dict.fromkeys(faults))
    return batches


class _Unreadable(Exception):
    """Error: a data set raises an error in place of its first batch."""


def _readers(data: Data, size: int) -> dict[str, Callable[[], Any]]:
    if isinstance(data, InMemory):
        return {
            "training": lambda: (data.training.x, data.training.y),
            "validation": lambda: (data.held_out.x, data.held_out.y),
        }
    return {
        "training": lambda: _first("train", lambda: data.train(batch_size=size, seed=0, epoch=0)),
        "validation": lambda: _first("validation", lambda: data.validation(batch_size=size)),
    }


def _first(method: str, read: Callable[[], Iterable[Batch]]) -> Any:
    """Return the first batch, or None if there is none; what is not read of a generator is closed."""
    try:
        batches: Any = iter(read())
        with closing(batches) if hasattr(batches, "close") else nullcontext():
            return next(batches, None)
    except (UserError, DatasetError):
        raise
    except Exception as error:  # a user's class may raise any exception
        raise _Unreadable(f"`{method}()` must yield batches, but raised {describe(error)}") from error


def _faults(split: str, batch: Any, data: Data) -> Iterator[str]:
    if not (isinstance(batch, tuple | list) and len(batch) == 2 and isinstance(batch[0], Mapping)):
        got = "no batch" if batch is None else _described(batch)
        yield f"{split} data: expected batches ({{modality: tensor}}, class ids), but got {got}"
        return
    x, y = batch
    yield from (f"{split} data: {fault}" for fault in _label_faults(y, len(data.classes)))
    for name, shape in data.shapes.items():
        yield from (f"{split} data, {name}: {fault}" for fault in _sample_faults(x, name, tuple(shape), y))


def _label_faults(y: Any, classes: int) -> Iterator[str]:
    if not _is_plain(y) or y.is_floating_point() or y.ndim != 1:
        yield f"labels must be a tensor of class ids, integers [N], but are {_described(y)}{_label_advice(y, classes)}"
    elif not len(y):
        yield "expected samples, but there are none"
    else:
        low, high = _range(y)
        if low < 0 or high >= classes:
            advice = ": subtract 1 from them" if (low, high) == (1, classes) else ""
            wanted = f"0 to {classes - 1}, as there are {classes} classes"
            yield f"labels must be {wanted}, but are {low} to {high}{advice}"


def _label_advice(y: Any, classes: int) -> str:
    """Return how to make class ids of what data sets often have in their place."""
    if not isinstance(y, Tensor) or y.ndim not in (1, 2):
        return ""
    if y.ndim == 2:
        one_hot = y.shape[1] == classes > 1
        return " (one-hot: `y.argmax(dim=1)` has the ids)" if one_hot else f" (`y.squeeze(1)` is [{len(y)}])"
    return " (`y.long()` has whole numbers)" if y.is_floating_point() and bool((y == y.round()).all()) else ""


def _range(values: Tensor) -> tuple[int, int]:
    whole = values.long()  # some types of integers have no minimum
    return int(whole.min()), int(whole.max())


def _is_plain(value: Any) -> bool:
    """Return whether a value is a tensor of real numbers in memory."""
    if not isinstance(value, Tensor) or value.layout is not torch.strided:
        return False
    return not (value.is_complex() or value.is_meta or value.is_quantized)


def _sample_faults(x: Mapping[str, Any], name: str, shape: tuple[int, ...], y: Any) -> Iterator[str]:
    if name not in x:
        yield f"the modality is missing; there is {', '.join(map(str, x)) or 'none'}"
        return
    value = x[name]
    if not _is_plain(value) or not value.ndim:
        yield f"samples must be a tensor of numbers [N, ...], but are {_described(value)}"
    elif tuple(value.shape[1:]) != shape:
        yield f"samples must have the shape {list(shape)}, but have {list(value.shape[1:])}"
    elif isinstance(y, Tensor) and y.ndim and len(value) != len(y):
        yield f"there are {len(value)} samples, but {len(y)} labels"
    else:
        yield from _value_faults(value)


def _value_faults(x: Tensor) -> Iterator[str]:
    """Yield what is wrong with the values of samples once they are in float32."""
    if x.is_floating_point():
        finite = torch.isfinite(x.float().flatten(1)).all(dim=1)
        if not finite.all():
            which = f"{int((~finite).sum())} of {len(x)} samples"
            first = int((~finite).int().argmax())
            yield f"{which} have NaN or infinite values, the first at index {first}{_overflow(x[first])}"
    elif x.dtype.itemsize > 2 and x.numel() and max(map(abs, _range(x))) > EXACT:
        low, high = _range(x)
        yield f"whole numbers must be at most {EXACT:,}, which float32 has exactly, but are {low:,} to {high:,}"


def _overflow(sample: Tensor) -> str:
    return " (they are finite in float64, but too large for float32)" if bool(sample.isfinite().all()) else ""


def _described(value: Any) -> str:
    """Return the type of a value, with the numbers of its elements and their type if it has those.

    >>> _described(torch.zeros(2, 3)), _described([1]), _described(torch.zeros(2).to_sparse())
    ('float32 [2, 3]', 'list', 'float32 [2], sparse_coo')
    >>> _described(({"a": 1}, 2, 3))
    'tuple (dict, int, int)'
    """
    if isinstance(value, Tensor):
        layout = "" if value.layout is torch.strided else f", {str(value.layout).removeprefix('torch.')}"
        device = ", without data" if value.is_meta else ""
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}{layout}{device}"
    if "numpy" in type(value).__module__:
        return f"numpy's {type(value).__name__} (torch.from_numpy makes a tensor of it)"
    if isinstance(value, tuple):
        return f"tuple ({', '.join(type(each).__name__ for each in value)})"
    return type(value).__name__
