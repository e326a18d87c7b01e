"""The search's record in MLflow: a run for the search, a child for each trial.

All calls are made on threads of their own, one for runs and one for files, so that training never waits for a data base
or a slow upload. They do not follow events: they bring each run in line with the record. What could not be delivered is
tried again, several epochs go in one call, and a resumed search finds its runs and adds what they lack.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from search.experiment.schema import Experiment
from search.run.folder import Identity, RunFolder
from search.run.journal import SearchRecord, TrialRecord
from search.tracking.client import ID_FILE, Maker, RunWriter, TrackingError, TrainedOn, connect, store_uri, versions
from search.tracking.system import SystemMetrics
from search.tracking.trial_runs import RUN_ID, TRIALS, Kind, Ledger, Results, SearchRun, TrialRuns
from search.tracking.uploads import Uploads

log = logging.getLogger(__name__)

EVERY_S = 1.0  # what comes in this time goes in one call
AGAIN_AFTER_S = 5.0  # a call failed
CONNECT_ATTEMPTS = 3  # of a server; a data base is there or not
CLOSE_S = 60.0  # nobody waits longer at the end


class SearchTracker:
    """Keeps MLflow in line with a search; a callback of its tuner.

    Args:
        experiment: what is searched.
        folder: of the run.
        identity: of the run, and of its data.
        record: of the trainings.
        weights: trial number -> file of its best epoch's weights, for an artifact; None where none is kept.
        kind: of trainings.
        description: of the search's run as long as nothing has come of it, in Markdown.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: RunFolder,
        identity: Identity,
        record: SearchRecord,
        weights: Callable[[int], Path] | None,
        kind: Kind = TRIALS,
        description: str = "",
    ) -> None:
        self._experiment, self._record, self._weights = experiment, record, weights
        self._folder = RunFolder(folder.path.resolve())  # a thread may outlive the working folder
        self._description = description
        self._kind, self._wanted = kind, experiment.tracking.checkpoints == "best"
        self._data = TrainedOn(experiment.dataset, identity.fingerprint)
        self._tags = {RUN_ID: identity.run, **self._data.tags, **versions()}
        self._uploads = Uploads()
        uri = store_uri(experiment.tracking.uri, self._folder.path.parent)
        self._system = SystemMetrics(uri, wanted=experiment.tracking.system_metrics)
        self._waiting: dict[int, TrialRecord] = {}
        self._changed = threading.Condition()
        self._closing = self._given_up = False
        self._closed: tuple[str, list[Path], Results] | None = None
        self._sent: set[int] = set()  # trials whose weights are the uploads' now
        self._trouble: Exception | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    # ---- called by the search ----

    def connected(self) -> None:
        """Waits until MLflow is there.

        Raises:
            TrackingError: it is not.
        """
        self._ready.wait()
        if self._trouble is not None:
            raise self._trouble

    def on_start(self, trial: TrialRecord) -> None:
        self.on_report(trial)

    def on_report(self, trial: TrialRecord) -> None:
        """Something of the trial is new."""
        with self._changed:
            self._waiting[trial.number] = trial
            self._changed.notify()

    def on_end(self, trial: TrialRecord) -> None:
        self.on_report(trial)

    def close(self, status: str, files: list[Path], results: Results | None = None) -> str | None:
        """Delivers what is left, ends the search's run; returns what MLflow lacks, as a sentence, or None.

        It waits no longer than `CLOSE_S` for an MLflow that does not answer.

        Args:
            status: FINISHED, FAILED or KILLED.
            files: to keep with the search's run.
            results: of the search's run.
        """
        until = time.monotonic() + CLOSE_S
        with self._changed:
            self._closing, self._closed = True, (status, files, results or Results())
            self._changed.notify()
        self._thread.join(CLOSE_S if self._record.trials else 0.0)
        self._given_up = True
        if not self._record.trials:
            return None
        if self._thread.is_alive():
            self._trouble = self._trouble or TrackingError(f"it did not take all of it within {CLOSE_S:g} s")
        lacks = [f"a part of this search ({self._trouble})"] if self._trouble else []
        lacks += self._uploads.lack(until - time.monotonic())
        if not lacks:
            return None
        return f"MLflow lacks {' and '.join(lacks)}; {self._kind.again} delivers it, and nothing else is lost"

    # ---- on the thread ----

    def _work(self) -> None:
        try:
            self._connect()
        except Exception as error:
            self._trouble = error if isinstance(error, TrackingError) else TrackingError(f"MLflow failed: {error}")
            return
        finally:
            self._ready.set()
        closing = False
        while not closing:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._trouble or self._closing)
                self._changed.wait_for(lambda: self._closing, EVERY_S)
                batch, self._waiting = self._waiting, {}
                closing = self._closing
            left = self._deliver(batch, last=closing)
            with self._changed:
                self._waiting = left | self._waiting
                if self._trouble is not None:
                    self._changed.wait_for(lambda: self._closing, AGAIN_AFTER_S)
        self._finish()

    def _connect(self) -> None:
        for left in reversed(range(CONNECT_ATTEMPTS)):
            try:
                self._find()
                return
            except Exception:
                if not left or self._given_up or not str(self._experiment.tracking.uri).startswith("http"):
                    raise
            time.sleep(AGAIN_AFTER_S)

    def _find(self) -> None:
        client, experiment_id = connect(self._experiment.tracking.uri, self._folder.path.parent, self._experiment.name)
        self._maker = Maker(client, experiment_id)
        ledger = Ledger(RunWriter(client), self._maker, self._tags, self._data)
        id_file = self._folder.path / ID_FILE
        self._search = SearchRun(
            ledger,
            self._experiment,
            self._record,
            id_file,
            description=self._description,
            curve=self._kind.curve,
        )
        self._trials = TrialRuns(ledger, self._experiment, self._kind)
        parent = self._search.find()
        self._resumed = parent is not None
        if parent is not None:
            self._trials.find(parent)
        self._uploads.connected(client)

    def _deliver(self, batch: dict[int, TrialRecord], *, last: bool) -> dict[int, TrialRecord]:
        """Brings these trials' runs in line, and the search's; returns the trials for which that failed.

        Most failures are the whole store's: the others wait for the next time, when the one that failed comes behind
        them, so that a single run that MLflow refuses holds nobody up. The last time, each is tried.
        """
        left, self._trouble = dict(batch), None
        for number, trial in batch.items():
            left.pop(number)
            if not self._done(partial(self._align, trial)):
                left[number] = trial
                if not last:
                    return left
        if not last:
            self._done(self._search.align)
        return left

    def _align(self, trial: TrialRecord) -> None:
        ended = trial.is_over
        search = self._search.begin()
        self._system.start(search)
        run_id = self._trials.align(trial, search)
        if self._weights is not None and self._wanted and ended and trial.number not in self._sent:
            self._sent.add(trial.number)
            self._uploads.add(run_id, self._weights(trial.number), look=self._resumed)

    def _finish(self) -> None:
        """Ends what is left of the runs, where the search was closed."""
        if self._closed is not None and self._search.run_id is not None:
            status, files, results = self._closed
            self._system.finish()
            self._done(lambda: self._trials.interrupt(trial for trial in self._record if not trial.is_over))
            self._done(partial(self._search.end, status, results))
            self._done(self._maker.tidy)
            for file in files:
                self._uploads.add(self._search.run_id, file)
        self._uploads.finish()

    def _done(self, call: Callable[[], None]) -> bool:
        """Whether a call succeeded."""
        if self._given_up:
            return False
        try:
            call()
        except Exception as error:
            log.debug("MLflow", exc_info=True)
            self._trouble = error
            return False
        return True
