"""What a shell is offered to complete a word of a command: runs, models, and the keys of the experiment file.

Nothing is imported for it that takes time: keys are read from the JSON schema that is made for editors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from search.reference.members import members

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "experiment.schema.json"

Offer = Callable[[click.Context, click.Parameter, str], list[str]]
Schema = dict[str, Any]


def runs(folder: Path, holding: str) -> Offer:
    """Names of the runs in a folder that have a file of this name."""

    def offer(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
        names = sorted(found.parent.name for found in folder.glob(f"*/{holding}"))
        return [name for name in names if name.startswith(begun)]

    return offer


def assignments(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """`KEY=` of each key of the experiment file; behind that its choices, where it has some."""
    root = json.loads(SCHEMA.read_text(encoding="utf-8"))
    known: dict[str, list[str]] = {}
    for path, choices in _keys(root, root):
        known.setdefault(path, []).extend(choices)
    key, equals, _ = begun.partition("=")
    offered = [f"{key}={choice}" for choice in known.get(key, ())] if equals else [f"{path}=" for path in known]
    return [word for word in offered if word.startswith(begun)]


def _keys(root: Schema, section: Schema, prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    """Dotted path and choices of each key of a section, and of the sections in it."""
    for key, value in section["properties"].items():
        found = [root["$defs"][m["$ref"].rpartition("/")[2]] if "$ref" in m else m for m in members(value)]
        sections = [member for member in found if "properties" in member and prefix != "space."]
        for inner in sections:
            yield from _keys(root, inner, f"{prefix}{key}.")
        if not sections:
            yield prefix + key, [choice for member in found for choice in _choices(member)]


def _choices(schema: Schema) -> list[str]:
    if schema.get("type") == "boolean":
        return ["true", "false"]
    return [str(choice) for choice in schema.get("enum", [schema["const"]] if "const" in schema else [])]
