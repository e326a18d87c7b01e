"""Why a trial ended before its last epoch, or a search before its last trial: a cause and its facts.

What decides reads these. The sentence is made where somebody reads it, by `str`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Cause(StrEnum):
    """What ended it, and in which words of facts."""

    BUDGET = "budget"
    """limit, unit; reserved: for the confirmation."""
    ASHA = "asha"
    """place, of, epochs, promoted; peers: see `PEERS`."""
    MEDIAN = "median"
    """of, epochs; peers: see `PEERS`."""
    ERROR = "error"
    """text: the exception."""
    OUT_OF_MEMORY = "out_of_memory"
    """resources: the last that were tried; text: the exception."""
    WORKER_DIED = "worker_died"
    """times; text: what is known of the last time."""
    TEXT = "text"
    """text: the sentence of a journal of version 1 or 2."""


PEERS = {
    "baseline": "baseline trials",
    "open": "trials with an open window",
    "closed": "runs without modulation so far",
}


@dataclass(frozen=True)
class Reason:
    """A cause and its facts.

    Args:
        cause: what ended it.
        facts: name -> number or text, as `Cause` lists them for each.
    """

    cause: Cause
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return _SENTENCES[self.cause](**self.facts)

    def as_json(self) -> dict[str, Any]:
        """For the journal; read again by `reason_of`."""
        return {"cause": self.cause.value, **self.facts}


def reason_of(value: Mapping[str, Any] | str) -> Reason | None:
    """The reason in an event of the journal; None where a trial just finished.

    Args:
        value: what `Reason.as_json` gave, or a sentence, as journals of version 1 and 2 have it.
    """
    if isinstance(value, str):
        return _reason_of_sentence(value)
    return Reason(Cause(value["cause"]), {name: fact for name, fact in value.items() if name != "cause"})


def failure(error: BaseException | str) -> Reason:
    """A trial failed by an exception."""
    return Reason(Cause.ERROR, {"text": str(error)})


def ordinal(n: int) -> str:
    """
    >>> [ordinal(n) for n in (1, 2, 3, 4, 11, 22)]
    ['1st', '2nd', '3rd', '4th', '11th', '22nd']
    """
    ending = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"


# ---- sentences ----


def _budget(limit: float, unit: str, reserved: float = 0.0) -> str:
    sentence = f"budget: {limit:g} {unit} is spent" if limit == 1 else f"budget: {limit:g} {unit}s are spent"
    return f"{sentence}, of which {reserved:.3g} are set aside for the confirmation" if reserved else sentence


def _asha(place: int, of: int, epochs: int, promoted: int, peers: str) -> str:
    return f"asha: {ordinal(place)} of {of} {PEERS[peers]} after {epochs} epochs, {promoted} may go on"


def _median(of: int, epochs: int, peers: str) -> str:
    return f"median: worse than half of {of} other {PEERS[peers]} after {epochs} epochs"


def _out_of_memory(resources: str, text: str) -> str:
    return f"out of memory, with {resources} at last: {text}"


def _worker_died(times: int, text: str) -> str:
    return f"its worker died {times} times, the last time so: {text}"


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
    """A budget is recognised, since what it stopped goes on once there is more."""
    if not (found := _BUDGET_SENTENCE.match(text)):
        return Reason(Cause.TEXT, {"text": text}) if text else None
    facts = {"limit": float(found["limit"]), "unit": found["unit"], "reserved": float(found["reserved"] or 0)}
    return Reason(Cause.BUDGET, facts)
