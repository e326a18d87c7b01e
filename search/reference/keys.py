"""The page of all keys of the experiment file: Markdown that reads as well raw as rendered."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from search.reference.json_schema import Schema, definition
from search.reference.words import join_words, takes

_HEAD = """\
# Every key of the experiment file

<!-- Made by `uv run python -m search.reference` from the code's own schema and docstrings: mend it there. -->

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


def _key(path: str, schema: Schema, required: bool) -> Key:
    default = None if required else _plain(schema.get("default"))
    return Key(path, takes(schema), default, schema.get("description", ""))


def _sections(root: Schema, schema: Schema, path: str, said: str, level: int = 2) -> Iterator[Section]:
    """A section, then those in it."""
    inner = {key: part for key, value in schema["properties"].items() if (part := definition(root, value))}
    required = schema.get("required", [])
    keys = [
        _key(f"{path}.{key}", value, key in required) for key, value in schema["properties"].items() if key not in inner
    ]
    yield Section(level, f"`{path}`", said, tuple(keys))
    for key, part in inner.items():
        yield from _sections(root, part, f"{path}.{key}", _description(schema["properties"][key], part), level=3)


def _description(key: Schema, section: Schema) -> str:
    """What a section's class says of it, and what the key of it adds."""
    return "\n\n".join(dict.fromkeys(filter(None, (section.get("description"), key.get("description")))))


def _dataset(root: Schema, schema: Schema) -> Iterator[Section]:
    *built_in, own = [definition(root, choice) or choice for choice in schema["oneOf"]]
    names = [choice["properties"]["name"]["const"] for choice in built_in]
    choices = {"anyOf": [{"enum": names}, own["properties"]["name"]]}
    name = Key("dataset.name", takes(choices), None, _WHICH)
    yield Section(2, "`dataset`", schema["description"], (name,))
    for called, choice in zip(names, built_in, strict=True):
        required = choice["required"]
        keys = [
            _key(f"dataset.{key}", value, key in required)
            for key, value in choice["properties"].items()
            if key != "name"
        ]
        yield Section(3, f"`dataset`, where its `name` is `{called}`", choice["description"], tuple(keys))


def _space(schema: Schema) -> Section:
    ranges = {key: entry["anyOf"][1:] for key, entry in schema["properties"].items() if "anyOf" in entry}
    numbers = [f"`{key}`" for key, found in ranges.items() if found]
    others = [f"`{key}`" for key, found in ranges.items() if not found]
    interval = next(
        r for found in ranges.values() for r in found if takes(r["properties"]["step"]).startswith("number")
    )
    keys = [
        _key(f"space.PATH.{key}", value | {"type": "number"} if "$ref" in value else value, key in interval["required"])
        for key, value in interval["properties"].items()
    ]
    said = [
        schema["description"],
        f"These take a list of choices: {join_words(others, 'and')}. Where `trial` names an encoder or weights for "
        "each modality, so do `encoder.NAME` and `weights.NAME`.",
        f"These take a list of choices, or a range with the keys below: {join_words(numbers, 'and')}.",
    ]
    return Section(2, "`space`", "\n\n".join(said), tuple(keys))


def sections(root: Schema) -> list[Section]:
    """All keys of the schema of an experiment file, in its order."""
    alone: list[Key] = []
    found: list[Section] = []
    for key, value in root["properties"].items():
        if "oneOf" in value:
            found += _dataset(root, value)
        elif part := definition(root, value):
            found += _sections(root, part, key, _description(value, part))
        elif "patternProperties" in value:
            found.append(_space(value))
        else:
            alone.append(_key(key, value, key in root["required"]))
    return [Section(2, "The experiment", root["description"], tuple(alone)), *found]


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
