"""The record in MLflow of one training run by itself."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ogmge.fit import BEST
from search.experiment.schema import Experiment
from search.run.folder import write
from search.tracking.client import (
    ID_FILE,
    INTERRUPTED,
    RunWriter,
    TrainedOn,
    Values,
    connect,
    milliseconds,
    of_epoch,
    parameters,
    read_run_id,
    store_uri,
    versions,
)
from search.tracking.system import SystemMetrics
from search.tracking.trial_runs import TAG_LENGTH

if TYPE_CHECKING:
    from mlflow.entities import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Store:
    """Where in MLflow a run is kept.

    Args:
        uri: of MLflow's store; None is that of the runs' folder.
        runs: that folder.
        experiment: of MLflow, by name.
        system: whether it has how busy the machine is.
    """

    uri: str | None
    runs: Path
    experiment: str
    system: bool


def store_of(experiment: Experiment, runs: Path) -> Store:
    """That of an experiment's runs."""
    return Store(experiment.tracking.uri, runs, experiment.name, experiment.tracking.system_metrics)


class TrainingTracker:
    """Keeps a run in MLflow in line with the epochs trained so far, and ends it with the block that it is entered for.
    MLflow's trouble never stops the training.

    Args:
        store: where it is kept.
        title: of the run.
        folder: of the training: where the run's id is kept, and the weights are.
        params: of the run.
        tags: ditto, beside the versions.
        data: that are trained on.

    Attributes:
        run_id: of the run.
        trouble: why MLflow lacks something, where it does.

    Raises:
        TrackingError: MLflow cannot be reached.
    """

    def __init__(
        self,
        store: Store,
        title: str,
        folder: Path,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        data: TrainedOn,
    ) -> None:
        client, experiment_id = connect(store.uri, store.runs, store.experiment)
        self._writer = RunWriter(client)
        self._folder, self._delivered = folder, 0
        self._system = SystemMetrics(store_uri(store.uri, store.runs), wanted=store.system)
        self.trouble: Exception | None = None
        known = self._known()
        if known is not None:
            self.run_id, self._delivered = known.info.run_id, self._writer.epoch_count(known.info.run_id)
            client.update_run(self.run_id, "RUNNING")
            for name in {"stop_reason", "error"} & set(known.data.tags):
                client.delete_tag(self.run_id, name)
            return
        made = client.create_run(experiment_id, tags={**tags, **data.tags, **versions()}, run_name=title)
        self.run_id = made.info.run_id
        write(folder / ID_FILE, json.dumps({"run_id": self.run_id}))
        client.log_inputs(self.run_id, [data.input()])
        self._writer.add(self.run_id, params=parameters(params))

    def _known(self) -> Run | None:
        """The run of a training that is resumed, unless MLflow or the folder has lost it."""
        from mlflow.exceptions import MlflowException

        run_id = read_run_id(self._folder)
        if run_id is not None:
            with suppress(MlflowException):
                return self._writer.client.get_run(run_id)
        return None

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

    def deliver(self, history: list[dict[str, float]]) -> None:
        """All epochs that MLflow has not had; the next call delivers what this one could not."""
        try:
            while self._delivered < len(history):
                epochs = [of_epoch(metrics, milliseconds()) for metrics in history[self._delivered :]]
                self._delivered += self._writer.add(self.run_id, epochs)
            self.trouble = None
        except Exception as error:
            log.debug("MLflow", exc_info=True)
            self.trouble = error

    def add(self, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """What was found at the end."""
        try:
            values = [Values(0, milliseconds(), metrics)] if metrics else []
            self._writer.add(self.run_id, values, tags=tags)
        except Exception as error:
            self.trouble = error

    def _end(self, status: str, tags: Mapping[str, str]) -> None:
        """How it ended, and the weights."""
        client, weights = self._writer.client, self._folder / BEST
        self._system.finish()
        try:
            if weights.exists():
                client.log_artifact(self.run_id, str(weights))
            self._writer.add(self.run_id, tags=tags)
            client.set_terminated(self.run_id, status)
        except Exception as error:
            self.trouble = error
