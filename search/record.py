"""What happened in a search, as events in a journal: a file that only grows, from which everything can be rebuilt."""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from search.arms import Arm
from search.budget import Spent

log = logging.getLogger(__name__)

Status = Literal["waiting", "running", "finished", "stopped", "failed"]
ENDED = ("finished", "stopped", "failed")


@dataclass
class TrialRecord:
    """One trial: what it is, and what came of it so far.

    Args:
        number: from 0, in the order of the suggestions.
        arm: see `search.arms`.
        internal: what the study sampled.
        changes: what differs from the experiment's `trial`, by dotted path.
    """

    number: int
    arm: Arm
    internal: dict[str, Any]
    changes: dict[str, Any]
    status: Status = "waiting"
    epochs: list[dict[str, float]] = field(default_factory=list)
    reason: str = ""

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def best(self) -> float | None:
        """The best of the objective so far."""
        return self.epochs[-1]["best"] if self.epochs else None

    def best_epoch(self, metric: str) -> dict[str, float] | None:
        """The metrics of the best epoch, the first of equal ones."""
        return next((m for m in self.epochs if m[metric] == self.best), None)


class SearchRecord:
    """All trials of a search, by number, as the events so far have it."""

    def __init__(self) -> None:
        self.trials: dict[int, TrialRecord] = {}
        self.spent = Spent()

    def apply(self, event: dict[str, Any]) -> None:
        """Takes in one event; an epoch that is known already changes nothing."""
        number = event["number"]
        self.spent.wall_seconds = event.get("wall_seconds", self.spent.wall_seconds)
        if event["event"] == "suggested":
            self.trials[number] = TrialRecord(number, cast(Arm, event["arm"]), event["internal"], event["changes"])
            return
        trial = self.trials[number]
        if event["event"] == "started":
            trial.status = "running"
        elif event["event"] == "reported":
            if event["metrics"]["epoch"] == len(trial.epochs):
                trial.epochs.append(event["metrics"])
                self.spent.epoch(event["metrics"], event.get("gpu", 0.0))
        elif event["event"] == "ended":
            trial.status, trial.reason = event["status"], event["reason"]

    def __iter__(self) -> Iterator[TrialRecord]:
        return iter(list(self.trials.values()))  # a copy: others look while the search goes on


class Journal:
    """A file of events, a line of JSON each. A last line that was cut short is dropped when it is read.

    Args:
        path: made with its folder where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._events = list(self._read())
        self._file = path.open("ab", buffering=0)

    def _read(self) -> Iterator[dict[str, Any]]:
        if not self.path.exists():
            return
        whole = 0
        with self.path.open("rb") as file:
            for line in file:
                try:
                    event = json.loads(line)
                except ValueError:
                    event = None
                if not isinstance(event, dict) or not line.endswith(b"\n"):
                    log.warning("%s is damaged after byte %d: what follows is dropped", self.path, whole)
                    break
                whole += len(line)
                yield event
        if whole < self.path.stat().st_size:
            with self.path.open("rb+") as file:
                file.truncate(whole)

    def replay(self) -> SearchRecord:
        """The record that the file's events made when it was opened."""
        record = SearchRecord()
        for event in self._events:
            record.apply(event)
        return record

    def append(self, event: dict[str, Any]) -> None:
        """Hands an event to the operating system, so that a killed process loses none.

        Raises:
            OSError: it cannot be written; the file is then as it was before.
        """
        line, end = f"{json.dumps(event)}\n".encode(), os.fstat(self._file.fileno()).st_size
        try:
            if self._file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            with suppress(OSError):
                self._file.truncate(end)
            raise

    def close(self) -> None:
        self._file.close()
