"""Record of a search in MLflow: one run for the search, with a child run for each trial.

Two threads make all calls, one for runs and one for files, so that training never waits for a database or an upload. A
call does not write a single event. It compares a run with the record and writes what is missing. Thus failed calls can
be repeated, several epochs go in one call, and a resumed search completes its runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.index.list_files import count
from search.experiment.mistakes import UserError
from search.experiment.schema import Experiment
from search.run.folder import Identity, RunFolder
from search.run.trials import SearchRecord, TrialRecord
from search.tracking import outbox
from search.tracking.client import TrackingError, TrainingData, connect, store_uri, versions
from search.tracking.lists import save_view
from search.tracking.maker import Maker
from search.tracking.outbox import Outbox
from search.tracking.system import SystemMetrics
from search.tracking.trial_runs import RUN_ID, TRIALS, Kind, Ledger, Results, SearchRun, TrialRuns

if TYPE_CHECKING:
    from mlflow import MlflowClient

CONNECT_ATTEMPTS = 3  # for a server; a database needs only one
CLOSE_S = 60.0  # longest wait at the end of a search


@dataclass(frozen=True)
class Connection:
    """Connection to MLflow, with the runs of the search."""

    client: MlflowClient
    maker: Maker
    search: SearchRun
    trials: TrialRuns


class SearchTracker:
    """Callback of a tuner that keeps MLflow in line with the search.

    Args:
        experiment: experiment that is searched.
        folder: folder of the run.
        identity: identity of the run and its data.
        record: record of the trainings.
        weights: function from a trial's number to the file with the weights of its best epoch, to be uploaded; None
            uploads no weights.
        kind: kind of the trainings.
        description: description of the search's run until there are results, in Markdown.
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
        self._experiment, self._record, self._kind, self._description = experiment, record, kind, description
        self._weights = weights if experiment.tracking.checkpoints == "best" else None
        self._folder = folder.path.resolve()  # absolute, as a thread may outlive the working folder
        self._data = TrainingData(experiment.dataset, identity.fingerprint)
        self._tags = {RUN_ID: identity.run, **self._data.tags, **versions()}
        uri = store_uri(experiment.tracking.uri, self._folder.parent)
        self._system = SystemMetrics(uri, wanted=experiment.tracking.system_metrics)
        self._connection: Connection | None = None
        self._runs, self._files = Outbox("mlflow"), Outbox("mlflow-files")
        self._runs.submit("import", _import_mlflow)

    # ---- called by the search ----

    def wait_until_connected(self) -> str | None:
        """Connect to MLflow, where nothing is created before: a search that is refused must not leave a trace.

        Returns:
            A sentence about the failure if a resumed search continues without MLflow; None if MLflow is connected.

        Raises:
            UserError: if it fails, and nothing is trained yet.
        """
        outcome: Future[UserError | None] = Future()
        self._runs.submit("connection", partial(self._try_to_connect, outcome))
        error = outcome.result()
        if error is None:
            return None
        if not self._record.trials:
            raise error
        return f"{error}; this continues without MLflow, and what it lacks is saved on disk"

    def on_start(self, trial: TrialRecord) -> None:
        self.on_report(trial)

    def on_report(self, trial: TrialRecord) -> None:
        """Bring the trial's run in line, in the background."""
        self._runs.submit(trial.number, partial(self._align, trial))

    def on_end(self, trial: TrialRecord) -> None:
        self.on_report(trial)

    def close(self, status: str, files: list[Path], results: Results | None = None) -> str | None:
        """Deliver what is left, end the search's run, and return a sentence about what MLflow still lacks, or None.

        If MLflow does not answer, this takes at most `CLOSE_S`.

        Args:
            status: FINISHED, FAILED or KILLED.
            files: files to upload to the search's run.
            results: results for the search's run.
        """
        deadline = time.monotonic() + (CLOSE_S if self._record.trials else 0.0)
        end = partial(self._end, status, files, results or Results())
        runs = self._runs.finish(deadline, {"trials": self._interrupt, "search": end, "duplicates": self._tidy})
        unsent = self._files.finish(deadline)
        lacks = _describe_lack("a part of this search", runs)
        lacks += _describe_lack(count(len(unsent), "file"), unsent)
        if not self._record.trials or not lacks:
            return None
        later = "tries again" if any(map(_is_refusal, [*runs, *unsent])) else "delivers it"
        return f"MLflow still lacks {' and '.join(lacks)}; it is saved on disk, and {self._kind.again} {later}"

    # ---- runs on the threads ----

    def _try_to_connect(self, outcome: Future[UserError | None]) -> None:
        """Connect, and set the error of the last attempt, or None."""
        attempts = CONNECT_ATTEMPTS if str(self._experiment.tracking.uri).startswith("http") else 1
        while True:
            try:
                self._connect()
            except Exception as error:  # MLflow raises its own, requests', sqlalchemy's …
                attempts -= 1
                if not attempts:
                    return outcome.set_result(TrackingError.of(error))
            else:
                return outcome.set_result(None)
            time.sleep(outbox.AGAIN_AFTER_S)

    def _connect(self) -> Connection:
        if self._connection is None:
            self._connection = self._find_runs()
        return self._connection

    def _find_runs(self) -> Connection:
        experiment = self._experiment
        client, experiment_id = connect(experiment.tracking.uri, self._folder.parent, experiment.name)
        save_view(client, experiment_id)
        maker = Maker(client, experiment_id)
        ledger = Ledger(client, maker, self._tags, self._data)
        search = SearchRun(
            ledger, experiment, self._record, self._folder, description=self._description, curve=self._kind.curve
        )
        trials = TrialRuns(ledger, experiment, self._kind)
        search.find()
        if self._record.trials:
            trials.find(self._record.trials)
        return Connection(client, maker, search, trials)

    def _align(self, trial: TrialRecord) -> None:
        there, ended = self._connect(), trial.is_over
        search = there.search.align()
        self._system.start(search)
        run_id = there.trials.align(trial, search)
        if ended and self._weights is not None:
            self._files.submit(trial.number, partial(_send_weights, there.client, run_id, self._weights, trial.number))

    def _interrupt(self) -> None:
        if self._connection is not None:
            self._connection.trials.interrupt(self._record)

    def _end(self, status: str, files: list[Path], results: Results) -> None:
        """End the search's run, if it was created."""
        if self._connection is None:
            return
        there = self._connection
        run_id = there.search.run_id
        if run_id is None:
            return
        self._system.finish()
        for file in files:
            self._files.submit(file, partial(_send, there.client, run_id, file))
        there.search.end(status, results)

    def _tidy(self) -> None:
        if self._connection is not None:
            self._connection.maker.tidy()


def _import_mlflow() -> None:
    """Import MLflow, which takes seconds, while Ray starts."""
    import_module("mlflow")


def _is_refusal(error: Exception | None) -> bool:
    """Return whether MLflow may refuse the same call again."""
    return getattr(error, "error_code", None) == "INVALID_PARAMETER_VALUE"


def _describe_lack(what: str, errors: Sequence[Exception | None]) -> list[str]:
    """Return what failed calls should have delivered, with the reason of the last one; empty if there are none."""
    reasons = [f"MLflow did not accept all of it within {CLOSE_S:g} s", *filter(None, errors)]
    return [f"{what} ({reasons[-1]})"] if errors else []


def _send(client: MlflowClient, run_id: str, file: Path) -> None:
    if file.exists():
        client.log_artifact(run_id, str(file))


def _send_weights(client: MlflowClient, run_id: str, weights: Callable[[int], Path], number: int) -> None:
    """Upload a trial's weights, unless MLflow has them in full, as after a resume."""
    file = weights(number)
    sizes = {item.path: item.file_size for item in client.list_artifacts(run_id)}
    if not file.exists() or sizes.get(file.name) != file.stat().st_size:
        _send(client, run_id, file)
