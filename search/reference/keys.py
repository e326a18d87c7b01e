"""The page of all keys of the experiment file: Markdown that reads as well raw as rendered."""

from __future__ import annotations

import itertools
import json
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from search.reference.members import Schema, members
from search.reference.words import join_words, takes

_HEAD = """\
# Every key of the experiment file

<!-- Made by `uv run python -m search.reference` from the code's own schema and docstrings: edit those. -->

A key is named by its dotted path, as on the command line: `run_search.py FILE search.trials=64 trial.optimizer.lr=0.1`.
After it stand what it takes, and what holds where it is not given. `package.module:factory` and `package.module:Class`
are of one's own, imported from beside the experiment file or from what is installed.

An editor with a YAML language server completes and checks keys as they are typed, where the first line of a file names
the schema, by a path from there or a URL:

```text
# yaml-language-server: $schema=../docs/experiment.schema.json
```

It sees one key at a time. What must agree, such as the start and end of a window, is checked before a search begins.
"""

_WHICH = "Which data set: one that is built in, or a class of one's own, whose fields are then the options."


@dataclass(frozen=True)
class Key:
    """One key, in words.

    Args:
        path: dotted, from the top of the file.
        takes: what may stand there.
        default: what holds where it is not given, as the file would have it; None where it must be given.
        meaning: in a sentence or more.
    """

    path: str
    takes: str
    default: str | None
    meaning: str


@dataclass(frozen=True)
class Section:
    """Keys that stand together, under a title; `level` 3 is a part of what has level 2."""

    level: int
    title: str
    meaning: str
    keys: tuple[Key, ...]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _keys(path: str, schema: Schema, *without: str) -> tuple[Key, ...]:
    """The keys of a section at `path`, without some."""
    needed = schema.get("required", [])
    return tuple(
        Key(path + key, takes(value), None if key in needed else _plain(value.get("default")), value["description"])
        for key, value in schema["properties"].items()
        if key not in without
    )


def _definition(root: Schema, schema: Schema) -> Schema | None:
    """The section of the file that a key holds, where it holds one."""
    return next((member for member in members(schema, root["$defs"]) if "properties" in member), None)


def _sections(root: Schema, schema: Schema, path: str, said: str, level: int = 2) -> Iterator[Section]:
    """A section, then those in it."""
    inner = {key: part for key, value in schema["properties"].items() if (part := _definition(root, value))}
    yield Section(level, f"`{path}`", said, _keys(f"{path}.", schema, *inner))
    for key, part in inner.items():
        yield from _sections(root, part, f"{path}.{key}", _description(schema["properties"][key], part), level=3)


def _description(key: Schema, section: Schema) -> str:
    """What a section's class says of it, and what the key of it adds."""
    return "\n\n".join(dict.fromkeys(filter(None, (section.get("description"), key.get("description")))))


def _dataset(root: Schema, schema: Schema) -> Iterator[Section]:
    *built_in, own = members(schema, root["$defs"])
    names = [choice["properties"]["name"]["const"] for choice in built_in]
    either = {"anyOf": [{"enum": names}, own["properties"]["name"]]}
    yield Section(2, "`dataset`", schema["description"], (Key("dataset.name", takes(either), None, _WHICH),))
    for name, choice in zip(names, built_in, strict=True):
        title = f"`dataset`, where its `name` is `{name}`"
        yield Section(3, title, choice["description"], _keys("dataset.", choice, "name"))


def _space(schema: Schema) -> Section:
    ranges = {f"`{key}`": entry["anyOf"][1:] for key, entry in schema["properties"].items()}
    numbers, others = [*filter(ranges.get, ranges)], [*itertools.filterfalse(ranges.get, ranges)]
    interval = ranges["`optimizer.lr`"][0]  # of any numbers
    properties = {key: {"type": "number"} | value for key, value in interval["properties"].items()}
    said = [
        schema["description"],
        f"These take a list of choices: {join_words(others, 'and')}. Where `trial` names an encoder or weights for "
        "each modality, so do `encoder.NAME` and `weights.NAME`.",
        f"These take a list of choices, or a range with the keys below: {join_words(numbers, 'and')}.",
    ]
    return Section(2, "`space`", "\n\n".join(said), _keys("space.PATH.", interval | {"properties": properties}))


def _inside(root: Schema, key: str, value: Schema) -> Iterable[Section]:
    """The sections that a key of the file holds; none where it is no section."""
    if "oneOf" in value:
        return _dataset(root, value)
    if "patternProperties" in value:
        return [_space(value)]
    part = _definition(root, value)
    return _sections(root, part, key, _description(value, part)) if part else ()


def sections(root: Schema) -> list[Section]:
    """All keys of the schema of an experiment file, in its order."""
    inside = {key: [*_inside(root, key, value)] for key, value in root["properties"].items()}
    alone = _keys("", root, *filter(inside.get, inside))
    return [Section(2, "The experiment", root["description"], alone), *itertools.chain(*inside.values())]


def _wrap(text: str, indent: str = "") -> str:
    """Lines of 120 at most; none begins with a dash, which would be a list's."""
    glued = text.replace(" - ", "\0-\0")
    lines = textwrap.wrap(
        glued,
        120,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines).replace("\0", " ")


def _entry(key: Key) -> str:
    default = "must be given" if key.default is None else f"default `{key.default}`"
    head = _wrap(f"- `{key.path}`: {key.takes}; {default}").replace("\n", "\n  ")
    return f"{head}\n\n{_wrap(key.meaning, '  ')}"


def page(root: Schema) -> str:
    """The page of a schema."""
    blocks = [_HEAD.rstrip()]
    for section in sections(root):
        blocks.append(f"{'#' * section.level} {section.title}")
        blocks += [_wrap(paragraph) for paragraph in section.meaning.split("\n\n")]
        blocks += [_entry(key) for key in section.keys]
    return "\n\n".join(blocks) + "\n"
