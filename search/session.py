"""The search itself, without processes: which trial is next, what a result means, what is known so far.

Ray Tune drives it (`search.ray_tune`); a simulator could as well. Everything that happens goes through the journal, so
that a session opened on an old journal continues it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

from search.arms import ARMS, Arm, plan
from search.asha import Asha, rung_epochs
from search.budget import exhausted
from search.experiment import Experiment
from search.record import Journal, SearchRecord, Status, TrialRecord
from search.sampler import ArmStudy

log = logging.getLogger(__name__)


class Observer(Protocol):
    """Is told what happens. What it raises is logged once and goes no further."""

    def started(self, trial: TrialRecord) -> None: ...
    def reported(self, trial: TrialRecord) -> None: ...
    def ended(self, trial: TrialRecord) -> None: ...


class Session:
    """A search in progress.

    Args:
        experiment: what is searched.
        journal: where events go; events in it already are taken up.
        clock: seconds, from any moment on.

    Attributes:
        record: all trials so far.
        observers: are told of every event from now on.
    """

    def __init__(self, experiment: Experiment, journal: Journal, clock: Callable[[], float] = time.monotonic) -> None:
        self.experiment = experiment
        self.record: SearchRecord = journal.replay()
        self._clock, self._began = clock, clock() - self.record.spent.wall_seconds
        self._journal = journal
        self.observers: list[Observer] = []
        self._troubled: set[str] = set()
        search = experiment.search
        self._studies: dict[Arm, ArmStudy] = {arm: ArmStudy(experiment, arm) for arm in ARMS}
        capacity = {arm: study.capacity for arm, study in self._studies.items()}
        self.plan: list[Arm] = plan(search.trials, search.baseline_share, capacity)
        scheduler = search.scheduler
        rungs = rung_epochs(scheduler.grace_epochs, scheduler.reduction_factor, experiment.trial.epochs)
        self._asha = Asha(rungs if scheduler.name == "asha" else [], scheduler.reduction_factor, search.mode)
        for trial in self.record:
            self._studies[trial.arm].add(trial)
            for trained, metrics in enumerate(trial.epochs, start=1):
                self._asha.decide(trial.arm, trial.number, trained, metrics["best"])
        self._again = [trial.number for trial in self.record if not trial.ended]

    @property
    def exhausted(self) -> str | None:
        """Why the search ends before its plan, where the budget is spent. The journal alone says so, no clock."""
        search = self.experiment.search
        return exhausted(search.budget, self.record.spent, search.resources.gpu)

    @property
    def left(self) -> int:
        """Trials still to be handed out: those that were interrupted, and new ones; none once the budget is spent."""
        if self.exhausted:
            return 0
        return len(self._again) + max(0, len(self.plan) - len(self.record.trials))

    @property
    def complete(self) -> bool:
        """Whether every trial of the search has ended; once the budget is spent, every one that was begun."""
        ended = sum(trial.ended for trial in self.record)
        return ended == len(self.record.trials) and (ended >= len(self.plan) or self.exhausted is not None)

    def next(self) -> TrialRecord | None:
        """The next trial to run: an interrupted one first, else a new suggestion; None when there is none left."""
        if self.exhausted:
            return None
        if self._again:
            return self.record.trials[self._again.pop(0)]
        number = len(self.record.trials)
        if number >= len(self.plan):
            return None
        arm = self.plan[number]
        internal, changes = self._studies[arm].suggest(number)
        self._happened({"event": "suggested", "number": number, "arm": arm, "internal": internal, "changes": changes})
        return self.record.trials[number]

    def started(self, number: int) -> None:
        """A worker has begun (or begun again) with a trial."""
        self._happened({"event": "started", "number": number})
        self._tell(lambda observer: observer.started(self.record.trials[number]))

    def reported(self, number: int, metrics: dict[str, float]) -> str | None:
        """An epoch's metrics. Returns why the trial is to stop, or None; of an epoch known already, None."""
        trial = self.record.trials[number]
        if int(metrics["epoch"]) != len(trial.epochs):
            return None
        self._happened({"event": "reported", "number": number, "metrics": metrics})
        self._tell(lambda observer: observer.reported(trial))
        trained = len(trial.epochs)
        reason = self._asha.decide(trial.arm, number, trained, metrics["best"])
        whole = trained >= int(trial.changes.get("epochs", self.experiment.trial.epochs))
        return reason or (None if whole else self.exhausted)

    def ended(self, number: int, status: Status, reason: str = "") -> None:
        """A trial is over. Told twice, the first counts."""
        trial = self.record.trials[number]
        if trial.ended:
            return
        self._happened({"event": "ended", "number": number, "status": status, "reason": reason})
        self._studies[trial.arm].tell(trial)
        self._tell(lambda observer: observer.ended(trial))

    def close(self) -> None:
        """Ends the trials that were interrupted, where the budget leaves them nothing to go on with."""
        for trial in self.record:
            if self.exhausted and not trial.ended:
                self.ended(trial.number, "stopped", self.exhausted)

    def _happened(self, event: dict[str, Any]) -> None:
        event = {**event, "wall_seconds": round(self._clock() - self._began, 3)}
        self._journal.append(event)
        self.record.apply(event)

    def _tell(self, call: Callable[[Observer], None]) -> None:
        for observer in self.observers:
            try:
                call(observer)
            except Exception:
                name = type(observer).__name__
                if name not in self._troubled:
                    self._troubled.add(name)
                    log.warning("%s failed; the search goes on without what it missed", name, exc_info=True)
