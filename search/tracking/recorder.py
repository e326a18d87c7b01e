"""The record in MLflow of one training run by itself."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from search.experiment import Experiment
from search.folder import RunFolder
from search.tracking.store import RunWriter, Values, connect, milliseconds, of_epoch, parameters, versions

log = logging.getLogger(__name__)


class Recorder:
    """Keeps a run in MLflow in line with the epochs trained so far. MLflow's trouble never stops the training.

    Args:
        experiment: whose trial is trained.
        folder: of the run.
        fingerprint: of the data.
        settings: how it is trained, beside what the experiment says.

    Attributes:
        run_id: of the run.
        trouble: why MLflow lacks something, where it does.
    """

    def __init__(
        self, experiment: Experiment, folder: RunFolder, fingerprint: str, settings: Mapping[str, Any]
    ) -> None:
        client, experiment_id = connect(experiment.tracking.uri, folder.path.parent, experiment.name)
        self._writer = RunWriter(client)
        self._delivered = 0
        self.trouble: Exception | None = None
        id_file = folder.path / "mlflow.json"
        if id_file.exists():
            self.run_id = str(json.loads(id_file.read_text())["run_id"])
            self._delivered = self._writer.known_epochs(self.run_id)
            client.update_run(self.run_id, "RUNNING")
            client.delete_tag(self.run_id, "stop_reason") if self._stopped() else None
            return
        tags = {
            "kind": "training",
            "dataset": experiment.dataset["name"],
            "dataset.fingerprint": fingerprint,
            **versions(),
        }
        self.run_id = client.create_run(experiment_id, tags=tags, run_name=experiment.name).info.run_id
        id_file.write_text(json.dumps({"run_id": self.run_id}))
        self._writer.add(self.run_id, params=parameters({**asdict(experiment.trial), **settings}))

    def _stopped(self) -> bool:
        return "stop_reason" in self._writer.client.get_run(self.run_id).data.tags

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

    def end(self, status: str, reason: str | None, weights: Path) -> None:
        """How it ended, and the weights."""
        client = self._writer.client
        try:
            if weights.exists():
                client.log_artifact(self.run_id, str(weights))
            if reason is not None:
                client.set_tag(self.run_id, "stop_reason" if status == "KILLED" else "error", reason)
            client.set_terminated(self.run_id, status)
        except Exception as error:
            self.trouble = error
