"""Options of the data set: their defaults and the check of what a file says."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import json
import operator
from typing import Any

from pydantic import PydanticUndefinedAnnotation, PydanticUserError

from datasets import registry
from datasets.store.remote import has_secret
from ogmge.factories import searched
from search.experiment.messages import Fault, format_setting, hint, nearest, validate
from search.experiment.own_errors import own_lines

SECRET = (
    "must not contain a password or key, which would be stored with the run: set it where the libraries look for it "
    "(for s3, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials)"
)


def dataset_faults(options: Any) -> tuple[dict[str, Any], list[Fault]]:
    """Return the data set's options with all defaults, and the faults in them."""
    if not isinstance(options, dict):
        return {}, []
    name = options.get("name")
    try:
        kind = _find(name)
    except LookupError as error:
        return options, [(("dataset", "name"), str(error))]
    own = {key: value for key, value in options.items() if key != "name" or name in registry.BUILT_IN}
    if "name" not in own and (_parameters(kind) or {}).get("name"):
        text = f"names the class, but {name} also has a required parameter `name`: rename that parameter"
        return options, [(("dataset", "name"), text)]
    values, faults = _options(kind, own)
    faults += [((key,), SECRET) for key, value in own.items() if isinstance(value, str) and has_secret(value)]
    full = {"name": name} | values | {"name": name}
    return json.loads(json.dumps(full, default=str)), [(("dataset", *path), text) for path, text in faults]


def _find(name: Any) -> type:
    if not isinstance(name, str):
        names = ", ".join(registry.BUILT_IN)
        raise LookupError(f"must be one of {names} or package.module:Class, but got {format_setting(name)}")
    try:
        return registry.find(name)
    except LookupError as error:
        lines = own_lines(error.__cause__) if error.__cause__ else ""
        where = searched() if isinstance(error.__cause__, ModuleNotFoundError) else ""
        got = f"{name!r}{hint(name, list(registry.BUILT_IN))}{where}"
        raise LookupError(f"must be {error}, but got {got}{lines and chr(10)}{lines}") from error


def _options(kind: type, own: dict[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """Return the options as the data set's class reads them, and the faults in them."""
    faults = dict(_signature_faults(kind, own))
    if not dataclasses.is_dataclass(kind):
        return own, list(faults.items())
    try:
        value, more = validate(kind, own, below=("dataset",))
    except (PydanticUserError, PydanticUndefinedAnnotation):  # a field has a type that no file can hold
        return own, list(faults.items())
    return own if value is None else dataclasses.asdict(value), list((faults | dict(more)).items())


def _signature_faults(kind: type, own: dict[str, Any]) -> list[Fault]:
    """Return the options that the signature of a class does not have, and the required ones that are missing."""
    needed = _parameters(kind)
    if needed is None:
        return []
    unknown = itertools.filterfalse(needed.__contains__, own)
    faults: list[Fault] = [((key,), "is not a known key" + nearest(key, list(needed), ("dataset",))) for key in unknown]
    return faults + [((key,), "is missing") for key in filter(needed.get, needed) if key not in own]


def _parameters(kind: type) -> dict[str, bool] | None:
    """Return whether each parameter of a class is required, by name; None if the class takes any or does not tell."""
    try:
        every = inspect.signature(kind).parameters.values()
    except ValueError:  # a class written in C may have no signature
        return None
    if inspect.Parameter.VAR_KEYWORD in map(operator.attrgetter("kind"), every):
        return None
    return {p.name: p.default is p.empty for p in every if p.kind is not p.VAR_POSITIONAL}
