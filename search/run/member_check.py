"""Check of the attributes of a user's own data set, before a batch is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from datasets.loader.in_memory import InMemory
from search.experiment.mistakes import UserError

MEMBERS = ("shapes", "classes", "train", "validation")


class DataError(UserError):
    """Error: a data set yields what no model can be trained on."""


def check_members(data: object) -> None:
    """Raise DataError unless an object has what a data set must have."""
    faults = [*_split_faults(data)] if isinstance(data, InMemory) else [*_member_faults(data)]
    if not faults:
        faults = [*_shape_faults(data), *_class_faults(data)]
    if faults:
        raise DataError(*faults)


def _member_faults(data: object) -> Iterator[str]:
    if lacks := [name for name in MEMBERS if not hasattr(data, name)]:
        yield (
            "`dataset.name`: `open()` must return an `InMemory`, or an object with `shapes`, `classes`, `train` and "
            f"`validation`, but returned {type(data).__name__}, which lacks {', '.join(lacks)}"
        )
        return
    for name in ("train", "validation"):
        if not callable(method := getattr(data, name)):
            yield f"`{name}` of the data must be a method that yields batches, but is {type(method).__name__}"


def _split_faults(data: InMemory) -> Iterator[str]:
    """Yield the faults of splits in memory without which their shapes are known."""
    for name, split in (("training", data.training), ("validation", data.held_out)):
        x = getattr(split, "x", split)
        if not isinstance(x, Mapping):
            wanted = "a `Split` of {modality: tensor} and class ids"
            yield f"{name} data: expected {wanted}, but got {type(x).__name__}"
            continue
        for modality, value in x.items():
            if not isinstance(value, Tensor | np.ndarray):
                yield f"{name} data, {modality}: samples must be a tensor, but are {type(value).__name__}"
            elif value.ndim < 2:
                advice = ": `x.unsqueeze(1)` has one number per sample" if value.ndim else ""
                got = f"{list(value.shape)}{advice}"
                yield f"{name} data, {modality}: samples must be a tensor [N, D, ...], but are {got}"


def _shape_faults(data: Any) -> Iterator[str]:
    shapes = data.shapes
    if not isinstance(shapes, Mapping) or not shapes:
        yield f"`shapes` of the data must map each modality to the shape of one sample, but is {shapes!r:.200}"
        return
    for name, shape in shapes.items():
        if not isinstance(name, str):
            yield f"the names of modalities must be text, but one is {name!r}"
        if not _is_shape(shape):
            yield f"`shapes` of the data, {name}: expected whole numbers above 0, (3, 32, 32) say, but got {shape!r}"


def _is_shape(shape: object) -> bool:
    sizes = shape if isinstance(shape, Sequence) else ()
    return bool(sizes) and all(isinstance(size, int | np.integer) and size > 0 for size in sizes)


def _class_faults(data: Any) -> Iterator[str]:
    names = data.classes
    is_list = isinstance(names, Sequence) and not isinstance(names, str)
    if not is_list:
        yield f"`classes` of the data must be a list of the classes' names, but is {type(names).__name__} {names!r:.80}"
    elif len(names) < 2 or not all(isinstance(name, str) for name in names):
        yield f"`classes` of the data must be the names, as text, of two classes or more, but is {names!r:.200}"
