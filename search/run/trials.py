"""Record of a search: the state of all its trials, rebuilt from the events so far."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from search.experiment.arms import Arm
from search.experiment.sources import Source
from search.run.budget import Spent
from search.run.causes import Cause, Reason, reason_of
from search.run.event_check import OF_RUNNING, JournalError, fault_in_journal, fault_in_trial
from search.run.version import FIRST, in_todays_words, version_of

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
