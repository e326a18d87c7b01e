"""Validation of a mapping against a pydantic model or dataclass, with one sentence for each error, all at once."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import difflib
import inspect
import json
import math
import re
import typing
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from ogmge.config import ConfigError
from search.experiment.yaml_source import Document, Place, format_path


def format_setting(value: Any) -> str:
    """Format a value as YAML, shortened if it is long.

    >>> format_setting({"a": None}), format_setting(True), format_setting("sum"), format_setting(float("-inf"))
    ('{"a": null}', 'true', "'sum'", '-.inf')
    """
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "…"


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a phrase for each key whose value differs, in the order of the keys.

    >>> differences({"lr": 0.1, "seed": 0}, {"lr": 0.1, "seed": None})
    ['`seed` was 0 and is now null']
    """
    return [
        f"`{key}` was {format_setting(before.get(key))} and is now {format_setting(now.get(key))}"
        for key in {**before, **now}
        if before.get(key) != now.get(key)
    ]


LEAST_SIMILAR = 0.65  # ratio from which a name is suggested: `snr` for `snr_db`, but not `bayes` for `cmaes`


def hint(name: str, known: Sequence[str], below: Place = ()) -> str:
    """Return "; did you mean `x`?" if a known name is similar, otherwise an empty string.

    Args:
        name: what was written.
        known: names that exist.
        below: path that the names are below; the suggestion begins with it.

    >>> hint("epcohs", ["epochs"], ("trial",)), hint("bayes", ["cmaes"])
    ('; did you mean `trial.epochs`?', '')
    """
    close = difflib.get_close_matches(name, known, n=1, cutoff=LEAST_SIMILAR)
    return f"; did you mean `{format_path((*below, close[0]))}`?" if close else ""


def suggestion(expected: str, value: Any) -> str:
    """Return "; did you mean `x`?" if the value is similar to an expected word, otherwise an empty string.

    >>> suggestion("tpe, random or a list", "tpee")
    '; did you mean `tpe`?'
    >>> suggestion("concat, film or package.module:factory", "sum")
    ''
    >>> suggestion("a list of choices or a range", "sum,film")
    '; did you mean `[sum, film]`?'
    """
    if "a list" in expected and isinstance(value, str) and "," in value:
        return f"; did you mean `[{', '.join(part.strip() for part in value.split(','))}]`?"
    words = [word for word in re.split(r", | or ", expected) if re.fullmatch(r"\w+", word)]
    return hint(value, words) if isinstance(value, str) else ""


def nearest(name: str, known: Sequence[str], below: Place = ()) -> str:
    """Return "; did you mean `x`?" if a known name is similar, otherwise the list of known names; see `hint`."""
    return hint(name, known, below) or (f": expected one of {', '.join(known)}" if known else ": there are none")


Fault = tuple[Place, str]  # path, and the rest of the sentence: "must be …, but got …"

_STATED = {  # pydantic's error types that are complete sentences, filled in from the error's context
    "missing": "is missing",
    "value_error": "is invalid: {error}",
    "assertion_error": "is invalid: {error}",
}
_EXPECTED = {  # pydantic's error types about a value: what was expected, in terms of a YAML file
    "config_error": "{expected}",
    "string_type": "text",
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
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
    "too_short": "a list with a length of at least {min_length}",
    "too_long": "a list with a length of at most {max_length}",
}
_UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")

_Error = Mapping[str, Any]  # as in pydantic: type, loc, ctx, input, msg


def _errors(error: ValidationError) -> Iterator[_Error]:
    """Yield pydantic's errors; a `ConfigError` among them yields one error for each of its problems."""
    for item in error.errors():
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, ConfigError):
            for problem in cause.problems:
                place, expected = (*item["loc"], *_split(problem.path)), {"expected": problem.expected}
                yield {"type": "config_error", "loc": place, "ctx": expected, "input": problem.got}
        elif item["type"] in ("literal_error", "enum"):
            yield {**item, "ctx": {"expected": item["ctx"]["expected"].replace("'", "")}}
        else:
            yield dict(item)


def _split(path: str) -> Place:
    """Split `encoder.audio`, the path of a problem; the name of a modality may contain a dot."""
    return tuple(path.split(".", maxsplit=1))


def _expectation(errors: Iterable[_Error]) -> str:
    """Return what the members of a union expect, such as "text or a mapping"; empty if no error is about a value."""
    known = [error for error in errors if error["type"] in _EXPECTED]
    expected = dict.fromkeys(_EXPECTED[error["type"]].format(**error.get("ctx", {})) for error in known)
    if not expected.keys().isdisjoint(("a number", "a finite number")):
        expected.pop("a whole number", None)
    return " or ".join(expected)


