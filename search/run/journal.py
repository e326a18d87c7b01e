"""Journal of a search: an append-only file of events, from which the state of the search can be rebuilt."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import sys
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

from datasets.index.json_text import parse_json
from datasets.index.regular_file import fault_of, open_regular
from search.experiment.arms import Arm
from search.experiment.mistakes import UserError
from search.experiment.sources import Source
from search.run.budget import Spent
from search.run.causes import Cause, Reason, reason_of
from search.run.event_check import OF_RUNNING, fault_in_journal, fault_in_trial
from search.run.version import FIRST, VERSION, VersionError, in_todays_words, version_of

log = logging.getLogger(__name__)

Status = Literal["waiting", "running", "finished", "stopped", "failed"]
ENDED = ("finished", "stopped", "failed")


@dataclass
class TrialRecord:
    """State of one trial: its settings, and its results so far.

    Args:
        number: number from 0, in the order of the suggestions.
        arm: arm of the trial, see `search.experiment.arms`.
        internal: parameters as the study sampled them.
        changes: differences from the experiment's `trial`, by dotted path.
        oom_retries: number of restarts with more resources after it ran out of memory.
        source: source of its settings; None if that is not recorded, as in a confirmation.
    """

    number: int
    arm: Arm
    internal: dict[str, Any]
    changes: dict[str, Any]
    status: Status = "waiting"
    epochs: list[dict[str, float]] = field(default_factory=list)
    reason: Reason | None = None
    oom_retries: int = 0
    bests: list[float] = field(default_factory=list)  # best value of the objective so far, after each epoch
    source: Source | None = None

    @property
    def is_over(self) -> bool:
        return self.status in ENDED

    @property
    def is_cut_short(self) -> bool:
        """Whether the budget stopped the trial, so that it continues once there is more."""
        return self.status == "stopped" and self.reason is not None and self.reason.cause is Cause.BUDGET

    @property
    def inherited_epochs(self) -> int:
        """Number of epochs that another trial trained."""
        return sum("inherited" in metrics for metrics in self.epochs)

    @property
    def trained_epochs(self) -> int:
        """Number of epochs that the trial trained itself."""
        return len(self.epochs) - self.inherited_epochs

    @property
    def best(self) -> float | None:
        """Best value of the objective so far."""
        return self.epochs[-1]["best"] if self.epochs else None

    def best_epoch(self, metric: str) -> dict[str, float] | None:
        """Return the metrics of the best epoch, the first on ties."""
        return next((m for m in self.epochs if m[metric] == self.best), None)


@dataclass(frozen=True, slots=True)
class Moment:
    """What a search had spent when a trial ended, or at a round number of epochs.

    Args:
        spent: resources used until then.
        ended: number of the trial that ended, if one did.
    """

    spent: Spent
    ended: int | None

    @property
    def epochs(self) -> int:
        """Number of epochs trained until then."""
        return self.spent.epochs


def is_round(epochs: int) -> bool:
    """Return whether a number of epochs is round.

    64 to 128 numbers in each doubling are, so that any search has a few hundred of them.

    >>> [n for n in (1, 127, 128, 129, 130, 255, 256, 258, 260) if is_round(n)]
    [1, 127, 128, 130, 256, 260]
    """
    return epochs % (1 << max(0, epochs.bit_length() - 7)) == 0


class JournalError(UserError):
    """Journal that cannot be read, or that no search can have written; the message says where and what to do."""


class SearchRecord:
    """State of a search: all its trials, as rebuilt from the events so far.

    Attributes:
        trials: number -> trial.
        spent: resources used so far.
        moments: resources spent until each point in time, in order.
        cut_short: number -> limit of the budget that stopped the trial, for trials that continue once there is more.
        earlier: trials of earlier searches, from which the samplers learn.
        code: version of the code of the last trial that began; empty if that is not recorded.
        broken: number -> an impossible event, for trials whose later events do not count until they are reopened.
    """

    def __init__(self) -> None:
        self.trials: dict[int, TrialRecord] = {}
        self.spent = Spent()
        self.moments: list[Moment] = []
        self.cut_short: dict[int, Reason] = {}
        self.earlier: list[TrialRecord] = []
        self.code: dict[str, str] = {}
        self.broken: dict[int, str] = {}

    def apply(self, event: dict[str, Any]) -> None:
        """Apply one event. An epoch that is already known changes nothing, nor does an event after a trial's end."""
        self.spent.wall_seconds = event.get("wall_seconds", self.spent.wall_seconds)
        if event["event"] == "suggested":
            self._suggest(event)
        elif event["event"] == "learned":
            self.earlier = [TrialRecord(**values) for values in event["trials"]]
        elif not _is_surplus(trial := self.trials[event["number"]], event):
            _EVENTS[event["event"]](self, trial, event)

    def replay(self, event: dict[str, Any], line: int) -> None:
        """Apply an event of a file, unless its trial is broken or breaks by it.

        Raises:
            JournalError, VersionError: if no search can have written the event, or a newer program did.
        """
        try:
            if fault := fault_in_journal(self.trials, event):
                raise JournalError(fault)
            if self._is_sound(event, line):
                self.apply(event)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise JournalError(f"the event is incomplete ({type(error).__name__}: {error})") from error

    def _is_sound(self, event: dict[str, Any], line: int) -> bool:
        """Return whether an event can have happened; note its trial as broken if it cannot."""
        number = event.get("number")
        if number is None or event["event"] == "suggested":
            return True
        if event["event"] == "reopened":
            self.broken.pop(number, None)
        trial = self.trials[number]
        if number in self.broken or _is_surplus(trial, event):
            return False
        if fault := fault_in_trial(len(trial.epochs), event):
            self.broken[number] = f"line {line}: {fault}"
        return number not in self.broken

    def _suggest(self, event: dict[str, Any]) -> None:
        number = event["number"]
        internal = event["internal"] if version_of(event) > FIRST else in_todays_words(event["internal"])
        source = Source(event["source"]) if event.get("source") else None
        self.trials[number] = TrialRecord(number, cast(Arm, event["arm"]), internal, event["changes"], source=source)

    def _start(self, trial: TrialRecord, event: dict[str, Any]) -> None:
        trial.status = "running"
        self.code = event.get("code", self.code)

    def _report(self, trial: TrialRecord, event: dict[str, Any]) -> None:
        metrics = event["metrics"]
        if metrics["epoch"] != len(trial.epochs):
            return
        names = map(sys.intern, metrics)  # all epochs of all trials share one string per name
        trial.epochs.append(dict(zip(names, metrics.values(), strict=True)))
        trial.bests.append(metrics["best"])
        before = self.spent.epochs
        self.spent.epoch(metrics, event.get("gpu", 0.0))
        if self.spent.epochs > before and is_round(self.spent.epochs):
            self._remember(None)

    def _reopen(self, trial: TrialRecord, event: dict[str, Any]) -> None:
        trial.status, trial.reason = "waiting", None
        self.cut_short.pop(trial.number, None)
        self.moments = [replace(m, ended=None) if m.ended == trial.number else m for m in self.moments]

    def _run_out_of_memory(self, trial: TrialRecord, event: dict[str, Any]) -> None:
        trial.status, trial.oom_retries = "waiting", trial.oom_retries + 1

    def _end(self, trial: TrialRecord, event: dict[str, Any]) -> None:
        trial.reason = reason_of(event["reason"])  # before the status, as another thread may read both
        trial.status = event["status"]
        if trial.reason is not None and trial.is_cut_short:
            self.cut_short[trial.number] = trial.reason
        self._remember(trial.number)

    def count(self, status: Status) -> int:
        """Return the number of trials with a status."""
        return sum(trial.status == status for trial in self)

    @property
    def over_count(self) -> int:
        """Number of trials that have ended."""
        return sum(trial.is_over for trial in self)

    def is_complete(self, total: int, *, is_stopped: bool) -> bool:
        """Return whether every trial has ended, and no other will start.

        Args:
            total: planned number of trials.
            is_stopped: whether the budget ended the search, so that no new trials start.
        """
        return self.over_count == len(self.trials) and (self.over_count >= total or is_stopped)

    def _remember(self, ended: int | None) -> None:
        self.moments.append(Moment(replace(self.spent), ended))

    def __iter__(self) -> Iterator[TrialRecord]:
        return iter(list(self.trials.values()))  # a copy: other threads iterate while trials are added


