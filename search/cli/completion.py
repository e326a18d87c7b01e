"""Shell completion of runs, models and the keys of the experiment file.

A shell waits for the answer, so nothing slow is imported: keys come from the JSON schema that is generated for editors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click

from search.experiment.program import ROOT
from search.reference.members import Schema, choices, members

SCHEMA = ROOT / "docs" / "experiment.schema.json"

Offer = Callable[[click.Context, click.Parameter, str], list[str]]


def _completions(words: Iterable[str], begun: str) -> list[str]:
    return [word for word in dict.fromkeys(words) if word.startswith(begun)]


def runs(folder: Path, holding: str) -> Offer:
    """Complete the names of the runs in `folder` that have a file called `holding`."""
    return lambda context, parameter, begun: _completions(
        sorted(found.parent.name for found in folder.glob(f"*/{holding}")), begun
    )


def assignments(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """Complete `KEY=` for each key of the experiment file, and after the `=` the key's choices, if it has any."""
    root = json.loads(SCHEMA.read_text(encoding="utf-8"))
    keys = _keys(root, root["$defs"])
    if "=" in begun:
        return _completions((f"{path}={choice}" for path, value in keys for choice in _choices(value)), begun)
    return _completions((f"{path}=" for path, _ in keys), begun)


def _keys(section: Schema, definitions: dict[str, Schema], prefix: str = "") -> Iterator[tuple[str, Schema]]:
    """Yield the dotted path and schema of each key below a section; a union yields one pair per member."""
    for key, value in section["properties"].items():
        for member in members(value, definitions):
            if "properties" in member and prefix != "space.":
                yield from _keys(member, definitions, f"{prefix}{key}.")
            elif member.get("type") != "null":
                yield prefix + key, member


def _choices(schema: Schema) -> list[str]:
    return ["true", "false"] if schema.get("type") == "boolean" else choices(schema)
