"""YAML with the place of everything in it: values, line numbers, overrides from the command line."""

from __future__ import annotations

import contextlib
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Place = tuple[str | int, ...]

MOST_VALUES, DEEPEST = 100_000, 50  # beyond these it is no experiment: an alias in itself, or aliases that multiply


class DocumentError(ValueError):
    """Text that is no YAML mapping, holds a key twice, or an override that cannot be read."""


_EXPECTED = {
    "null": "nothing",
    "bool": "true or false",
    "int": "a whole number of 64 bits",
    "float": "a number",
    "str": "text",
    "seq": "a list",
    "map": "a mapping",
}


def _kind(tag: str | None) -> str:
    return (tag or "").rpartition(":")[2]


class _Loader(yaml.SafeLoader):
    """What JSON can hold, with YAML 1.2's numbers: PyYAML takes `1e-3` for a string and `2020-01-01` for a date."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, str):
                value.encode()
            if isinstance(value, int) and not -(2**63) <= value < 2**63:
                raise ValueError(value.bit_length())
        except (ValueError, LookupError) as error:
            problem = f"expected {_EXPECTED[_kind(node.tag)]}, but got {str(node.value)[:60]!r}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error
        return value


_Loader.yaml_constructors = {
    tag: construct for tag, construct in yaml.SafeLoader.yaml_constructors.items() if not tag or _kind(tag) in _EXPECTED
}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if _kind(tag) in {*_EXPECTED, "merge"}]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class Dumper(yaml.SafeDumper):
    """Writes what is read here: a text that looks like one of YAML 1.2's numbers is put in quotes."""


for _class in (_Loader, Dumper):
    _class.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"),
        list("-+.0123456789"),
    )


