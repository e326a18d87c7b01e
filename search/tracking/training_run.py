"""Record in MLflow of a single training run."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ogmge.fit import BEST
from search.experiment.schema import Experiment
from search.tracking.client import (
    INTERRUPTED,
    TrackingError,
    TrainingData,
    connect,
    keep_run_id,
    parameters,
    read_run_id,
    store_uri,
    versions,
)
from search.tracking.maker import Maker, find_run
from search.tracking.run_writer import RunWriter, Values, milliseconds
from search.tracking.system import SystemMetrics

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

log = logging.getLogger(__name__)


class TrainingTracker:
    """Context manager that keeps a run in MLflow in line with the epochs trained so far, and ends it on exit.

    Errors of MLflow never stop the training; a resumed one starts even if MLflow cannot be reached.

    Args:
        experiment: experiment that the run belongs to.
        runs: folder of all runs.
        title: title of the run.
        folder: folder of the training, with the run's id and the weights.
        params: parameters of the run.
        tags: tags of the run, without the versions.
        data: data of the run.

    Attributes:
        trouble: reason why MLflow lacks something; None if it lacks nothing.

    Raises:
        UserError: if MLflow cannot be reached, and the training is new.
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
        self._connect = partial(connect, uri, runs, experiment.name)
        self._title, self._folder, self._params, self._tags, self._data = title, folder, params, tags, data
        self._system = SystemMetrics(store_uri(uri, runs), wanted=experiment.tracking.system_metrics)
        self._opened: tuple[MlflowClient, RunWriter] | None = None
        self.trouble: Exception | None = None
        try:
            self._open()
        except Exception as error:
            self.trouble = TrackingError.of(error)
            if read_run_id(folder) is None:
                raise self.trouble from error

    @property
    def run_id(self) -> str:
        """Id of the run; raises if MLflow could not be reached so far, and still cannot."""
        return self._open()[1].run_id

    def _open(self) -> tuple[MlflowClient, RunWriter]:
        """Continue or create the run, once; return MLflow's client and the run's writer."""
        if self._opened is None:
            client, experiment_id = self._connect()
            known = _find_run(client, self._folder)
            run_id = self._make(client, experiment_id) if known is None else known.info.run_id
            keep_run_id(self._folder, run_id=run_id)
            writer = RunWriter(client, run_id, self._data, parameters(self._params), known)
            writer.reopen()
            writer.flush()
            self._opened = client, writer
            self._system.start(run_id)
        return self._opened

    def _make(self, client: MlflowClient, experiment_id: str) -> str:
        tags = {**self._tags, **self._data.tags, **versions()}
        return Maker(client, experiment_id).make("", self._title, tags)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if error is None:
            self._end("FINISHED", {})
        elif isinstance(error, KeyboardInterrupt):
            self._end("KILLED", {"stop_reason": INTERRUPTED})
        else:
            self._end("FAILED", {"error": str(error)})

    def deliver(self, history: Sequence[Mapping[str, float]]) -> None:
        """Write all epochs that MLflow lacks; after a failure the next call writes them."""
        self.trouble = None
        with self._note_trouble():
            writer = self._open()[1]
            writer.add_epochs(history)
            writer.flush()

    def add(self, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Write final metrics and tags."""
        with self._note_trouble():
            writer = self._open()[1]
            writer.add([Values(0, milliseconds(), metrics)])
            writer.flush(tags)

    def _end(self, status: str, tags: Mapping[str, str]) -> None:
        """Write the final status and the weights."""
        self._system.finish()
        weights = self._folder / BEST
        with self._note_trouble():
            client, writer = self._open()
            if weights.exists():
                client.log_artifact(writer.run_id, str(weights))
            writer.end(status, tags)

    @contextmanager
    def _note_trouble(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # MLflow raises its own, requests', sqlalchemy's …
            log.debug("MLflow", exc_info=True)
            self.trouble = error


def _find_run(client: MlflowClient, folder: Path) -> Run | None:
    """Return the run of a resumed training; None if the folder or MLflow no longer has it."""
    run_id = read_run_id(folder)
    return None if run_id is None else find_run(client, run_id)
