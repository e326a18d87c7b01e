"""A data set's options, and what is wrong with them."""

from __future__ import annotations

import dataclasses
import inspect
import json
from typing import Any

from pydantic import PydanticUndefinedAnnotation, PydanticUserError

from datasets import registry
from search.experiment.messages import Fault, format_setting, hint, nearest, validate


def dataset_faults(options: dict[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """The data set's options with its defaults, and what is wrong with them."""
    name = options.get("name")
    if not isinstance(name, str):
        return options, [
            (
                ("dataset", "name"),
                f"must be {', '.join(registry.BUILT_IN)} or package.module:Class, but got {format_setting(name)}",
            )
        ]
    try:
        kind = registry.find(name)
    except LookupError as error:
        like = hint(name, list(registry.BUILT_IN))
        return options, [(("dataset", "name"), f"must be {error}, but got {name!r}{like}")]
    own = options if name in registry.BUILT_IN else {k: v for k, v in options.items() if k != "name"}
    values, faults = _options(kind, own)
    full = {"name": name} | values | {"name": name}
    return json.loads(json.dumps(full, default=str)), [(("dataset", *path), text) for path, text in faults]


def _options(kind: type, own: dict[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """What a data set's class makes of its options, and what is wrong with them."""
    faults = dict(_signature_faults(kind, own))
    if not dataclasses.is_dataclass(kind):
        return own, list(faults.items())
    try:
        value, more = validate(kind, own)
    except (PydanticUserError, PydanticUndefinedAnnotation):  # a field's type is none that a file can hold
        return own, list(faults.items())
    return own if value is None else dataclasses.asdict(value), list((faults | dict(more)).items())


def _signature_faults(kind: type, own: dict[str, Any]) -> list[Fault]:
    """What a class says of its options by its signature."""
    try:
        every = inspect.signature(kind).parameters.values()
    except ValueError:  # it is written in C
        return []
    if any(p.kind is p.VAR_KEYWORD for p in every):
        return []
    parameters = {p.name: p for p in every if p.kind is not p.VAR_POSITIONAL}
    unknown = [k for k in own if k not in parameters]
    missing = [k for k, p in parameters.items() if p.default is p.empty and k not in own]
    faults: list[Fault] = [((k,), "is no known key" + nearest(k, list(parameters))) for k in unknown]
    return faults + [((k,), "is missing") for k in missing]