_EVENTS = {
    "started": SearchRecord._start,
    "reported": SearchRecord._report,
    "reopened": SearchRecord._reopen,
    "out_of_memory": SearchRecord._run_out_of_memory,
    "crowded": SearchRecord._run_out_of_memory,  # in journals of version 1 and 2
    "ended": SearchRecord._end,
}


def _is_surplus(trial: TrialRecord, event: dict[str, Any]) -> bool:
    """Return whether an event comes after the end of its trial; the first end counts."""
    return trial.is_over and event["event"] in OF_RUNNING


def _line(event: dict[str, Any]) -> bytes:
    text = json.dumps(event)
    return f'{text[:-1]}, "crc": {zlib.crc32(text.encode())}}}\n'.encode()


def _event(line: bytes) -> dict[str, Any] | None:
    """Return the event in a line, or None if the line is corrupt."""
    try:
        event = parse_json(line)
    except ValueError:
        return None
    if not isinstance(event, dict) or "crc" not in event:
        return None
    del event["crc"]
    return event if _line(event) == line else None


def _sound(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return a file's events up to its first corrupt line, and their size in bytes."""
    events: list[dict[str, Any]] = []
    size = 0
    for line in _lines(path):
        event = _event(line)
        if event is None:
            break
        events.append(event)
        size += len(line)
    return events, size


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file; nothing if it does not exist, nor if a file stands where its folder should be.

    Raises:
        JournalError: if the file cannot be read.
    """
    try:
        with open_regular(path) as file:
            yield from file
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        [other] = set(_files(_original(path))) - {path}
        raise JournalError(
            f"{path} {fault_of(error)}: make it readable, or move it away and repeat this command, which then uses "
            f"{other}"
        ) from error


def _replay(events: list[dict[str, Any]], path: Path) -> SearchRecord:
    """Return the record that the events of a file lead to.

    Raises:
        JournalError, VersionError: if no search can have written them, or a newer program did.
    """
    record = SearchRecord()
    for line, event in enumerate(events, 1):
        try:
            record.replay(event, line)
        except JournalError as error:
            files = " and ".join(map(str, _files(_original(path))))
            raise JournalError(
                f"{path}, line {line}: {error}, so this is not the journal of one search. Restore the file, or delete "
                f"this line and all after it in {files}; what they record is then trained again"
            ) from error
        except VersionError as error:
            raise VersionError(
                f"{path}, line {line}, has {error}, but this program reads versions up to {VERSION}: use the version "
                "of the program that wrote it, or a newer one"
            ) from error
    return record


def _original(path: Path) -> Path:
    """Return the path of a journal, given that or its copy's."""
    return path.with_name(path.name.replace(f".copy{path.suffix}", path.suffix))


def _files(path: Path) -> tuple[Path, Path]:
    """Return the paths of a journal and its copy."""
    return path, path.with_name(f"{path.stem}.copy{path.suffix}")


def read(path: Path) -> SearchRecord:
    """Read a journal without changing any file, even while another process writes it.

    Args:
        path: path of the journal; if it does not exist, the record is empty.
    """
    return _replay(max([_sound(file)[0] for file in _files(path)], key=len), path)


def has_events(path: Path) -> bool:
    """Return whether a journal or its copy holds an event."""
    return any(_event(next(_lines(file), b"")) is not None for file in _files(path))


class Journal:
    """File of events, one line of JSON with a checksum each, and its copy. If one of them is corrupt, the other is
    read.

    The copy is worth the second write: the journal is the only record of what may be days of GPU time, and one bad
    sector or stray edit would lose all events after it.

    A trial with an impossible event, such as an epoch that skips another, is reopened.

    If both files are corrupt, everything after the damage is dropped. If this loses more than one incomplete line, the
    file is saved as `NAME.damaged`.

    Args:
        path: path of the journal, created with its folder if it is missing; the copy lies next to it.

    Raises:
        JournalError: if a file cannot be read, or no search can have written it.
        VersionError: if a newer program wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        files = _files(path)
        found = {file: _sound(file) for file in files}
        source = max(files, key=lambda file: len(found[file][0]))  # the first on ties
        events, size = found[source]
        self._record = _replay(events, source)
        self._mend(path, found[path][1], source)
        for file in files:
            if found[file][1] != size:
                shutil.copyfile(source, file)
        self._files = [file.open("ab", buffering=0) for file in files]
        for handle in self._files:
            handle.truncate(size)
        self._reopen_broken()

    def _reopen_broken(self) -> None:
        """Let trials with impossible events continue from their last checkpoint, or start again without one."""
        for number, fault in list(self._record.broken.items()):
            log.warning("%s, %s: trial %d is trained again from its last checkpoint", self.path, fault, number)
            event = {"event": "reopened", "number": number}
            self.append(event)
            self._record.replay(event, 0)

    @staticmethod
    def _mend(path: Path, sound: int, source: Path) -> None:
        """Log what is lost, and save the corrupt file if it may be of use."""
        lost = path.read_bytes()[sound:] if path.exists() else b""
        if lost.count(b"\n"):
            shutil.copyfile(path, path.with_name(f"{path.name}.damaged"))
        if source != path:
            log.warning("%s is corrupt after byte %d: using its copy %s", path, sound, source)
        elif lost:
            log.warning("%s is corrupt after byte %d: everything after it is dropped", path, sound)

    def replay(self) -> SearchRecord:
        """Return the record as it was when the journal was opened. The caller updates it from then on."""
        return self._record

    def append(self, event: dict[str, Any]) -> None:
        """Write an event to the operating system, so that no event is lost if the process is killed.

        Raises:
            OSError: if the event cannot be written; the files are then unchanged. FileNotFoundError if the journal was
                deleted: what is written to its open file would be lost.
        """
        line = _line(event)
        there = os.fstat(self._files[0].fileno())
        end = there.st_size
        if not there.st_nlink:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        try:
            for file in self._files:
                if file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            for file in self._files:
                with suppress(OSError):
                    file.truncate(end)
            raise

    def close(self) -> None:
        for file in self._files:
            file.close()
