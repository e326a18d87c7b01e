"""Causes: why a trial ended before its last epoch, or a search before its last trial.

Decisions use the cause and its facts; `str` makes a sentence of them for users.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from datasets.index.list_files import count


class Cause(StrEnum):
    """What ended a trial or a search; the docstring of each member lists its facts."""

    BUDGET = "budget"
    """limit, unit; reserved: part of the limit that is reserved for the confirmation."""
    ASHA = "asha"
    """place, of, epochs, promoted; peers: a key of `PEERS`."""
    MEDIAN = "median"
    """of, epochs; peers: a key of `PEERS`."""
    ERROR = "error"
    """text: the exception, followed by the lines of the user's own files that raised it."""
    OUT_OF_MEMORY = "out_of_memory"
    """resources: the last ones tried; text: the exception."""
    WORKER_DIED = "worker_died"
    """times; text: what is known about the last time."""
    TEXT = "text"
    """text: the sentence in a journal of version 1 or 2."""


PEERS = {
    "baseline": "baseline trials",
    "open": "trials with an open window",
    "closed": "runs without modulation so far",
}


@dataclass(frozen=True)
class Reason:
    """Cause with its facts.

    Args:
        cause: cause that ended the trial or the search.
        facts: name -> number or text; `Cause` lists the names.
    """

    cause: Cause
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return _SENTENCES[self.cause](**self.facts)

    @property
    def headline(self) -> str:
        """The reason without the lines of the user's own files."""
        return str(self).partition("\n")[0]

    def as_json(self) -> dict[str, Any]:
        """Return the reason as a value for the journal, which `reason_of` reads."""
        return {"cause": self.cause.value, **self.facts}


def reason_of(value: Mapping[str, Any] | str) -> Reason | None:
    """Return the reason in an event of the journal, or None for a trial that finished.

    Args:
        value: result of `Reason.as_json`, or a sentence from a journal of version 1 or 2.
    """
    if isinstance(value, str):
        return _reason_of_sentence(value)
    return Reason(Cause(value["cause"]), {name: fact for name, fact in value.items() if name != "cause"})


def failure(error: BaseException | str) -> Reason:
    """Return the reason of a trial that failed with an exception."""
    return Reason(Cause.ERROR, {"text": str(error)})


def ordinal(n: int) -> str:
    """Return a number as an English ordinal.

    >>> [ordinal(n) for n in (1, 2, 3, 4, 11, 22)]
    ['1st', '2nd', '3rd', '4th', '11th', '22nd']
    """
    ending = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"


# ---- sentences ----


def _budget(limit: float, unit: str, reserved: float = 0.0) -> str:
    sentence = f"budget: {limit:g} {unit} is spent" if limit == 1 else f"budget: {limit:g} {unit}s are spent"
    return f"{sentence}, including {reserved:.3g} reserved for the confirmation" if reserved else sentence


def _asha(place: int, of: int, epochs: int, promoted: int, peers: str) -> str:
    rank = f"{ordinal(place)} of {of} {PEERS[peers]} after {count(epochs, 'epoch')}"
    return f"asha: {rank}; at most {promoted} may continue"


def _median(of: int, epochs: int, peers: str) -> str:
    return f"median: worse than half of the {of} other {PEERS[peers]} after {count(epochs, 'epoch')}"


def _out_of_memory(resources: str, text: str) -> str:
    return f"out of memory even with {resources}: {text}"


def _worker_died(times: int, text: str) -> str:
    return f"its worker died {count(times, 'time')}; the last time: {text}"


def _text(text: str) -> str:
    return text


_SENTENCES: dict[Cause, Callable[..., str]] = {
    Cause.BUDGET: _budget,
    Cause.ASHA: _asha,
    Cause.MEDIAN: _median,
    Cause.ERROR: _text,
    Cause.OUT_OF_MEMORY: _out_of_memory,
    Cause.WORKER_DIED: _worker_died,
    Cause.TEXT: _text,
}

_BUDGET_SENTENCE = re.compile(
    r"budget: (?P<limit>\S+) (?P<unit>\S+?)s? (?:is|are) spent(?:, of which (?P<reserved>\S+))?"
)


def _reason_of_sentence(text: str) -> Reason | None:
    """Return the reason in a sentence of an old journal, or None if it is empty.

    Budgets are recognised, because trials that a budget stopped continue once there is more of it.
    """
    if not (found := _BUDGET_SENTENCE.match(text)):
        return Reason(Cause.TEXT, {"text": text}) if text else None
    facts = {"limit": float(found["limit"]), "unit": found["unit"], "reserved": float(found["reserved"] or 0)}
    return Reason(Cause.BUDGET, facts)
