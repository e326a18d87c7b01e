"""Trials being run, without processes: which is next, what has come of each so far; a policy says what a result means.

Ray Tune drives it (`search.backend.tune`); a simulator could as well. Everything that happens goes through the
journal, so that a tuner opened on an old journal continues it.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, Protocol

from search.experiment.schema import Experiment
from search.run.causes import Reason
from search.run.journal import Journal, SearchRecord, Status, TrialRecord
from search.run.version import VERSION
from search.tuner.prefixes.sharing import Order, Sharing
from search.tuner.search_policy import Policy

log = logging.getLogger(__name__)

AHEAD = 256  # trials that are drawn while all of them wait for those that run


class Callback(Protocol):
    """Is told what happens. What it raises is logged once and goes no further."""

    def on_start(self, trial: TrialRecord) -> None: ...
    def on_report(self, trial: TrialRecord) -> None: ...
    def on_end(self, trial: TrialRecord) -> None: ...


class Tuner:
    """A search in progress, or its confirmation.

    Args:
        experiment: what is trained.
        journal: where events go; events in it already are taken up.
        policy: decides what is run, and on early stopping.
        clock: seconds, from any moment on.

    Attributes:
        record: all trials so far.
        halted: why nothing goes on for now, where there is a reason: the disk is full.
        callbacks: are told of every event from now on.
    """

    def __init__(
        self, experiment: Experiment, journal: Journal, policy: Policy, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.experiment, self.policy = experiment, policy
        self.record: SearchRecord = journal.replay()
        self._clock, self._began = clock, clock() - self.record.spent.wall_seconds
        self._journal = journal
        self.callbacks: list[Callback] = []
        self.halted: str | None = None
        self._troubled: set[str] = set()
        self._reopen()
        policy.learn(self.record.earlier)
        for trial in sorted(self.record, key=attrgetter("number")):  # they may have begun in another order
            policy.restore(trial)
        self._again = [trial.number for trial in self.record if not trial.is_over]
        self._learned: dict[str, Any] | None = None  # an event that is to be written before the first trial's
        self._drawn: dict[int, TrialRecord] = {}  # suggested, and not handed out yet
        self._sharing: Sharing | None = None
        self._orders: dict[int, Order] = {}

    def learn(self, trials: Iterable[TrialRecord]) -> None:
        """Take in trials of earlier searches, before the first of this one.

        The journal has them with the first trial, so that a search that cannot begin leaves nothing behind.
        """
        learned = list(trials)
        fields = ("number", "arm", "internal", "changes", "status", "epochs")
        values = [{name: getattr(trial, name) for name in fields} for trial in learned]
        self._learned = {"event": "learned", "version": VERSION, "trials": values}
        self.policy.learn(learned)

    def share(self, sharing: Sharing) -> None:
        """From now on train epochs that several trials share only once."""
        sharing.restore(self.record)
        self._sharing = sharing

    def order(self, number: int) -> Order:
        """What a trial that was handed out is to inherit and to store for others."""
        return self._orders.get(number, Order())

    def _reopen(self) -> None:
        """What the budget stopped goes on where there is more of it now."""
        if self.stop_reason is None:
            for number in list(self.record.cut_short):
                self._record({"event": "reopened", "number": number})

    @property
    def stop_reason(self) -> Reason | None:
        """Why it ends before all of its trials have, where the budget is spent."""
        return self.policy.stop_reason(self.record)

    @property
    def remaining_trials(self) -> int:
        """Trials still to be handed out: those that were interrupted, and new ones; none once the budget is spent."""
        if self.stop_reason:
            return 0
        return len(self._again) + max(0, self.policy.total - len(self.record.trials))

    @property
    def complete(self) -> bool:
        """Whether every trial of the search has ended; once the budget is spent, every one that was begun."""
        return self.record.is_complete(self.policy.total, is_stopped=self.stop_reason is not None)

    @property
    def over(self) -> bool:
        """Whether nothing will be handed out any more, whatever becomes of the trials that run."""
        return self.halted is not None or self.stop_reason is not None or self.complete

    def next(self) -> TrialRecord | None:
        """The next trial to run: an interrupted one first, else a new suggestion; None when there is none for now."""
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
        """One that had to wait, else one that is drawn now."""
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
        """Whether there are trials to draw; where drawing needs results, no more of them wait than run."""
        number = self._next_number()
        if number >= self.policy.total:
            return False
        running = self.record.count("running")
        most = AHEAD if self.policy.is_determined(number) else max(1, running)
        return len(self._drawn) < most

    def _draw(self) -> TrialRecord:
        """A new trial, which waits until it is handed out."""
        number = self._next_number()
        trial = TrialRecord(number, **vars(self.policy.suggest(number)))
        self._drawn[number] = trial
        if self._sharing is not None:
            self._sharing.expect(trial)
        return trial

    def _next_number(self) -> int:
        """That of the next trial to draw."""
        return next(n for n in itertools.count() if n not in self.record.trials and n not in self._drawn)

    def record_start(self, number: int) -> None:
        """A worker has begun (or begun again) with a trial."""
        if self._record({"event": "started", "number": number}):
            self._tell(lambda callback: callback.on_start(self.record.trials[number]))

    def record_epoch(self, number: int, metrics: dict[str, float], gpu: float = 0.0) -> Reason | None:
        """An epoch's metrics, and the part of a GPU that it was trained on. Returns why the trial is to stop, or None.

        Epochs that are known already, as a resumed trial tells them again, are passed over but for the last: the search
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
        """Why a trial is to stop after its last epoch, or None; where that was its very last, it has finished."""
        if self._is_whole(trial):
            return None
        return self.policy.stop(trial, self.record) or self.stop_reason

    def _is_whole(self, trial: TrialRecord) -> bool:
        return len(trial.epochs) >= int(trial.changes.get("epochs", self.experiment.trial.epochs))

    def record_end(self, number: int, status: Status, reason: Reason | None = None) -> None:
        """A trial is over. Told twice, the first counts."""
        trial = self.record.trials[number]
        event = {"event": "ended", "number": number, "status": status, "reason": reason.as_json() if reason else ""}
        if trial.is_over or not self._record(event):
            return
        self.policy.tell(trial)
        self._over(number)
        self._tell(lambda callback: callback.on_end(trial))

    def record_out_of_memory(self, number: int) -> None:
        """A trial ran out of memory and is to go on with more. That is no result: the policy hears nothing."""
        if self._record({"event": "out_of_memory", "number": number}):
            self._over(number)
            self._again.append(number)

    def record_prefix(self, number: int, key: str, size: int) -> None:
        """A trial has stored a prefix for others, of so many bytes."""
        if self._sharing is not None:
            self._sharing.record_prefix(number, key, size)

    def _is_free(self, trial: TrialRecord) -> bool:
        """Whether it need not wait for another that is to share a prefix with it."""
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
        """Ends the trials that were interrupted, where the budget leaves them nothing to go on with."""
        for trial in self.record if (reason := self.stop_reason) else ():
            if self._is_whole(trial):
                self.record_end(trial.number, "finished")
            else:
                self.record_end(trial.number, "stopped", reason)

    def halt(self, reason: str) -> None:
        """Nothing more is handed out, and what runs is to stop; no trial ends by it, so that a resume goes on."""
        self.halted = self.halted or reason

    def _record(self, event: dict[str, Any]) -> bool:
        """Writes an event down and takes it in; what cannot be written has not happened, and halts the search."""
        if self.halted:
            return False
        event = {**event, "wall_seconds": round(self._clock() - self._began, 3)}
        try:
            self._journal.append(event)
        except OSError as error:
            self.halt(f"{error.strerror}: {self._journal.path}")
            return False
        self.record.apply(event)
        return True

    def _tell(self, call: Callable[[Callback], None]) -> None:
        for callback in self.callbacks:
            try:
                call(callback)
            except Exception:
                name = type(callback).__name__
                if name not in self._troubled:
                    self._troubled.add(name)
                    log.warning("%s failed; the search goes on without what it missed", name, exc_info=True)
