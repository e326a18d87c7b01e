"""A mapping as a pydantic model or dataclass, or a sentence for everything that is wrong with it, all at once."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import json
import re
import types
import typing
from collections.abc import Sequence
from typing import Annotated, Any

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


def _fields(kind: Any) -> dict[str, Any]:
    """Field names and types of a pydantic model or dataclass; of a union, its first such member."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return typing.get_type_hints(kind)
    if typing.get_origin(kind) in (typing.Union, types.UnionType, Annotated):
        return next((found for member in typing.get_args(kind) if (found := _fields(member))), {})
    return {}


def _known(kind: Any, path: Place) -> list[str]:
    """The keys that may stand where the last part of `path` does."""
    for part in path[:-1]:
        fields = _fields(kind)
        args = typing.get_args(kind)
        kind = fields[str(part)] if part in fields else (args[1] if typing.get_origin(kind) is dict else None)
    return [name for name in _fields(kind) if not name.startswith("__")]


def _place(location: Sequence[str | int], raw: Any, *, missing: bool) -> Place:
    """pydantic's location as a path into the document: without the names of union members."""
    path: list[str | int] = []
    for index, part in enumerate(location):
        inside = part in (raw if isinstance(raw, dict) else range(len(raw)) if isinstance(raw, list) else ())
        if inside:
            raw = raw[part]
            path.append(part)
        elif missing and index == len(location) - 1:
            path.append(part)
    return tuple(path)


Fault = tuple[Place, str]  # path, and what to say of it: "must be …, but got …"


def _faults(error: ValidationError, kind: Any, raw: dict[str, Any]) -> list[Fault]:
    found: dict[Place, list[str]] = {}
    values: dict[Place, Any] = {}
    for item in error.errors():
        path = _place(item["loc"], raw, missing=item["type"] == "missing")
        cause = item.get("ctx", {}).get("error")
        if item["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            found.setdefault(path, []).append("is no known key" + nearest(str(path[-1]), _known(kind, path)))
        elif item["type"] == "missing":
            found.setdefault(path, []).append("is missing")
        elif isinstance(cause, ConfigError):
            for problem in cause.problems:
                inner = (*path, *problem.path.split("."))
                found.setdefault(inner, []).append(f"must be {problem.expected}")
                values[inner] = problem.got
        elif cause is not None:
            found.setdefault(path, []).append(f"is wrong: {cause}")
        else:
            entry = len(path) == 2 and path[0] == "space"
            expected = "must be a list of choices or a range {low, high}" if entry else _expectation(item["msg"])
            found.setdefault(path, []).append(expected)
            values[path] = item["input"]
    return [
        (path, _join_expectations(texts) + (_instead(texts, values[path]) if path in values else ""))
        for path, texts in found.items()
        if not any(p[: len(path)] == path and p != path for p in found)  # of a union, the member that was meant
    ]


def _instead(texts: list[str], value: Any) -> str:
    expected = " or ".join(text.removeprefix("must be ") for text in texts)
    return f", but got {format_setting(value)}{suggestion(expected, value)}"


def _join_expectations(texts: list[str]) -> str:
    """Expectations of a union's members as one: "must be a string or a mapping"."""
    text = " or ".join([texts[0], *(t.removeprefix("must be ") for t in dict.fromkeys(texts[1:]))])
    return re.sub("a whole number or a (finite )?number", r"a \1number", text)


_WORDS = {
    "a integer": "a whole number",
    "a array": "a list",
    "an object": "a mapping",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "greater than": "above",
    "less than": "below",
}


def _expectation(message: str) -> str:
    """pydantic's sentence in the words of a YAML file."""
    plain = re.sub(r"^Input should be |valid |, unable to .*| after validation.*", "", message)
    plain = re.sub(r"^(Tuple|List|Set) should have", "a list of", plain)
    for theirs, ours in _WORDS.items():
        plain = plain.replace(theirs, ours)
    return f"must be {plain}"


def validate(kind: Any, raw: dict[str, Any], stand_ins: dict[str, Any] | None = None) -> tuple[Any, list[Fault]]:
    """`raw` as a `kind`, and everything wrong with it.

    What is wrong is taken out (`stand_ins` take the place of what must be there) and the rest is looked at again, so
    that one mistake does not hide another. The value is None only where nothing is left to look at.
    """
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    missing: list[Fault] = [((key,), "is missing") for key in stand_ins or {} if key not in raw]
    faults: dict[Place, str] = dict(missing)
    rest = Document("", copy.deepcopy(raw))
    while True:
        rest.value = {**(stand_ins or {}), **rest.value}
        try:
            return adapter.validate_json(json.dumps(rest.value, default=str)), list(faults.items())
        except ValidationError as error:
            found = _faults(error, kind, rest.value)
        culprits = [_culprit(path, rest.value) for path, _ in found]
        faults |= {path: text for path, text in found if _own(path, rest.value, raw, faults)}
        if () in culprits:
            return None, list(faults.items())
        for culprit in culprits:
            rest.remove(culprit)


def _there(values: dict[str, Any], path: Place) -> bool:
    try:
        Document("", values).get(path)
    except KeyError:
        return False
    return True


def _own(path: Place, rest: dict[str, Any], raw: dict[str, Any], faults: dict[Place, str]) -> bool:
    """Whether a fault is the file's own, not a consequence of a value that was taken out.

    What is at fault and not there is missing, or a default at odds with what the file says beside it.
    """
    beside = any(p[:-1] == path[:-1] for p in faults)
    return _there(rest, path) or not (_there(raw, path) or beside)


def _culprit(path: Place, rest: dict[str, Any]) -> Place:
    """What to take out for a fault at `path`: that, or the nearest thing around it that is there and no list's item."""
    while path and (isinstance(path[-1], int) or not _there(rest, path)):
        path = path[:-1]
    return path
