"""A mapping as a pydantic model or dataclass, or a sentence for everything that is wrong with it, all at once."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import difflib
import inspect
import json
import re
import typing
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from ogmge.config import ConfigError
from search.experiment.yaml_source import Document, Place


def format_setting(value: Any) -> str:
    """A value as the file would have it, cut where it is long."""
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "…"


def hint(name: str, known: Sequence[str]) -> str:
    """ "; did you mean `x`?", or nothing."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean `{close[0]}`?" if close else ""


def suggestion(expected: str, value: Any) -> str:
    """ "; did you mean `x`?" where a value is like one of the words that are expected; else nothing.

    >>> suggestion("'tpe', 'random' or a list", "tpee")
    '; did you mean `tpe`?'
    >>> suggestion("concat, film or package.module:factory", "sum")
    ''
    """
    words = [word.strip("'") for word in re.split(r", | or ", expected) if re.fullmatch(r"'\w+'|\w+", word)]
    return hint(value, words) if isinstance(value, str) else ""


def nearest(name: str, known: Sequence[str]) -> str:
    """ "; did you mean `x`?", or the names there are."""
    return hint(name, known) or (f": expected one of {', '.join(known)}" if known else ": there are none")


Fault = tuple[Place, str]  # path, and what to say of it: "must be …, but got …"

_STATED = {  # what to say of pydantic's types of errors, with their context
    "missing": "is missing",
    "value_error": "is wrong: {error}",
    "assertion_error": "is wrong: {error}",
}
_EXPECTED = {  # and where a value is not what was expected: what that is, in the words of a YAML file
    "config_error": "{expected}",
    "string_type": "a string",
    **dict.fromkeys(("bool_type", "bool_parsing"), "a boolean"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    "finite_number": "a finite number",
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type"), "a list"),
    **dict.fromkeys(("dict_type", "model_type", "dataclass_type"), "a mapping"),
    "no_entry": "a list of choices or a range {{low, high}}",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "greater_than": "above {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "below {lt:g}",
    "less_than_equal": "at most {le:g}",
    "too_short": "a list of at least {min_length} items",
    "too_long": "a list of at most {max_length} items",
}
_UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")

_Error = Mapping[str, Any]  # as pydantic has them: type, loc, ctx, input, msg


def _errors(error: ValidationError) -> Iterator[_Error]:
    """pydantic's errors, with one for each problem of a `ConfigError`."""
    for item in error.errors():
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, ConfigError):
            for problem in cause.problems:
                place, expected = (*item["loc"], problem.path), {"expected": problem.expected}
                yield {"type": "config_error", "loc": place, "ctx": expected, "input": problem.got}
        else:
            yield dict(item)


def _expectation(errors: Iterable[_Error]) -> str:
    """What all members of a union expect, as one: "a string or a mapping". Empty where it is no value that is wrong."""
    known = [error for error in errors if error["type"] in _EXPECTED]
    expected = dict.fromkeys(_EXPECTED[error["type"]].format(**error.get("ctx", {})) for error in known)
    if not expected.keys().isdisjoint(("a number", "a finite number")):
        expected.pop("a whole number", None)
    return " or ".join(expected)


def expectation(error: ValidationError) -> str:
    """What was expected in place of a value, in the words of a YAML file."""
    first = next(_errors(error))
    return _expectation([first]) or first["msg"]


def _classes(kind: Any) -> Iterator[type]:
    """The models and dataclasses in a type, such as a union or a mapping of them."""
    if isinstance(kind, type) and (dataclasses.is_dataclass(kind) or issubclass(kind, BaseModel)):
        yield kind
    for member in typing.get_args(kind):
        yield from _classes(member)


def _keys(kind: Any, path: Place) -> list[str]:
    """The keys that may stand where the last part of `path` does."""
    owners = [*_classes(kind)]
    if len(path) == 1:
        return [key for owner in owners[:1] for key in inspect.signature(owner).parameters]
    hints = ChainMap(*map(typing.get_type_hints, owners))
    return _keys(hints.get(str(path[0]), kind), path[1:])


def _place(error: _Error, raw: Any) -> Place:
    """pydantic's location as a path into the document: without the names of union members."""
    count = len(error["loc"]) - (error["type"] in ("missing", "config_error"))  # their last part may not be there
    path: list[str | int] = []
    for part in error["loc"][:count]:
        with contextlib.suppress(LookupError, TypeError):
            raw = raw[part]
            path.append(part)
    return (*path, *error["loc"][count:])


def _sentence(path: Place, errors: Sequence[_Error], kind: Any) -> str:
    first, last = errors[0], errors[-1]
    if first["type"] in _UNKNOWN_KEY:
        return "is no known key" + nearest(str(path[-1]), _keys(kind, path))
    if expected := _expectation(errors):
        return f"must be {expected}, but got {format_setting(last['input'])}{suggestion(expected, last['input'])}"
    if first["type"] in _STATED:
        return _STATED[first["type"]].format(**first.get("ctx", {}))
    return f"is wrong: {first['msg']}, but got {format_setting(last['input'])}"


def _faults(error: ValidationError, kind: Any, raw: dict[str, Any]) -> list[Fault]:
    found: dict[Place, list[_Error]] = {}
    for item in _errors(error):
        found.setdefault(_place(item, raw), []).append(item)
    around = set().union(*map(_around, found))  # of a union, the members that were not meant
    return [(path, _sentence(path, errors, kind)) for path, errors in found.items() if path not in around]


def _around(path: Place) -> set[Place]:
    return {path[:length] for length in range(len(path))}


def validate(
    kind: Any, raw: dict[str, Any], stand_ins: Mapping[str, Any] = MappingProxyType({})
) -> tuple[Any, list[Fault]]:
    """`raw` as a `kind`, and everything wrong with it.

    What is wrong is taken out (`stand_ins` take the place of what must be there) and the rest is looked at again, so
    that one mistake does not hide another. The value is None only where nothing is left to look at.
    """
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    rest = Document("", copy.deepcopy(raw))
    faults: dict[Place, str] = {(key,): "is missing" for key in stand_ins if key not in raw}
    removed: set[Place] = set()
    while () not in removed:
        rest.value = {**stand_ins, **rest.value}
        try:
            return adapter.validate_json(json.dumps(rest.value, default=str)), list(faults.items())
        except ValidationError as error:
            found = _faults(error, kind, rest.value)
        faults |= {path: text for path, text in found if _is_own(path, rest, removed)}
        removed |= {_culprit(path, rest) for path, _ in found}
        for culprit in removed:
            rest.remove(culprit)
    return None, list(faults.items())


def _is_own(path: Place, rest: Document, removed: set[Place]) -> bool:
    """Whether a fault is the file's own, not a consequence of a value that was taken out.

    What is at fault and not there is missing, or a default at odds with what the file says beside it.
    """
    return path in rest or all(other[:-1] != path[:-1] for other in removed)


def _culprit(path: Place, rest: Document) -> Place:
    """What to take out for a fault at `path`: that, or the nearest thing around it that is there and no list's item."""
    while path and (isinstance(path[-1], int) or path not in rest):
        path = path[:-1]
    return path
