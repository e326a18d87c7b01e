"""The version of what a run leaves on disk: `run.json`, `verdict.json` and each trial's first event in the journal.

1: no version was written, and the ablation was called a twin.
2: the ablation.
3: a trial's end has a cause with its facts where it had a sentence; running out of memory has its own name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from search.experiment.mistakes import UserError

VERSION = 3
FIRST = 1  # of what carries none


class VersionError(UserError):
    """What a newer program wrote."""


def version_of(values: Mapping[str, Any]) -> int:
    """The version that a file's or an event's values carry."""
    found = values.get("version", FIRST)
    return found if isinstance(found, int) else FIRST


def require_readable(identity: Path) -> None:
    """Check that this program knows the version of a run.

    Args:
        identity: its `run.json`; one that is missing or damaged says nothing of a version.

    Raises:
        VersionError: it is newer.
    """
    with suppress(OSError, ValueError):
        known = json.loads(identity.read_text(encoding="utf-8"))
        if isinstance(known, dict) and version_of(known) > VERSION:
            raise VersionError(
                f"{identity.parent} is of version {version_of(known)} of run folders, and this program reads up to "
                f"{VERSION}: use the program that made it, or a newer one"
            )


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
