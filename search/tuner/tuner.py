"""Trials being run, without processes: which is next, what has come of each so far; a policy says what a result means.

Ray Tune drives it (`search.backend.tune`); a simulator could as well. Everything that happens goes through the
journal, so that a tuner opened on an old journal continues it.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from search.experiment.schema import Experiment
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
        for trial in self.record:
            policy.restore(trial)
        self._again = [trial.number for trial in self.record if not trial.is_over]
        self._drawn: dict[int, TrialRecord] = {}  # suggested, and not handed out yet
        self._sharing: Sharing | None = None
        self._orders: dict[int, Order] = {}

    def share(self, sharing: Sharing) -> None:
        """From now on trials that begin alike do it once."""
        sharing.known(self.record)
        self._sharing = sharing

    def order(self, number: int) -> Order:
        """What a trial that was handed out is to take from others and to leave for them."""
        return self._orders.get(number, Order())

    def _reopen(self) -> None:
        """What the budget stopped goes on where there is more of it now."""
        for trial in self.record:
            if trial.is_cut_short and not self.exhausted:
                self._record({"event": "reopened", "number": trial.number})

    @property
    def exhausted(self) -> str | None:
        """Why it ends before all planned trials have, where the budget is spent."""
        return self.policy.exhausted(self.record)

    @property
    def remaining_trials(self) -> int:
        """Trials still to be handed out: those that were interrupted, and new ones; none once the budget is spent."""
        if self.exhausted:
            return 0
        return len(self._again) + max(0, self.policy.total - len(self.record.trials))

    @property
    def complete(self) -> bool:
        """Whether every trial of the search has ended; once the budget is spent, every one that was begun."""
        return self.record.complete(self.policy.total, exhausted=self.exhausted is not None)

    @property
    def over(self) -> bool:
        """Whether nothing will be handed out any more, whatever becomes of the trials that run."""
        return self.halted is not None or self.exhausted is not None or self.complete

    def next(self) -> TrialRecord | None:
        """The next trial to run: an interrupted one first, else a new suggestion; None when there is none for now."""
        if self.halted or self.exhausted:
            return None
        for number in self._again:
            if self._free(trial := self.record.trials[number]):
                self._again.remove(number)
                return self._hand_out(trial)
        for number, trial in self._ahead():
            if self._free(trial):
                del self._drawn[number]
                what = {"arm": trial.arm, "internal": trial.internal, "changes": trial.changes}
                happened = {"event": "suggested", "version": VERSION, "number": number, **what}
                return self._hand_out(self.record.trials[number]) if self._record(happened) else None
        return None

    def _ahead(self) -> Iterator[tuple[int, TrialRecord]]:
        """New trials: those that had to wait, then more; where that needs results, no more of them wait than run."""
        yield from list(self._drawn.items())
        while (number := self._new()) < self.policy.total:
            running = sum(trial.status == "running" for trial in self.record)
            most = AHEAD if self.policy.is_determined(number) else max(1, running)
            if len(self._drawn) >= most:
                return
            trial = TrialRecord(number, **vars(self.policy.suggest(number)))
            self._drawn[number] = trial
            if self._sharing is not None:
                self._sharing.expect(trial)
            yield number, trial

    def _new(self) -> int:
        """The number of the next trial that nobody has suggested yet."""
        return next(n for n in itertools.count() if n not in self.record.trials and n not in self._drawn)

    def record_start(self, number: int) -> None:
        """A worker has begun (or begun again) with a trial."""
        if self._record({"event": "started", "number": number}):
            self._tell(lambda callback: callback.on_start(self.record.trials[number]))

    def record_epoch(self, number: int, metrics: dict[str, float], gpu: float = 0.0) -> str | None:
        """An epoch's metrics, and the part of a GPU that it was trained on. Returns why the trial is to stop, or None.

        Epochs that are known already, as a resumed trial tells them again, are passed over but for the last: the search
        may have been killed before it could stop the trial after it.
        """
        trial = self.record.trials[number]
        if self._sharing is not None:
            self._sharing.trained(number, int(metrics["epoch"]) + 1)
        known = len(trial.epochs) - int(metrics["epoch"])
        if known == 0:
            if not self._record({"event": "reported", "number": number, "metrics": metrics, "gpu": gpu}):
                return None
            self._tell(lambda callback: callback.on_report(trial))
        return self._stop(trial) if known in (0, 1) else None

    def _stop(self, trial: TrialRecord) -> str | None:
        """Why a trial is to stop after its last epoch, or None; where that was its very last, it has finished."""
        if self._whole(trial):
            return None
        return self.policy.stop(trial, self.record) or self.exhausted

    def _whole(self, trial: TrialRecord) -> bool:
        return len(trial.epochs) >= int(trial.changes.get("epochs", self.experiment.trial.epochs))

    def record_end(self, number: int, status: Status, reason: str = "") -> None:
        """A trial is over. Told twice, the first counts."""
        trial = self.record.trials[number]
        if trial.is_over or not self._record({"event": "ended", "number": number, "status": status, "reason": reason}):
            return
        self.policy.tell(trial)
        self._over(number)
        self._tell(lambda callback: callback.on_end(trial))

    def record_out_of_memory(self, number: int) -> None:
        """A trial ran out of memory and is to go on with more. That is no result: the policy hears nothing."""
        if self._record({"event": "crowded", "number": number}):
            self._over(number)
            self._again.append(number)

    def record_prefix(self, number: int, key: str, size: int) -> None:
        """A trial has left a beginning for others, of so many bytes."""
        if self._sharing is not None:
            self._sharing.left(number, key, size)

    def _free(self, trial: TrialRecord) -> bool:
        return self._sharing is None or self._sharing.free(trial)

    def _hand_out(self, trial: TrialRecord) -> TrialRecord:
        if self._sharing is not None:
            self._orders[trial.number] = self._sharing.begin(trial)
        return trial

    def _over(self, number: int) -> None:
        if self._sharing is not None:
            self._sharing.over(number)
            self._orders.pop(number, None)

    def close(self) -> None:
        """Ends the trials that were interrupted, where the budget leaves them nothing to go on with."""
        for trial in self.record:
            if self.exhausted and not trial.is_over:
                whole = self._whole(trial)
                self.record_end(trial.number, "finished" if whole else "stopped", "" if whole else self.exhausted)

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
