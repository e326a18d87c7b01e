"""Tuner: the trials of a search, without processes. It hands out the next trial and records results; a policy decides.

Ray Tune drives it (`search.backend.tune`); a simulator could do the same. Every event goes through the journal, so that
a tuner opened on an existing journal continues the search.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, Protocol

from search.experiment.schema import Experiment
from search.run.causes import Reason
from search.run.journal import Journal
from search.run.trials import SearchRecord, Status, TrialRecord
from search.run.version import VERSION
from search.tuner.prefixes.sharing import Order, Sharing
from search.tuner.search_policy import Policy

log = logging.getLogger(__name__)

AHEAD = 256  # trials drawn at most in advance, while all of them wait for running ones


class Callback(Protocol):
    """Receiver of a tuner's events. Its exceptions are logged once and go no further."""

    def on_start(self, trial: TrialRecord) -> None: ...
    def on_report(self, trial: TrialRecord) -> None: ...
    def on_end(self, trial: TrialRecord) -> None: ...


class Tuner:
    """Search, or its confirmation, in progress.

    Args:
        experiment: experiment whose trials are run.
        journal: journal that events are written to; the events already in it are applied first.
        policy: policy that suggests trials and decides on early stopping.
        clock: function that returns seconds, counted from any moment.

    Attributes:
        record: state of all trials so far.
        halted: reason why no trials run for now (the disk is full), or None.
        callbacks: receivers of every event from now on.
        code: version of the code that trains, written to the journal with the first trial that begins with it.
    """

    def __init__(
        self, experiment: Experiment, journal: Journal, policy: Policy, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.experiment, self.policy = experiment, policy
        self.record: SearchRecord = journal.replay()
        self._clock, self._began = clock, clock() - self.record.spent.wall_seconds
        self._journal = journal
        self.callbacks: list[Callback] = []
        self.code: dict[str, str] = {}
        self.halted: str | None = None
        self._troubled: set[str] = set()
        self._reopen()
        policy.learn(self.record.earlier)
        for trial in sorted(self.record, key=attrgetter("number")):  # they may have begun in another order
            policy.restore(trial)
        self._open = {trial.number for trial in self.record if not trial.is_over}  # begun, but not ended
        self._again = [trial.number for trial in self.record if not trial.is_over]
        self._learned: dict[str, Any] | None = None  # an event to write before the first trial's
        self._drawn: dict[int, TrialRecord] = {}  # suggested, but not handed out yet
        self._lowest = 0  # no lower number is free for a new trial
        self._sharing: Sharing | None = None
        self._orders: dict[int, Order] = {}

    def learn(self, trials: Iterable[TrialRecord]) -> None:
        """Take in trials of earlier searches, before the first trial of this one.

        They are written to the journal with the first trial, so that a search that cannot begin leaves nothing behind.
        """
        learned = list(trials)
        fields = ("number", "arm", "internal", "changes", "status", "epochs")
        values = [{name: getattr(trial, name) for name in fields} for trial in learned]
        self._learned = {"event": "learned", "version": VERSION, "trials": values}
        self.policy.learn(learned)

    def share(self, sharing: Sharing) -> None:
        """From now on, train epochs that several trials share only once."""
        sharing.restore(self.record)
        self._sharing = sharing

    def order(self, number: int) -> Order:
        """Return what a trial that was handed out inherits, and what it stores for others."""
        return self._orders.get(number, Order())

    def _reopen(self) -> None:
        """Reopen the trials that the budget stopped, if there is more of it now."""
        if self.stop_reason is None:
            for number in list(self.record.cut_short):
                self._record({"event": "reopened", "number": number})

    @property
    def stop_reason(self) -> Reason | None:
        """Reason why the budget ends the search before all of its trials have ended, or None."""
        return self.policy.stop_reason(self.record)

    @property
    def remaining_trials(self) -> int:
        """Number of trials still to be handed out, interrupted ones and new ones; 0 once the budget is spent."""
        if self.stop_reason:
            return 0
        return len(self._again) + max(0, self.policy.total - len(self.record.trials))

    @property
    def complete(self) -> bool:
        """Whether every trial of the search has ended; once the budget is spent, every trial that has begun."""
        is_stopped = self.stop_reason is not None
        return not self._open and (self.ended_trials >= self.policy.total or is_stopped)

    @property
    def ended_trials(self) -> int:
        """Number of trials that have ended."""
        return len(self.record.trials) - len(self._open)

    @property
    def over(self) -> bool:
        """Whether no more trials will be handed out, whatever happens to those that run."""
        return self.halted is not None or self.stop_reason is not None or self.complete

    def next(self) -> TrialRecord | None:
        """Return the next trial to run: an interrupted one first, else a new one; None if there is none for now."""
        if self.halted or self.stop_reason:
            return None
        return self._next_interrupted() or self._next_new()

    def _next_interrupted(self) -> TrialRecord | None:
        number = next((n for n in self._again if self._is_free(self.record.trials[n])), None)
        if number is None:
            return None
        self._again.remove(number)
        return self._hand_out(number)

    def _next_new(self) -> TrialRecord | None:
        """Return a new trial: one that had to wait, else one that is drawn now."""
        trial = next(filter(self._is_free, self._drawn.values()), None)
        while trial is None and self._may_draw():
            drawn = self._draw()
            trial = drawn if self._is_free(drawn) else None
        if trial is None:
            return None
        if self._learned is not None and self._record(self._learned):
            self._learned = None
        del self._drawn[trial.number]
        what = {"arm": trial.arm, "internal": trial.internal, "changes": trial.changes, "source": trial.source}
        event = {"event": "suggested", "version": VERSION, "number": trial.number, **what}
        return self._hand_out(trial.number) if self._record(event) else None

    def _may_draw(self) -> bool:
        """Return whether a trial can be drawn. If drawing needs results, no more trials wait than run."""
        number = self._next_number()
        if number >= self.policy.total:
            return False
        running = sum(self.record.trials[n].status == "running" for n in self._open)
        most = AHEAD if self.policy.is_determined(number) else max(1, running)
        return len(self._drawn) < most

    def _draw(self) -> TrialRecord:
        """Draw a new trial, which waits until it is handed out."""
        number = self._next_number()
        trial = TrialRecord(number, **vars(self.policy.suggest(number)))
        self._drawn[number] = trial
        if self._sharing is not None:
            self._sharing.expect(trial)
        return trial

    def _next_number(self) -> int:
        """Return the number of the next trial to draw."""
        while self._lowest in self.record.trials or self._lowest in self._drawn:
            self._lowest += 1
        return self._lowest

    def record_start(self, number: int) -> None:
        """Record that a worker has started or restarted a trial."""
        changed = {"code": self.code} if self.code != self.record.code else {}
        if self._record({"event": "started", "number": number, **changed}):
            self._tell(lambda callback: callback.on_start(self.record.trials[number]))

    def record_epoch(self, number: int, metrics: dict[str, float], gpu: float = 0.0) -> Reason | None:
        """Record an epoch's metrics and the share of a GPU that trained it; return why the trial must stop, or None.

        A resumed trial reports epochs again that are already known. They are ignored except for the last: the search
        may have been killed before it could stop the trial after it.
        """
        trial = self.record.trials[number]
        if self._sharing is not None:
            self._sharing.record_epochs(number, int(metrics["epoch"]) + 1)
        known = len(trial.epochs) - int(metrics["epoch"])
        if known == 0:
            if not self._record({"event": "reported", "number": number, "metrics": metrics, "gpu": gpu}):
                return None
            self._tell(lambda callback: callback.on_report(trial))
        return self._stop(trial) if known in (0, 1) else None

    def _stop(self, trial: TrialRecord) -> Reason | None:
        """Return why a trial must stop after its last epoch; None to continue, and if the trial has finished."""
        if self._is_whole(trial):
            return None
        return self.policy.stop(trial, self.record) or self.stop_reason

    def _is_whole(self, trial: TrialRecord) -> bool:
        return len(trial.epochs) >= int(trial.changes.get("epochs", self.experiment.trial.epochs))

    def record_end(self, number: int, status: Status, reason: Reason | None = None) -> None:
        """Record that a trial has ended. If it is recorded twice, the first time counts."""
        trial = self.record.trials[number]
        event = {"event": "ended", "number": number, "status": status, "reason": reason.as_json() if reason else ""}
        if trial.is_over or not self._record(event):
            return
        self.policy.tell(trial)
        self._over(number)
        self._tell(lambda callback: callback.on_end(trial))

    def record_out_of_memory(self, number: int) -> None:
        """Record that a trial ran out of memory and continues with more. The policy is not told, as this is no
        result."""
        if self._record({"event": "out_of_memory", "number": number}):
            self._over(number)
            self._again.append(number)

    def record_prefix(self, number: int, key: str, size: int) -> None:
        """Record that a trial has stored a prefix of `size` bytes for others."""
        if self._sharing is not None:
            self._sharing.record_prefix(number, key, size)

    def _is_free(self, trial: TrialRecord) -> bool:
        """Return whether a trial need not wait for another one to store a prefix for it."""
        return self._sharing is None or self._sharing.is_free(trial)

    def _hand_out(self, number: int) -> TrialRecord:
        trial = self.record.trials[number]
        if self._sharing is not None:
            self._orders[trial.number] = self._sharing.begin(trial)
        return trial

    def _over(self, number: int) -> None:
        if self._sharing is not None:
            self._sharing.record_end(number)
            self._orders.pop(number, None)

    def close(self) -> None:
        """End the interrupted trials if the budget is spent."""
        for trial in self.record if (reason := self.stop_reason) else ():
            if self._is_whole(trial):
                self.record_end(trial.number, "finished")
            else:
                self.record_end(trial.number, "stopped", reason)

    def halt(self, reason: str) -> None:
        """Hand out no more trials, and let running ones stop. No trial ends by this, so a resumed search continues
        them."""
        self.halted = self.halted or reason

    def _record(self, event: dict[str, Any]) -> bool:
        """Write an event to the journal and apply it. An event that cannot be written has not happened, and halts the
        search."""
        if self.halted:
            return False
        event = {**event, "wall_seconds": round(self._clock() - self._began, 3)}
        try:
            self._journal.append(event)
        except OSError as error:
            self.halt(f"{error.strerror}: {self._journal.path}")
            return False
        self.record.apply(event)
        if event["event"] == "suggested":
            self._open.add(event["number"])
        elif event["event"] == "ended":
            self._open.discard(event["number"])
        return True

    def _tell(self, call: Callable[[Callback], None]) -> None:
        for callback in self.callbacks:
            try:
                call(callback)
            except Exception:
                name = type(callback).__name__
                if name not in self._troubled:
                    self._troubled.add(name)
                    log.warning("%s failed and may miss events; the search continues", name, exc_info=True)
