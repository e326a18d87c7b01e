"""Code that an experiment names: custom encoders, fusions and data sets, as `package.module:name`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

from ogmge import components
from ogmge.factories import is_installed
from search.experiment.program import PACKAGES, ROOT
from search.experiment.schema import Experiment
from search.experiment.space import extremes, merge

NAME = re.compile(r"(?!torchvision:)[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
ROOT_USER = 0
MODEL_PATHS = ("encoder", "fusion")  # paths of a trial, or prefixes of paths, that name code


def named_factories(experiment: Experiment) -> set[str]:
    """Return the custom encoders and fusions that an experiment names in its trial, space and first configurations."""
    trial, space = experiment.trial, experiment.space
    searched = [{path: value} for path, entry in space.items() for value in extremes(entry).values()]
    variants = [{}, *searched, *experiment.search.first]
    every = [merge(trial, {k: v for k, v in changes.items() if k.startswith(MODEL_PATHS)}) for changes in variants]
    given = [value for each in every for value in components.places(each["encoder"], each["fusion"]).values()]
    return set(filter(NAME.fullmatch, (components.parse(value).name for value in given)))


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


def is_own(path: Path, *, follow: bool = True) -> bool:
    """Return whether a file, or a link that is not followed, belongs to this process's user or to the superuser."""
    return not hasattr(os, "geteuid") or path.stat(follow_symlinks=follow).st_uid in (os.geteuid(), ROOT_USER)


def search_first(folders: Collection[str]) -> None:
    """Let Python look for modules in these folders first, after the project's own, which they must not replace."""
    first = list(dict.fromkeys([str(ROOT), *folders]))
    sys.path[:] = [*first, *(folder for folder in sys.path if folder not in first)]


def top_level(names: Collection[str]) -> list[str]:
    """Return the top-level modules of custom code, without the project's own.

    >>> top_level(["mine.nets:small", "mine.data:Clips", "datasets.publishers.ave:AVE"])
    ['mine']
    """
    tops = dict.fromkeys(name.partition(":")[0].partition(".")[0] for name in names)
    return [name for name in tops if name not in PACKAGES]


def module_folders(names: Collection[str]) -> list[str]:
    """Return the folders that hold the modules of custom code, without the project's and those of installed packages.

    Nothing is imported; a module that is missing has no folder.
    """
    found = [_file(_spec(name)) for name in top_level(names)]
    folders = dict.fromkeys(str(file.parent) for file in found if file is not None)
    return [folder for folder in folders if folder != str(ROOT) and not is_installed(folder)]


def hidden_modules(names: Collection[str], folders: Sequence[str]) -> list[str]:
    """Return a sentence for each module in these folders in whose place Python uses another one of the same name."""
    sentences = []
    for name in top_level(names):
        there, used = PathFinder.find_spec(name, folders), _file(_spec(name))
        wanted = _file(there) if there is not None and there.has_location else None  # else a folder without modules
        if None not in (wanted, used) and wanted != used:
            sentences.append(f"the module {name!r} at {wanted} is hidden by the one at {used}: rename one of them")
    return sentences


def _spec(module: str) -> ModuleSpec | None:
    try:
        return find_spec(module)
    except ValueError:  # a module that was not imported in the usual way, such as `__main__`
        return None


def _file(spec: ModuleSpec | None) -> Path | None:
    """Return the file of a module, or the folder of a package; None if it has neither."""
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve()
    return Path(spec.origin).resolve() if spec.has_location and spec.origin else None
