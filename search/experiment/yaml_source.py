"""YAML documents that know the line of each value and take overrides from the command line."""

from __future__ import annotations

import codecs
import contextlib
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from datasets.index.regular_file import open_regular
from search.experiment.escaping import escape_line
from search.experiment.program import ENDINGS

Place = tuple[str | int, ...]

ARCHIVE = b"PK"  # first bytes of a checkpoint
MOST_FILES = 3  # to suggest
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # first bytes of such a file
COMMAND_LINE = "command line"  # source of what is set there
BEST = "best.yaml"  # of a run's folder
PIPES = (("/", "dev", "fd"), ("/", "dev", "stdin"))  # where the shell puts `<(…)`; any other pipe would block
MOST_BYTES = 10_000_000
MOST_VALUES, DEEPEST = 100_000, 50  # more than any experiment has: an alias contains itself, or aliases multiply


class DocumentError(ValueError):
    """Text that is not a valid YAML mapping, a key that appears twice, or an unreadable override."""


_EXPECTED = {
    "null": "nothing",
    "bool": "true or false",
    "int": "a whole number that fits in 64 bits",
    "float": "a number",
    "str": "text",
    "seq": "a list",
    "map": "a mapping",
}


_TOP_LEVEL = {type(None): "an empty file", list: "a list", str: "text", bool: "true or false"}  # else a number
_HINTS = {  # start of a message of PyYAML's -> what to look for
    "found character '\\t'": "indent with spaces instead of tabs",
    "mapping values are not allowed here": "check the indentation, and the space after each colon",
}
_OPENED = {  # PyYAML's context -> what was opened
    "while parsing a flow mapping": "mapping",
    "while parsing a flow sequence": "list",
    "while scanning a quoted scalar": "text in quotes",
}


def _kind(tag: str | None) -> str:
    return (tag or "").rpartition(":")[2]


class _Loader(yaml.SafeLoader):
    """Loader of JSON's types with YAML 1.2's numbers: PyYAML alone reads `1e-3` as text and `2020-01-01` as a date."""

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
    """Dumper that matches the loader: it quotes text that looks like one of YAML 1.2's numbers."""


for _class in (_Loader, Dumper):
    _class.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"),
        list("-+.0123456789"),
    )


def _place(source: str, line: int | None) -> str:
    """Return a source with the line, if it has lines: the command line has none."""
    return source if line is None or source == COMMAND_LINE else f"{source}, line {line}"


def format_path(path: Place) -> str:
    """Format a path.

    >>> format_path(("space", "optimizer.lr", 2))
    'space.optimizer.lr[2]'
    """
    return "".join(f"[{part}]" if isinstance(part, int) else f".{escape_line(part)}" for part in path).removeprefix(".")


