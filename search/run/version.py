"""The version of what a run leaves on disk: `run.json`, `verdict.json` and each trial's first event in the journal.

1: no version was written, and the ablation was called a twin.
2: the ablation.
3: a trial's end has a cause with its facts where it had a sentence; running out of memory has its own name;
   what modalities say alone is `unimodal` in `verdict.json`.
4: a trial's first event says where its settings come from; the trials of earlier searches have an event.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search.experiment.mistakes import UserError

VERSION = 4
FIRST = 1  # of what carries none


class VersionError(UserError):
    """What a newer program wrote."""


def version_of(values: Mapping[str, Any]) -> int:
    """The version that a file's or an event's values carry."""
    found = values.get("version", FIRST)
    return found if isinstance(found, int) else FIRST


def read_values(path: Path) -> dict[str, Any]:
    """Return what a run's `run.json` or `verdict.json` holds, in today's words.

    Raises:
        VersionError: a newer program wrote it.
        OSError, ValueError: it is missing, or damaged.
    """
    values = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected an object, but got {values!r}")
    if version_of(values) > VERSION:
        raise VersionError(
            f"{path.parent} is of version {version_of(values)} of run folders, and this program reads up to "
            f"{VERSION}: use the program that made it, or a newer one"
        )
    known: dict[str, Any] = in_todays_words(values) if version_of(values) == FIRST else values
    if "alone" in known and version_of(known) < VERSION:
        known["unimodal"] = known.pop("alone")
    return known


def in_todays_words(values: Any) -> Any:
    """Values of version 1 as those of today: `twin`, in keys and as a role, is `ablation`.

    >>> in_todays_words({"twin_of": "modulated", "pairs": [{"twin": 0.5, "role": "twin"}]})
    {'ablation_of': 'modulated', 'pairs': [{'ablation': 0.5, 'role': 'ablation'}]}
    """
    if isinstance(values, dict):
        return {key.replace("twin", "ablation"): in_todays_words(value) for key, value in values.items()}
    if isinstance(values, list):
        return [in_todays_words(value) for value in values]
    return "ablation" if values == "twin" else values
