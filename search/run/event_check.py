"""Events of a journal that cannot have happened: damage that checksums do not show."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from typing import Any

from search.experiment.arms import ARMS
from search.experiment.mistakes import UserError
from search.run.version import VERSION, VersionError, version_of

OF_RUNNING = ("started", "reported", "out_of_memory", "crowded", "ended")
OF_TRIALS = (*OF_RUNNING, "reopened")


class JournalError(UserError):
    """Journal that cannot be read, or that no search can have written; the message says where and what to do."""


def fault_in_journal(trials: Container[int], event: Mapping[str, Any]) -> str | None:
    """Return why no search can have written an event, or None.

    Args:
        trials: numbers of the trials so far.
        event: next event.

    Raises:
        VersionError: if a newer program wrote it.
    """
    if version_of(event) > VERSION:
        raise VersionError(f"version {version_of(event)} of the run folder's format")
    kind, number = event.get("event"), event.get("number")
    if kind == "learned":
        return None
    if kind == "suggested":
        return _fault_in_suggestion(trials, event)
    if kind not in OF_TRIALS:
        return f"the event {kind!r} is unknown"
    return None if _is_count(number) and number in trials else f"trial {number!r} was never suggested"


def _fault_in_suggestion(trials: Container[int], event: Mapping[str, Any]) -> str | None:
    number, arm = event.get("number"), event.get("arm")
    if not _is_count(number):
        return f"{number!r} is no number of a trial"
    if number in trials:
        return f"trial {number} is suggested a second time"
    if arm not in ARMS:
        return f"trial {number} is in no arm (expected {' or '.join(ARMS)}, but got {arm!r})"
    return None


def fault_in_trial(epochs: int, event: Mapping[str, Any]) -> str | None:
    """Return why an event cannot have happened to a trial of so many epochs, or None."""
    if event["event"] != "reported":
        return None
    metrics = event.get("metrics")
    if not isinstance(metrics, dict):
        return "an epoch has no metrics"
    for name, value in metrics.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"`{name}` is {value!r} instead of a number"
    if not math.isfinite(metrics.get("best", math.nan)):
        return f"`best` is {metrics.get('best')!r} instead of a finite number"
    if (epoch := metrics.get("epoch")) in range(epochs + 1):
        return None
    return f"epoch {epoch} comes instead of epoch {epochs}"


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
