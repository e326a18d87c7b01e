"""Version of what a run leaves on disk: `run.json`, `verdict.json` and each trial's first event in the journal.

1: no version is written, and the ablation is called a twin.
2: the ablation is called ablation.
3: the end of a trial has a cause with its facts instead of a sentence; the event of running out of memory has its own
   name; unimodal results are called `unimodal` in `verdict.json`.
4: a trial's first event says where its settings come from; the trials of earlier searches have an event.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets.index.json_text import parse_json
from datasets.index.regular_file import read_regular
from search.experiment.mistakes import UserError

VERSION = 4
FIRST = 1  # version of files and events that carry none


class VersionError(UserError):
    """File that a newer program wrote."""


def version_of(values: Mapping[str, Any]) -> int:
    """Return the version in the values of a file or an event."""
    found = values.get("version", FIRST)
    return found if isinstance(found, int) else FIRST


def read_values(path: Path) -> dict[str, Any]:
    """Return the content of a run's `run.json` or `verdict.json`, translated to the current version.

    Raises:
        VersionError: if a newer program wrote the file.
        OSError, ValueError: if the file is missing or corrupt.
    """
    values = parse_json(read_regular(path))
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected an object, but got {values!r}")
    if version_of(values) > VERSION:
        raise VersionError(
            f"{path.parent} has version {version_of(values)} of the run folder's format, but this program reads "
            f"versions up to {VERSION}: use the version of the program that wrote it, or a newer one"
        )
    known: dict[str, Any] = in_todays_words(values) if version_of(values) == FIRST else values
    if "alone" in known and version_of(known) < VERSION:
        known["unimodal"] = known.pop("alone")
    return known


def in_todays_words(values: Any) -> Any:
    """Translate values of version 1: `twin`, in keys and as a role, becomes `ablation`.

    >>> in_todays_words({"twin_of": "modulated", "pairs": [{"twin": 0.5, "role": "twin"}]})
    {'ablation_of': 'modulated', 'pairs': [{'ablation': 0.5, 'role': 'ablation'}]}
    """
    if isinstance(values, dict):
        return {key.replace("twin", "ablation"): in_todays_words(value) for key, value in values.items()}
    if isinstance(values, list):
        return [in_todays_words(value) for value in values]
    return "ablation" if values == "twin" else values