@dataclass
class Document:
    """A mapping and the origin of each of its parts.

    Args:
        source: name of the document in messages, usually its file.
        value: the mapping.
        places: line number of each path; 0 for the command line.
    """

    source: str
    value: dict[str, Any]
    places: dict[Place, int] = field(default_factory=dict)

    def where(self, path: Place) -> str:
        """Return the place of `path` or of its nearest known parent, such as "experiments/demo.yaml, line 14"."""
        line = self.line(path)
        return COMMAND_LINE if line == 0 else _place(self.source, line)

    def line(self, path: Place) -> int | None:
        """Return the line of `path` or of its nearest known parent; 0 for the command line, None if there is none."""
        known = (self.places.get(path[:length]) for length in range(len(path), 0, -1))
        return next((line for line in known if line is not None), None)

    def set(self, path: Place, value: Any) -> None:
        """Set `path` to `value`, as from the command line; replace parents that are not mappings."""
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
        """Remove the value at `path`, if it exists."""
        if path and path in self:
            del self.get(path[:-1])[path[-1]]

    def get(self, path: Place) -> Any:
        """Return the value at `path`.

        Raises:
            KeyError: if there is none.
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
    """The line of each part of a YAML text, and a sentence for each key that appears twice or is not text."""

    source: str
    places: dict[Place, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def add(self, node: yaml.Node, path: Place = ()) -> None:
        if len(path) > DEEPEST or len(self.places) > MOST_VALUES:
            limits = f"{DEEPEST} levels and {MOST_VALUES:,} values"
            problem = f"expected at most {limits}, but there are more: does an alias contain itself?"
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
                said = f"`{format_path(inner)}` appears twice, in lines {lines[key.value]} and {line}: keep one of them"
                self.wrong.append(f"{said} ({self.source})")
            lines.setdefault(key.value, line)
            self.places[inner] = line
            yield key.value, value

    def _refuse(self, key: yaml.Node, path: Place) -> None:
        text = key.value if isinstance(key, yaml.ScalarNode) else _EXPECTED.get(_kind(key.tag), key.tag)
        inside = f" in `{format_path(path)}`" if path else ""
        place = f"put it in quotes ({_place(self.source, key.start_mark.line + 1)})"
        self.wrong.append(f"a key{inside} must be text, but got {text}: {place}")


def _describe(error: Exception, text: str) -> tuple[str, int | None]:
    """Return what is wrong with a YAML text, and the line."""
    match error:
        case yaml.MarkedYAMLError(problem=str(said), problem_mark=yaml.Mark(line=line)):
            hints = [f": {hint}" for start, hint in _HINTS.items() if said.startswith(start)]
            said = said.replace("'<stream end>'", "the end of the text")
            return "".join([said, _opened(error, line), *hints]), line + 1
        case yaml.reader.ReaderError():
            said = f"expected text, but got the character #x{error.character:02x}"
            return said, text.count(chr(10), 0, error.position) + 1
        case RecursionError():
            return f"expected at most {DEEPEST} levels, but there are many more", None
    return f"not valid YAML: {error}", None


def _opened(error: yaml.MarkedYAMLError, line: int) -> str:
    """Return where the mapping, list or text opens that an error is in, if on an earlier line; lines from 0."""
    kind, mark = _OPENED.get(error.context or ""), error.context_mark
    return f" in the {kind} that opens on line {mark.line + 1}" if kind and mark and mark.line < line else ""


def _load(text: str, source: str) -> tuple[Any, dict[Place, int]]:
    """Return the value of a YAML text, and the line of each of its parts.

    Raises:
        DocumentError: if the text is not valid YAML, or a key appears twice or is not text; names the lines.
    """
    outline = _Outline(source)
    try:
        if node := yaml.compose(text, Loader=_Loader):
            outline.add(node)
        value = None if outline.wrong else yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        said, line = _describe(error, text)
        raise DocumentError(f"{said} ({_place(source, line)})") from error
    if outline.wrong:
        raise DocumentError("\n".join(outline.wrong))
    return value, outline.places


def parse(text: str, source: str) -> Document:
    """Parse a YAML mapping.

    Raises:
        DocumentError: if the text is not a valid YAML mapping, or a key appears twice or is not text; names the lines.
    """
    value, places = _load(text, source)
    if not isinstance(value, dict):
        found = _TOP_LEVEL.get(type(value), "a number")
        raise DocumentError(f"expected a mapping (`name: …`), but got {found} ({source})")
    return Document(source, value, places)


def read(path: Path) -> Document:
    """Read the YAML mapping in the file at `path`.

    Raises:
        DocumentError: if the file is unreadable, or as in `parse`.
    """
    try:
        is_piped = path.parts[:3] in PIPES
        with path.open("rb") if is_piped else open_regular(path) as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise DocumentError(f"cannot read {path}: an experiment file has at most {MOST_BYTES // 10**6} MB")
        return parse(content.decode().replace("\r\n", "\n").replace("\r", "\n"), str(path))
    except OSError as error:
        raise DocumentError(f"cannot read {path}: {error.strerror}{_meant(path)}") from error
    except UnicodeDecodeError as error:
        line, byte = error.object[: error.start].count(b"\n") + 1, error.object[error.start]
        got = "the file is in UTF-16" if error.object[:2] in UTF_16 else f"line {line} has the byte 0x{byte:02x}"
        said = f"cannot read {path}: expected text in UTF-8, but {got}"
        if error.object[:2] == ARCHIVE:
            raise DocumentError(f"{said}: it is a checkpoint or another archive{_meant(path.parent)}") from error
        raise DocumentError(f"{said}; save the file as UTF-8") from error


def _meant(path: Path) -> str:
    """Return "; did you mean demo.yaml?" if such files are in the path's folder, or have a name like the path's."""
    there = [str(file) for file in (_files_in(path) if path.is_dir() else _files_like(path)) if file.is_file()]
    return f"; did you mean {' or '.join(dict.fromkeys(there))}?" if there else ""


def _files_in(folder: Path) -> list[Path]:
    """Return the best configuration of a run's folder, and the first experiment files of any other folder."""
    if (folder / BEST).is_file():
        return [folder / BEST]
    return sorted(file for ending in ENDINGS for file in folder.glob(f"[!.]*{ending}"))[:MOST_FILES]


def _files_like(path: Path) -> list[Path]:
    """Return where a file may be that was named without its folder or ending, with another ending, or by its run."""
    spelt = [path.with_name(name + ending) for name in (path.name, path.stem) for ending in ENDINGS]
    named = [Path("experiments", path.name), Path("experiments", f"{path.name}.yaml"), Path("runs", path.name, BEST)]
    return [*(file for file in spelt if path.suffix in ("", *ENDINGS)), *named] if path.name else named


def _override_path(key: str) -> Place:
    """Split `trial.optimizer.lr` into its parts; a key of `space` is itself a dotted path and is not split."""
    head, _, rest = key.partition(".")
    return (head, rest) if head == "space" and rest else tuple(key.split("."))


def _fix(document: Document, path: Place) -> None:
    """Remove a path of the trial, and everything below it, from the space."""
    section, *parts = map(str, path)
    space = document.value.get("space")
    if section == "trial" and isinstance(space, dict):
        below = ".".join(parts) + "."
        document.value["space"] = {key: entry for key, entry in space.items() if not f"{key}.".startswith(below)}


def override(document: Document, assignments: Sequence[str]) -> None:
    """Override parts of the document with `key=value` pairs. A `trial` key that is set is removed from the space.

    Raises:
        DocumentError: if an assignment has no `=`, or its value is not valid YAML.
    """
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not re.fullmatch(r"[\w.\-/]+", key):
            raise DocumentError(f"expected key=value (`trial.epochs=2`), but got {assignment!r} ({COMMAND_LINE})")
        try:
            value, _ = _load(text, COMMAND_LINE)
        except DocumentError as error:
            raise DocumentError(textwrap.indent(str(error), f"`{key}`: ")) from error
        path = _override_path(key)
        document.set(path, value)
        _fix(document, path)