def format_path(path: Place) -> str:
    """('space', 'optimizer.lr', 2) -> 'space.optimizer.lr[2]'."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


@dataclass
class Document:
    """A mapping, and where each part of it comes from.

    Args:
        source: what to call it in messages, usually the file.
        value: the mapping.
        places: path -> line number, or 0 for the command line.
    """

    source: str
    value: dict[str, Any]
    places: dict[Place, int] = field(default_factory=dict)

    def where(self, path: Place) -> str:
        """The place of `path`, or of the nearest thing around it: "experiments/demo.yaml, line 14"."""
        line = self.line(path)
        if line is None:
            return self.source
        return f"{self.source}, line {line}" if line else "command line"

    def line(self, path: Place) -> int | None:
        """The line of `path` or of the nearest thing around it; 0 for the command line, None for neither."""
        known = (self.places.get(path[:length]) for length in range(len(path), 0, -1))
        return next((line for line in known if line is not None), None)

    def set(self, path: Place, value: Any) -> None:
        """Puts `value` at `path`, as from the command line; what is on the way and no mapping is replaced."""
        target: dict[Any, Any] = self.value
        for depth, part in enumerate(path[:-1]):
            if not isinstance(target.get(part), dict):
                target[part] = {}
                self.places[path[: depth + 1]] = 0
            target = target[part]
        target[path[-1]] = value
        self.places = {p: w for p, w in self.places.items() if p[: len(path)] != path}
        self.places[path] = 0

    def remove(self, path: Place) -> None:
        """Takes out what is at `path` of a mapping; nothing where there is nothing."""
        if path and path in self:
            del self.get(path[:-1])[path[-1]]

    def get(self, path: Place) -> Any:
        """What is at `path`.

        Raises:
            KeyError: nothing is.
        """
        target: Any = self.value
        try:
            for part in path:
                target = target[part]
        except (LookupError, TypeError) as error:
            raise KeyError(format_path(path)) from error
        return target

    def __contains__(self, path: Place) -> bool:
        with contextlib.suppress(KeyError):
            self.get(path)
            return True
        return False


def _is_text(key: yaml.Node) -> bool:
    return isinstance(key, yaml.ScalarNode) and _kind(key.tag) in ("str", "merge")


@dataclass
class _Outline:
    """The line of each part of some YAML, and a sentence for each key that stands twice or is no text."""

    source: str
    places: dict[Place, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def add(self, node: yaml.Node, path: Place = ()) -> None:
        if len(path) > DEEPEST or len(self.places) > MOST_VALUES:
            problem = f"expected at most {DEEPEST} levels and {MOST_VALUES:,} values; does an alias hold itself?"
            raise yaml.composer.ComposerError(None, None, problem, node.start_mark)
        self.places.setdefault(path, node.start_mark.line + 1)
        items = enumerate(node.value) if isinstance(node, yaml.SequenceNode) else self._entries(node, path)
        for key, item in items:
            self.add(item, (*path, key))

    def _entries(self, node: yaml.Node, path: Place) -> Iterator[tuple[str, yaml.Node]]:
        lines: dict[str, int] = {}
        for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
            line = key.start_mark.line + 1
            if not _is_text(key):
                self._refuse(key, path)
                continue
            inner = (*path, key.value)
            if key.value in lines:
                said = f"`{format_path(inner)}` stands twice, in lines {lines[key.value]} and {line}: keep one of them"
                self.wrong.append(f"{said} ({self.source})")
            lines.setdefault(key.value, line)
            self.places[inner] = line
            yield key.value, value

    def _refuse(self, key: yaml.Node, path: Place) -> None:
        text = key.value if isinstance(key, yaml.ScalarNode) else _EXPECTED.get(_kind(key.tag), key.tag)
        inside = f" in `{format_path(path)}`" if path else ""
        place = f"in line {key.start_mark.line + 1}: put it in quotes ({self.source})"
        self.wrong.append(f"a key{inside} must be text, but got {text} {place}")


def _describe(error: Exception, text: str) -> tuple[str, str]:
    """What is wrong with some YAML, and in which line."""
    match error:
        case yaml.MarkedYAMLError(problem=str(said), problem_mark=yaml.Mark(line=line)):
            return said, f", line {line + 1}"
        case yaml.reader.ReaderError():
            said = f"expected text, but got the character #x{error.character:02x}"
            return said, f", line {text.count(chr(10), 0, error.position) + 1}"
        case RecursionError():
            return f"expected at most {DEEPEST} levels, but there are far more", ""
    return f"this is no YAML: {error}", ""


def _load(text: str, source: str) -> tuple[Any, dict[Place, int]]:
    """What some YAML holds, and where.

    Raises:
        DocumentError: no YAML, or a key that stands twice or is no text; says where.
    """
    outline = _Outline(source)
    try:
        if node := yaml.compose(text, Loader=_Loader):
            outline.add(node)
        value = None if outline.wrong else yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        said, line = _describe(error, text)
        raise DocumentError(f"{said} ({source}{line})") from error
    if outline.wrong:
        raise DocumentError("\n".join(outline.wrong))
    return value, outline.places


def parse(text: str, source: str) -> Document:
    """A YAML mapping with the places of its parts.

    Raises:
        DocumentError: no YAML, no mapping, or a key that stands twice or is no text; says where.
    """
    value, places = _load(text, source)
    if not isinstance(value, dict):
        raise DocumentError(f"expected a mapping (`name: …`), but got {type(value).__name__} ({source})")
    return Document(source, value, places)


def read(path: Path) -> Document:
    """The YAML file at `path`.

    Raises:
        DocumentError: see `parse`; also where it cannot be read.
    """
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DocumentError(f"{path} cannot be read: {reason}") from error


def _override_path(key: str) -> Place:
    """`trial.optimizer.lr` -> its parts; a key of `space` is itself a dotted path and stays whole."""
    head, _, rest = key.partition(".")
    return (head, rest) if head == "space" and rest else tuple(key.split("."))


def _fix(document: Document, path: Place) -> None:
    """Takes a path of the trial, and all below it, out of the space."""
    section, *parts = map(str, path)
    space = document.value.get("space")
    if section == "trial" and isinstance(space, dict):
        below = ".".join(parts) + "."
        document.value["space"] = {key: entry for key, entry in space.items() if not f"{key}.".startswith(below)}


def override(document: Document, assignments: Sequence[str]) -> None:
    """Puts `key=value` pairs over the document. What is set under `trial` is fixed: it leaves the space.

    Raises:
        DocumentError: an assignment without `=`, or whose value is no YAML.
    """
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not re.fullmatch(r"[\w.\-/]+", key):
            raise DocumentError(f"expected key=value (`trial.epochs=2`), but got {assignment!r} (command line)")
        try:
            value, _ = _load(text, "command line")
        except DocumentError as error:
            raise DocumentError(textwrap.indent(str(error), f"`{key}`: ")) from error
        path = _override_path(key)
        document.set(path, value)
        _fix(document, path)
