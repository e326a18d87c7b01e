"""Code that an experiment names: custom encoders, fusions and data sets, as `package.module:name`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from search.experiment.schema import Experiment

NAME = re.compile(r"(?!torchvision:)[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
ROOT_USER = 0
MODEL_PATHS = ("encoder", "fusion")  # paths of a trial, or prefixes of paths, that name code


def named_factories(experiment: Experiment) -> set[str]:
    """Return the custom encoders and fusions that an experiment names in its trial, space and first configurations."""
    trial, changes = experiment.trial, [experiment.space, *experiment.search.first]
    others = [value for each in changes for path, value in each.items() if path.startswith(MODEL_PATHS)]
    return set(filter(NAME.fullmatch, strings([trial.fusion, trial.encoder, others])))


def strings(value: Any) -> Iterator[str]:
    """Yield all strings in a value of an experiment file."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from strings(list(value.values()))
    elif isinstance(value, Sequence):
        yield from chain.from_iterable(map(strings, value))


def code_in(values: Mapping[str, Any]) -> list[str]:
    """Return the names of custom code in the values of an experiment file, which may be invalid; each name once."""
    dataset, search = (values.get(name) for name in ("dataset", "search"))
    name = dataset.get("name") if isinstance(dataset, Mapping) else None
    first = search.get("first") if isinstance(search, Mapping) else None
    named = strings([name, values.get("trial"), values.get("space"), first])
    return list(dict.fromkeys(filter(NAME.fullmatch, named)))


def is_own(path: Path) -> bool:
    """Return whether a file belongs to the user of this process, or to the superuser."""
    return not hasattr(os, "geteuid") or path.stat().st_uid in (os.geteuid(), ROOT_USER)
