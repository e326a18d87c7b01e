"""Data sets by name."""

from __future__ import annotations

import pkgutil
from typing import Any

from datasets.digits import Digits


class DatasetError(RuntimeError):
    """Data that are not there, not prepared, or not what they should be: a sentence for whoever started the command."""


BUILT_IN: dict[str, type] = {"digits": Digits}


def find(name: str) -> type[Any]:
    """The class of options called `name`, or at `package.module:Class`.

    Such a class takes its options as keyword arguments (`name` among them where it is built in) and has a method
    `open()` that returns the data, or raises `DatasetError`.

    Raises:
        LookupError: there is none.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    if ":" not in name:
        raise LookupError(f"one of {', '.join(BUILT_IN)} or package.module:Class")
    try:
        found = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise LookupError(f"a class that can be imported ({error})") from error
    if not isinstance(found, type):
        raise LookupError(f"a class, and {name} is a {type(found).__name__}")
    if not callable(getattr(found, "open", None)):
        raise LookupError(f"a class with a method `open()`, and {name} has none")
    return found
