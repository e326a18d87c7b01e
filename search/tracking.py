"""The search's record in MLflow: a run for the search, a child for each trial.

All calls are made on a thread of their own, so that training never waits for a data base. The thread does not follow
events: it brings each trial's run in line with the trial's record. What could not be delivered is tried again, several
epochs go in one call, and a resumed search finds its runs and adds what they lack.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from search.experiment import Experiment
from search.labels import label
from search.mlflow_store import INTERRUPTED, RunWriter, TrackingError, connect, parameters, versions
from search.record import TrialRecord
from search.space import with_changes

log = logging.getLogger(__name__)

TAG_LENGTH = 5000  # MLflow's limit
AGAIN_AFTER_S = 5.0
STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


@dataclass
class _Run:
    """What MLflow has of a trial, or of the search."""

    run_id: str
    described: bool = False
    epochs: int = 0
    status: str = "RUNNING"


class Tracker:
    """Keeps MLflow in line with a search; an observer of its session.

    Args:
        experiment: what is searched.
        runs: the folder of the runs.
        fingerprint: of the data.
        weights: trial number -> file of its best epoch's weights.
    """

    def __init__(self, experiment: Experiment, runs: Path, fingerprint: str, weights: Callable[[int], Path]) -> None:
        self._experiment = experiment
        self._runs = runs
        self._id_file = runs / experiment.name / "mlflow.json"
        self._tags = {"dataset": experiment.dataset["name"], "dataset.fingerprint": fingerprint, **versions()}
        self._weights = weights
        self._parent: _Run | None = None
        self._children: dict[int, _Run] = {}
        self._waiting: dict[int, TrialRecord] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._trouble: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._ready = threading.Event()
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

    def started(self, trial: TrialRecord) -> None:
        self.reported(trial)

    def reported(self, trial: TrialRecord) -> None:
        """Something of the trial is new."""
        with self._changed:
            self._waiting[trial.number] = trial
            self._changed.notify()

    def ended(self, trial: TrialRecord) -> None:
        self.reported(trial)

    def close(self, status: str, metrics: Mapping[str, float], files: list[Path]) -> str | None:
        """Delivers what is left, ends the search's run; returns what MLflow lacks, as a sentence, or None.

        Args:
            status: FINISHED, FAILED or KILLED.
            metrics: of the search as a whole.
            files: to keep with its run.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        if self._trouble is None and not self._waiting:
            try:
                self._end(status, metrics, files)
            except Exception as error:
                self._trouble = error
        if self._trouble is None:
            return None
        return f"MLflow lacks a part of this search ({self._trouble}); --resume delivers it, and nothing else is lost"

    # ---- on the thread ----

    def _work(self) -> None:
        try:
            self._connect()
        except Exception as error:
            self._trouble = error if isinstance(error, TrackingError) else TrackingError(f"MLflow failed: {error}")
            return
        finally:
            self._ready.set()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                batch, self._waiting = self._waiting, {}
                closing = self._closing
            left = self._deliver(batch)
            with self._changed:
                self._waiting = left | self._waiting
                if closing:
                    return
                if left:
                    self._changed.wait_for(lambda: self._closing, AGAIN_AFTER_S)

    def _deliver(self, batch: dict[int, TrialRecord]) -> dict[int, TrialRecord]:
        """Brings these trials' runs in line; returns the trials for which that failed."""
        left = {}
        for number, trial in batch.items():
            try:
                self._align(trial)
            except Exception as error:
                log.debug("trial %d", number, exc_info=True)
                left[number], self._trouble = trial, error
        if batch and not left:
            self._trouble = None
        return left

    def _connect(self) -> None:
        self._client, self._experiment_id = connect(self._experiment.tracking.uri, self._runs, self._experiment.name)
        self._writer = RunWriter(self._client)
        if self._id_file.exists():
            known = self._client.get_run(json.loads(self._id_file.read_text())["parent_run_id"])
            self._parent = _Run(known.info.run_id, bool(known.data.params))
            self._client.update_run(self._parent.run_id, "RUNNING")
            self._find_children(self._parent.run_id)

    def _begin(self) -> str:
        """The search's run: made with its first trial, so that a search that never began leaves none."""
        if self._parent is None:
            tags = {**self._tags, "kind": "search"}
            run = self._client.create_run(self._experiment_id, tags=tags, run_name=self._experiment.name)
            self._parent = _Run(run.info.run_id)
            self._id_file.write_text(json.dumps({"parent_run_id": run.info.run_id}))
        self._describe(self._parent, self._experiment.model_dump(mode="json", exclude={"name", "tracking"}))
        return self._parent.run_id

    def _describe(self, run: _Run, values: Mapping[str, Any]) -> None:
        if not run.described:
            self._writer.describe(run.run_id, parameters(values))
            run.described = True

    def _find_children(self, parent: str) -> None:
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'", page_token=token
            )
            for run in page:
                status = INTERRUPTED if run.data.tags.get("stop_reason") == INTERRUPTED else run.info.status
                epochs = self._writer.known_epochs(run.info.run_id)
                known = _Run(run.info.run_id, bool(run.data.params), epochs, status)
                self._children[int(run.data.tags["trial"])] = known
            token = page.token
            if not token:
                return

    def _child(self, trial: TrialRecord) -> _Run:
        parent, config = self._begin(), with_changes(self._experiment.trial, trial.changes)
        if trial.number not in self._children:
            tags = {
                **self._tags,
                "mlflow.parentRunId": parent,
                "kind": "trial",
                "trial": str(trial.number),
                "arm": trial.arm,
                "fusion": config.fusion,
                "method": config.modulation.method,
            }
            name = f"{trial.number:03} {label(trial.changes)}"
            run = self._client.create_run(self._experiment_id, tags=tags, run_name=name)
            self._children[trial.number] = _Run(run.info.run_id)
        self._describe(self._children[trial.number], asdict(config))
        return self._children[trial.number]

    def _align(self, trial: TrialRecord) -> None:
        ended, known = trial.ended, len(trial.epochs)  # read once: the search goes on meanwhile
        child = self._child(trial)
        if child.status == INTERRUPTED:
            self._client.update_run(child.run_id, "RUNNING")
            self._client.delete_tag(child.run_id, "stop_reason")
            child.status = "RUNNING"
        while child.epochs < known:
            child.epochs += self._writer.epochs(child.run_id, trial.epochs[child.epochs : known])
        if ended and child.status != STATUS[trial.status]:
            self._end_child(child, trial)

    def _end_child(self, child: _Run, trial: TrialRecord) -> None:
        weights = self._weights(trial.number)
        if self._experiment.tracking.checkpoints == "best" and weights.exists():
            self._client.log_artifact(child.run_id, str(weights))
        if trial.reason:
            name = "error" if trial.status == "failed" else "stop_reason"
            self._client.set_tag(child.run_id, name, trial.reason[:TAG_LENGTH])
        self._client.set_terminated(child.run_id, STATUS[trial.status])
        child.status = STATUS[trial.status]

    def _end(self, status: str, metrics: Mapping[str, float], files: list[Path]) -> None:
        if self._parent is None:
            return
        for child in self._children.values():
            if child.status in ("RUNNING", INTERRUPTED):
                self._client.set_tag(child.run_id, "stop_reason", INTERRUPTED)
                self._client.set_terminated(child.run_id, "KILLED")
        for key, value in metrics.items():
            self._client.log_metric(self._parent.run_id, key, value)
        for file in files:
            if file.exists():
                self._client.log_artifact(self._parent.run_id, str(file))
        self._client.set_terminated(self._parent.run_id, status)
