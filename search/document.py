"""YAML with the place of everything in it: values, line numbers, overrides from the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Place = tuple[str | int, ...]


class DocumentError(ValueError):
    """Text that is no YAML mapping, holds a key twice, or an override that cannot be read."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2's numbers: PyYAML takes `1e-3` for a string."""


_Loader.yaml_implicit_resolvers = dict(yaml.SafeLoader.yaml_implicit_resolvers)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def dotted(path: Place) -> str:
    """('space', 'optimizer.lr', 2) -> 'space.optimizer.lr[2]'."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".")


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
        """Takes out what is at `path`; nothing where there is nothing."""
        target: Any = self.value
        for part in path[:-1]:
            target = target.get(part) if isinstance(target, dict) else None
        if isinstance(target, dict):
            target.pop(path[-1], None)

    def get(self, path: Place) -> Any:
        """What is at `path`.

        Raises:
            KeyError: nothing is.
        """
        target: Any = self.value
        for part in path:
            try:
                target = target[part]
            except (KeyError, IndexError, TypeError) as error:
                raise KeyError(dotted(path)) from error
        return target


def _walk(node: yaml.Node, path: Place, places: dict[Place, int], twice: list[str]) -> None:
    places.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*path, index), places, twice)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key, value in node.value:
        name, line = str(key.value), key.start_mark.line + 1
        if name in seen:
            twice.append(f"`{dotted((*path, name))}` stands twice, in lines {seen[name]} and {line}: keep one of them")
        seen.setdefault(name, line)
        places[(*path, name)] = line
        _walk(value, (*path, name), places, twice)


def parse(text: str, source: str) -> Document:
    """A YAML mapping with the places of its parts.

    Raises:
        DocumentError: no YAML, no mapping, or a key that stands twice; says where.
    """
    places: dict[Place, int] = {}
    twice: list[str] = []
    try:
        node = yaml.compose(text, Loader=_Loader)
        value = yaml.load(text, Loader=_Loader)
        if isinstance(value, dict) and node is not None:
            _walk(node, (), places, twice)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise DocumentError(f"{error.problem or error.context} ({source}{line})") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise DocumentError(f"this is no YAML: {error} ({source})") from error
    if not isinstance(value, dict) or node is None:
        raise DocumentError(f"expected a mapping (`name: …`), but got {type(value).__name__} ({source})")
    if twice:
        raise DocumentError("\n".join(f"{sentence} ({source})" for sentence in twice))
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
            value = yaml.load(text, Loader=_Loader)
        except yaml.YAMLError as error:
            raise DocumentError(f"the value of `{key}` is no YAML: {text!r} (command line)") from error
        path = _override_path(key)
        document.set(path, value)
        if path[0] == "trial":
            document.remove(("space", ".".join(map(str, path[1:]))))
