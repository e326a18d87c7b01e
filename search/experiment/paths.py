"""Paths in an experiment file: relative ones are relative to the file; those of the command line to the working folder.

In memory they are absolute. A file that is written gets them relative to itself if both are in the working folder, so
that a project can be moved as a whole.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import registry
from datasets.store.remote import is_uri
from search.experiment.schema import to_yaml
from search.experiment.yaml_source import Place

SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)(?!:memory:)(?=.)(.*)")
TORCHVISION = re.compile(r"(\w+_Weights\.)?[A-Z][A-Z0-9_]*")  # its names of weights, such as IMAGENET1K_V1


def change_paths(values: dict[str, Any], change: Callable[[Place, str], str]) -> None:
    """Replace each path in the values of an experiment file, which may be invalid.

    Args:
        values: values of the file; they are changed in place.
        change: function from the place of a path, and the path, to the new path. URIs are not paths.
    """
    for place, text in list(_paths(values)):
        start, path = _split(text)
        if path:
            *parents, last = place
            owner: Any = values
            for part in parents:
                owner = owner[part]
            owner[last] = start + change(place, path)


def absolute(path: str, folder: Path) -> str:
    """Return a path in a file as an absolute path; one that begins with `~` stays, each machine knows its own.

    Args:
        path: path in the file.
        folder: absolute folder that relative paths start from.
    """
    return path if path.startswith("~") else os.path.normpath(folder / path)


def experiment_yaml(values: dict[str, Any], file: Path) -> str:
    """Format the values of an experiment, with absolute paths, for a file at `file`."""
    here, folder = Path.cwd(), file.resolve().parent

    def relative(_: Place, path: str) -> str:
        is_inside = folder.is_relative_to(here) and Path(path).is_relative_to(here)
        return os.path.relpath(path, folder) if is_inside else path

    change_paths(values, relative)
    return to_yaml(values)


def base_folder(values: Mapping[str, Any], file: Path) -> Path:
    """Return the folder that the relative paths of a file start from.

    Copies and exports of older versions, which lack `modules`, hold paths relative to the working folder.
    """
    is_older = "origin" in values and "modules" not in values
    return Path.cwd() if is_older else file.resolve().parent


def _split(text: str) -> tuple[str, str]:
    """Return the start of a URI that ends with a path, and the path; an empty path for other URIs.

    >>> _split("data/store"), _split("sqlite:///runs.db"), _split("s3://bucket/store")
    (('', 'data/store'), ('sqlite:///', 'runs.db'), ('s3://bucket/store', ''))
    """
    if found := SQLITE.fullmatch(text):
        return found[1], found[2]
    return (text, "") if is_uri(text) else ("", text)


def _paths(values: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    """Yield each text in the values of an experiment file that is a path or a URI, after its place."""
    dataset, trial, space, search, tracking = (
        _mapping(values.get(name)) for name in ("dataset", "trial", "space", "search", "tracking")
    )
    yield from _texts(values.get("modules"), ("modules",))
    for option in _path_options(dataset):
        yield from _texts(dataset.get(option), ("dataset", option))
    yield from _weights(trial, ("trial",))
    yield from _weights(space, ("space",))
    for number, configuration in enumerate(_sequence(search.get("first"))):
        yield from _weights(_mapping(configuration), ("search", "first", number))
    yield from _texts(search.get("storage"), ("search", "storage"))
    named = _texts(search.get("learn_from"), ("search", "learn_from"))
    yield from ((place, text) for place, text in named if "/" in text)  # the others are names of runs
    yield from ((place, text) for place, text in _texts(tracking.get("uri"), ("tracking", "uri")) if is_uri(text))


def _path_options(dataset: Mapping[str, Any]) -> Collection[str]:
    try:
        return registry.path_options(registry.find(str(dataset.get("name"))))
    except LookupError:  # reported by the check of the file
        return ()


def _weights(section: Mapping[str, Any], place: Place) -> Iterator[tuple[Place, str]]:
    """Yield the files of initial weights in a part of the trial, given by dotted path."""
    for key, value in section.items():
        if key.partition(".")[0] == "weights":
            found = _texts(value, (*place, key))
            yield from ((at, text) for at, text in found if not TORCHVISION.fullmatch(text))


def _texts(value: Any, place: Place) -> Iterator[tuple[Place, str]]:
    """Yield the texts in a value, each after its place."""
    if isinstance(value, str):
        yield place, value
    for key, item in _mapping(value).items():
        yield from _texts(item, (*place, key))
    for number, item in enumerate(_sequence(value)):
        yield from _texts(item, (*place, number))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()