def expectation(error: ValidationError) -> str:
    """Return what was expected instead of a value, in terms of a YAML file."""
    first = next(_errors(error))
    return _expectation([first]) or first["msg"]


def _classes(kind: Any) -> Iterator[type]:
    """Yield the models and dataclasses in a type, such as a union or a mapping of them."""
    if isinstance(kind, type) and (dataclasses.is_dataclass(kind) or issubclass(kind, BaseModel)):
        yield kind
    for member in typing.get_args(kind):
        yield from _classes(member)


def _keys(kind: Any, path: Place) -> list[str]:
    """Return the keys that are allowed in place of the last part of `path`."""
    owners = [*_classes(kind)]
    if len(path) == 1:
        return [key for owner in owners[:1] for key in inspect.signature(owner).parameters]
    hints = ChainMap(*map(typing.get_type_hints, owners))
    return _keys(hints.get(str(path[0]), kind), path[1:])


def _place(error: _Error, raw: Any) -> Place:
    """Return pydantic's location as a path into the document, without the names of union members."""
    count = len(error["loc"]) - (error["type"] in ("missing", "config_error"))  # the last part may not exist
    path: list[str | int] = []
    for part in error["loc"][:count]:
        with contextlib.suppress(LookupError, TypeError):
            raw = raw[part]
            path.append(part)
    return (*path, *error["loc"][count:])


def _instead(key: str, known: Sequence[str], below: Place) -> str:
    """Return what to write instead of an unknown key; in a file, a dotted key is nested."""
    section, _, rest = key.partition(".")
    if rest and section in known:
        return f": nest it, `{section}: {{{rest}: …}}`"
    return nearest(key, known, below)


def _sentence(path: Place, errors: Sequence[_Error], kind: Any, below: Place) -> str:
    first, last = errors[0], errors[-1]
    if first["type"] in _UNKNOWN_KEY:
        return "is not a known key" + _instead(str(path[-1]), _keys(kind, path), (*below, *path[:-1]))
    if expected := _expectation(errors):
        return f"must be {expected}, but got {format_setting(last['input'])}{suggestion(expected, last['input'])}"
    if first["type"] in _STATED:
        return _STATED[first["type"]].format(**first.get("ctx", {}))
    return f"is invalid: {first['msg']}, but got {format_setting(last['input'])}"


def _faults(error: ValidationError, kind: Any, raw: dict[str, Any], below: Place) -> list[Fault]:
    found: dict[Place, list[_Error]] = {}
    document = Document("", raw)
    for item in _errors(error):
        path = _place(item, raw)
        got = document.get(path) if path in document else item["input"]  # as written: -1, not the -1.0 it is read as
        found.setdefault(path, []).append({**item, "input": got})
    around = set().union(*map(_around, found))  # errors of those members of a union that were not meant
    return [(path, _sentence(path, errors, kind, below)) for path, errors in found.items() if path not in around]


def _around(path: Place) -> set[Place]:
    return {path[:length] for length in range(len(path))}


def validate(
    kind: Any, raw: dict[str, Any], stand_ins: Mapping[str, Any] = MappingProxyType({}), below: Place = ()
) -> tuple[Any, list[Fault]]:
    """Return `raw` as a `kind`, and all faults in it.

    Faulty values are removed and the rest is validated again, because one error can hide another. `stand_ins` replace
    required values that were removed or are missing. `below` is the path of `raw` in its file, for suggestions. The
    returned value is None only if nothing is left to validate.
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
            found = _faults(error, kind, rest.value, below)
        faults |= {path: text for path, text in found if _is_own(path, rest, removed)}
        removed |= {_culprit(path, rest) for path, _ in found}
        for culprit in removed:
            rest.remove(culprit)
    return None, list(faults.items())


def _is_own(path: Place, rest: Document, removed: set[Place]) -> bool:
    """Return whether a fault is the file's own and not the consequence of a removed value.

    A fault at a path that the document lacks is a missing value, or a default that contradicts the other values.
    """
    return path in rest or all(other[:-1] != path[:-1] for other in removed)


def _culprit(path: Place, rest: Document) -> Place:
    """Return the path to remove for a fault at `path`: itself, or its nearest parent that exists outside of lists."""
    while path and (isinstance(path[-1], int) or path not in rest):
        path = path[:-1]
    return path
