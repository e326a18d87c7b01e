"""MLflow's store: where runs are recorded, and how what we record is written."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import platform
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.labels import flat

if TYPE_CHECKING:
    from mlflow import MlflowClient

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # what fails is tried again by us, without blocking
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

EMPTY_BYTES, RUN_BYTES, VALUE_BYTES = 950_000, 10_000, 280  # of SQLite, seen in MLflow 3.17.2 after the demo's search
METRICS_A_CALL = 1000  # MLflow's limit
PARAMETERS_A_CALL = 100  # ditto
PARAMETER_LENGTH = 6000  # ditto
TRAINING_PAGE = {"mlflow.experimentKind": "custom_model_development"}  # else MLflow opens its page for chats
PACKAGES = ("torch", "torchvision", "ray", "optuna", "mlflow", "numpy")
INTERRUPTED = "interrupted: the search can be resumed"  # a run's `stop_reason`


class TrackingError(RuntimeError):
    """MLflow's store cannot be reached or written."""


def store_uri(uri: str | None, runs: Path) -> str:
    """The tracking URI: the experiment's own, or SQLite in the folder of the runs."""
    return uri or f"sqlite:///{(runs / 'mlflow.db').resolve()}"


def connect(uri: str | None, runs: Path, name: str) -> tuple[MlflowClient, str]:
    """MLflow's client, and the id of the experiment called `name`, which is made where it is missing.

    Raises:
        TrackingError: the store cannot be reached.
    """
    import mlflow

    for noisy in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)  # what they raise is ours to tell
    runs.mkdir(parents=True, exist_ok=True)
    artifacts = None if uri else (runs / "mlartifacts").resolve().as_uri()
    try:
        with (runs / ".mlflow.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two searches that begin together make one data base
            client = mlflow.MlflowClient(store_uri(uri, runs))
            known = client.get_experiment_by_name(name)
            if known is not None and known.lifecycle_stage == "deleted":
                client.restore_experiment(known.experiment_id)
            return client, known.experiment_id if known else client.create_experiment(name, artifacts, TRAINING_PAGE)
    except Exception as error:  # MLflow raises its own, requests', sqlalchemy's …
        raise TrackingError(f"MLflow at {store_uri(uri, runs)} cannot be used: {error}") from error


def versions() -> dict[str, str]:
    """Python and the packages that results depend on."""
    found = {"version.python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[f"version.{package}"] = version(package)
        except PackageNotFoundError:
            continue
    return found


def parameters(values: Mapping[str, Any]) -> dict[str, str]:
    """Nested values as MLflow's parameters, by dotted path."""
    texts = {key: v if isinstance(v, str) else json.dumps(v) for key, v in flat(values).items()}
    return {key: text[:PARAMETER_LENGTH] for key, text in texts.items()}


class RunWriter:
    """Writes what our runs are made of; each call may raise whatever MLflow does."""

    def __init__(self, client: MlflowClient) -> None:
        self.client = client

    def describe(self, run_id: str, params: Mapping[str, str]) -> None:
        """Parameters; given again they change nothing."""
        from mlflow.entities import Param

        listed = [Param(key, value) for key, value in params.items()]
        for first in range(0, len(listed), PARAMETERS_A_CALL):
            self.client.log_batch(run_id, params=listed[first : first + PARAMETERS_A_CALL])

    def epochs(self, run_id: str, epochs: list[dict[str, float]]) -> int:
        """Every metric of the first epochs, at the step of its epoch: of as many as go in one call. Returns how many.

        An epoch is there whole or not at all, so that after a failure the next call can begin where this one did.
        """
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        first = epochs[: max(1, METRICS_A_CALL // max(map(len, epochs)))]
        metrics = [
            Metric(key, value, now, int(epoch["epoch"]))
            for epoch in first
            for key, value in epoch.items()
            if key != "epoch"
        ]
        self.client.log_batch(run_id, metrics=metrics)
        return len(first)

    def known_epochs(self, run_id: str) -> int:
        """How many epochs the run has."""
        history = self.client.get_metric_history(run_id, "val/loss")
        return 1 + max((m.step for m in history), default=-1)
