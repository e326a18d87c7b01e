"""What a shell is offered to complete a word of a command: runs, models, and the keys of the experiment file.

Nothing is imported for it that takes time: keys are read from the JSON schema that is made for editors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click

from search.reference.members import Schema, choices, members

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "experiment.schema.json"

Offer = Callable[[click.Context, click.Parameter, str], list[str]]


def _completions(words: Iterable[str], begun: str) -> list[str]:
    return [word for word in dict.fromkeys(words) if word.startswith(begun)]


def runs(folder: Path, holding: str) -> Offer:
    """Names of the runs in a folder that have a file of this name."""
    return lambda context, parameter, begun: _completions(
        sorted(found.parent.name for found in folder.glob(f"*/{holding}")), begun
    )


def assignments(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """`KEY=` of each key of the experiment file; behind that its choices, where it has some."""
    root = json.loads(SCHEMA.read_text(encoding="utf-8"))
    keys = _keys(root, root["$defs"])
    if "=" in begun:
        return _completions((f"{path}={choice}" for path, value in keys for choice in _choices(value)), begun)
    return _completions((f"{path}=" for path, _ in keys), begun)


def _keys(section: Schema, definitions: dict[str, Schema], prefix: str = "") -> Iterator[tuple[str, Schema]]:
    """Dotted path and schema of each key of a section, and of the sections in it; a union's once for each member."""
    for key, value in section["properties"].items():
        for member in members(value, definitions):
            if "properties" in member and prefix != "space.":
                yield from _keys(member, definitions, f"{prefix}{key}.")
            elif member.get("type") != "null":
                yield prefix + key, member


def _choices(schema: Schema) -> list[str]:
    return ["true", "false"] if schema.get("type") == "boolean" else choices(schema)
