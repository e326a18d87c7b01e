"""Record in MLflow of a single training run."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ogmge.fit import BEST
from search.experiment.schema import Experiment
from search.tracking.client import (
    INTERRUPTED,
    TrainingData,
    connect,
    keep_run_id,
    parameters,
    read_run_id,
    store_uri,
    versions,
)
from search.tracking.run_writer import TAG_LENGTH, RunWriter, Values, milliseconds
from search.tracking.system import SystemMetrics

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

log = logging.getLogger(__name__)


class TrainingTracker:
    """Context manager that keeps a run in MLflow in line with the epochs trained so far, and ends it on exit.

    Errors of MLflow never stop the training.

    Args:
        experiment: experiment that the run belongs to.
        runs: folder of all runs.
        title: title of the run.
        folder: folder of the training, with the run's id and the weights.
        params: parameters of the run.
        tags: tags of the run, without the versions.
        data: data of the run.

    Attributes:
        run_id: id of the run.
        trouble: reason why MLflow lacks something; None if it lacks nothing.

    Raises:
        TrackingError: if MLflow cannot be reached.
    """

    def __init__(
        self,
        experiment: Experiment,
        runs: Path,
        title: str,
        folder: Path,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        data: TrainingData,
    ) -> None:
        uri = experiment.tracking.uri
        self._client, experiment_id = connect(uri, runs, experiment.name)
        self._folder = folder
        self._system = SystemMetrics(store_uri(uri, runs), wanted=experiment.tracking.system_metrics)
        self.trouble: Exception | None = None
        known = _find_run(self._client, folder)
        run = known or self._client.create_run(experiment_id, tags={**tags, **data.tags, **versions()}, run_name=title)
        self.run_id = run.info.run_id
        keep_run_id(folder, run_id=self.run_id)
        self._writer = RunWriter(self._client, self.run_id, data, parameters(params), known)
        self._writer.reopen()
        self._writer.flush()

    def __enter__(self) -> Self:
        self._system.start(self.run_id)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if error is None:
            self._end("FINISHED", {})
        elif isinstance(error, KeyboardInterrupt):
            self._end("KILLED", {"stop_reason": INTERRUPTED})
        else:
            self._end("FAILED", {"error": str(error)[:TAG_LENGTH]})

    def deliver(self, history: Sequence[Mapping[str, float]]) -> None:
        """Write all epochs that MLflow lacks; after a failure the next call writes them."""
        self.trouble = None
        with self._note_trouble():
            self._writer.add_epochs(history)
            self._writer.flush()

    def add(self, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Write final metrics and tags."""
        with self._note_trouble():
            self._writer.add([Values(0, milliseconds(), metrics)])
            self._writer.flush(tags)

    def _end(self, status: str, tags: Mapping[str, str]) -> None:
        """Write the final status and the weights."""
        self._system.finish()
        weights = self._folder / BEST
        with self._note_trouble():
            if weights.exists():
                self._client.log_artifact(self.run_id, str(weights))
            self._writer.end(status, tags)

    @contextmanager
    def _note_trouble(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # MLflow raises its own, requests', sqlalchemy's …
            log.debug("MLflow", exc_info=True)
            self.trouble = error


def _find_run(client: MlflowClient, folder: Path) -> Run | None:
    """Return the run of a resumed training; None if the folder or MLflow no longer has it."""
    from mlflow.exceptions import MlflowException

    run_id = read_run_id(folder)
    if run_id is not None:
        with suppress(MlflowException):
            return client.get_run(run_id)
    return None
