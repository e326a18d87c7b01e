"""Data sets by name."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from typing import Any


class DatasetError(RuntimeError):
    """Data that are not there, not prepared, or not what they should be; the message is for who started the command."""


BUILT_IN: dict[str, str] = {  # where the class is: imported only when it is asked for
    "digits": "datasets.publishers.digits:Digits",
    "cremad": "datasets.publishers.cremad:CremaD",
    "vggsound": "datasets.publishers.vggsound:VGGSound",
    "ave": "datasets.publishers.ave:AVE",
    "kinetics_sounds": "datasets.publishers.kinetics_sounds:KineticsSounds",
    "ucf101": "datasets.publishers.ucf101:UCF101",
    "table": "datasets.publishers.table:Table",
}


def find(name: str) -> type[Any]:
    """The class of options called `name`, or at `package.module:Class`.

    Such a class takes its options as keyword arguments (`name` among them where it is built in) and has a method
    `open()` that returns the data, or raises `DatasetError`.

    Raises:
        LookupError: there is none.
    """
    where = BUILT_IN.get(name, name)
    if ":" not in where:
        raise LookupError(f"one of {', '.join(BUILT_IN)} or package.module:Class")
    try:
        found = pkgutil.resolve_name(where)
    except (ImportError, AttributeError, ValueError) as error:
        raise LookupError(f"a class that can be imported ({error})") from error
    if not isinstance(found, type):
        raise LookupError(f"a class, and {name} is a {type(found).__name__}")
    if not callable(getattr(found, "open", None)):
        raise LookupError(f"a class with a method `open()`, and {name} has none")
    return found


def options(section: Mapping[str, Any]) -> Any:
    """The options that an experiment's `dataset` section holds, as their class."""
    name = section["name"]
    own = section if name in BUILT_IN else {key: value for key, value in section.items() if key != "name"}
    return find(name)(**own)
