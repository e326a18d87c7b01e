"""Data sets by name."""

from __future__ import annotations

import inspect
import os
import pkgutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints


class DatasetError(RuntimeError):
    """Data that are missing, not prepared or invalid. The message is shown to the user."""


Location = Annotated[str, "path or URI"]  # type of an option that names a file or folder


def expand(option: str) -> Path:
    """Return the path of an option, with `~` and `~user` expanded; in lists, `~` is a character like any other.

    Unlike `Path.expanduser`, it leaves the `~` of an unknown user as it is.
    """
    return Path(os.path.expanduser(option))


BUILT_IN: dict[str, str] = {  # name -> class, imported on first use
    "digits": "datasets.publishers.digits:Digits",
    "cremad": "datasets.publishers.cremad:CremaD",
    "vggsound": "datasets.publishers.vggsound:VGGSound",
    "ave": "datasets.publishers.ave:AVE",
    "kinetics_sounds": "datasets.publishers.kinetics_sounds:KineticsSounds",
    "ucf101": "datasets.publishers.ucf101:UCF101",
    "table": "datasets.publishers.table:Table",
}


def find(name: str) -> type[Any]:
    """Return the options class with a built-in `name`, or the class at `package.module:Class`.

    Such a class takes its options as keyword arguments (a built-in one also takes `name`). Its method `open()` returns
    the data or raises `DatasetError`.

    Raises:
        LookupError: if there is no such class; the message says what was expected.
    """
    where = BUILT_IN.get(name, name)
    if ":" not in where:
        raise LookupError(f"one of {', '.join(BUILT_IN)} or package.module:Class")
    if where.partition(":")[0].partition(".")[0] in sys.stdlib_module_names:
        raise LookupError(f"a class of a data set, and {name} is part of Python's standard library")
    try:
        found = pkgutil.resolve_name(where)
    except (ImportError, AttributeError, ValueError) as error:
        raise LookupError(f"a class that can be imported ({error})") from error
    except Exception as error:  # a module may raise any exception when it is imported
        raise LookupError(f"a class that can be imported ({type(error).__name__}: {error})") from error
    if not isinstance(found, type):
        raise LookupError(f"a class ({name} is of type {type(found).__name__})")
    if not _opens_without_arguments(found):
        raise LookupError(f"a class with a method `open()` that takes no arguments ({name} has none)")
    return found


def _opens_without_arguments(kind: type) -> bool:
    method = getattr(kind, "open", None)
    if not callable(method):
        return False
    try:
        parameters = list(inspect.signature(method).parameters.values())
    except ValueError:  # a method written in C may have no signature
        return False
    bound = parameters[1:] if inspect.isfunction(method) else parameters  # without `self`
    return all(p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in bound)


def options(section: Mapping[str, Any]) -> Any:
    """Return the options in an experiment's `dataset` section, as an instance of their class."""
    name = section["name"]
    kind = find(name)
    own = section if name in BUILT_IN else {key: value for key, value in section.items() if key != "name"}
    paths = {key: Path(own[key]) for key in _options_of_type(kind, Path) if isinstance(own.get(key), str)}
    return kind(**{**own, **paths})


def path_options(kind: type) -> set[str]:
    """Return the options of a class that name files or folders: those of type `Path` or `Location`."""
    return _options_of_type(kind, Path) | _options_of_type(kind, Location)


def _options_of_type(kind: type, wanted: Any) -> set[str]:
    """Return the options of a class that are annotated with a type, alone or in a union."""
    with suppress(NameError, TypeError, AttributeError):  # an annotation that does not evaluate says nothing
        signature = kind if is_dataclass(kind) else vars(kind).get("__init__")
        hints = get_type_hints(signature, include_extras=True)
        return {name for name, hint in hints.items() if wanted in (hint, *get_args(hint))}
    return set()
