"""Client of MLflow's store, and the format of what we write to it."""

from __future__ import annotations

import errno
import json
import logging
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.index.json_text import parse_json
from datasets.index.regular_file import read_regular
from datasets.store.lock import lock_file
from search.experiment.formatting import flat
from search.experiment.mistakes import UserError
from search.run.disk import explain_errors, require_writable
from search.run.folder import write

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # otherwise printed whenever a run ends
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # a retry could create a second run, see `Maker`
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

EMPTY_BYTES, RUN_BYTES, VALUE_BYTES = 950_000, 10_000, 280  # in SQLite, measured on the demo with MLflow 3.17.2
PARAMETER_LENGTH = 6000  # MLflow's limit
NAME_LENGTH, DIGEST_LENGTH = 500, 36  # MLflow's limits for a data set
TRAINING_PAGE = {"mlflow.experimentKind": "custom_model_development"}  # otherwise MLflow opens its page for chats
PACKAGES = ("torch", "torchvision", "ray", "optuna", "mlflow", "numpy")
INTERRUPTED = "interrupted: the search can be resumed"  # a run's `stop_reason`
ID_FILE = "mlflow.json"  # in the run's folder: id of its run in MLflow


class TrackingError(UserError):
    """MLflow's store cannot be reached or written to."""


def store_uri(uri: str | None, runs: Path) -> str:
    """Return the tracking URI: the experiment's own, or SQLite in the folder of all runs."""
    return uri or f"sqlite:///{(runs / 'mlflow.db').resolve()}"


def connect(uri: str | None, runs: Path, name: str) -> tuple[MlflowClient, str]:
    """Return MLflow's client and the id of the experiment `name`, which is created if it is missing.

    Raises:
        PlaceError: if the folder of the runs cannot be written.
        TrackingError: if the store cannot be reached.
    """
    import mlflow

    for noisy in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)  # we report their errors ourselves
    if uri is not None:
        _require_folder(uri)
    _prepare_folder(runs, has_store=uri is None)
    artifacts = None if uri else (runs / "mlartifacts").resolve().as_uri()
    try:
        with lock_file(_lock(store_uri(uri, runs), runs)):  # searches that start together must not all create tables
            client = mlflow.MlflowClient(store_uri(uri, runs))
            return client, _open_experiment(client, name, artifacts)
    except Exception as error:  # MLflow raises its own, requests', sqlalchemy's …
        reason = (str(error) or repr(error)).splitlines()[0]
        raise TrackingError(f"cannot use MLflow at {store_uri(uri, runs)}: {reason}") from error


def _prepare_folder(runs: Path, *, has_store: bool) -> None:
    """Create the folder of the runs, and check that the store in it can be written, if it has one."""
    with explain_errors():
        runs.mkdir(parents=True, exist_ok=True)
        require_writable(runs, runs / ".mlflow.lock")
        if has_store:
            require_writable(runs / "mlartifacts", runs / "mlflow.db")
            _check_database(runs / "mlflow.db")


def _check_database(file: Path) -> None:
    """Raise if a file exists and cannot be written. It is not opened, which would drop SQLite's locks on it."""
    if os.path.lexists(file) and not os.access(file, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))


def _lock(uri: str, runs: Path) -> Path:
    """Return the file to lock while a store is opened: next to an SQLite database, which may not be in `runs`."""
    store = _sqlite_file(uri) or runs / "mlflow"
    return store.with_name(f".{store.stem}.lock")


def _require_folder(uri: str) -> None:
    """Check that the folder of an SQLite database exists: MLflow would try for minutes to open the database."""
    file = _sqlite_file(uri)
    if file is not None and not file.parent.is_dir():
        raise TrackingError(
            f"`tracking.uri` is {uri}, but there is no folder {file.parent}: create it, or change the URI"
        )


def _sqlite_file(uri: str) -> Path | None:
    """Return the file of an SQLite database; None for any other store."""
    from sqlalchemy import make_url

    database = make_url(uri).database if uri.startswith("sqlite") else None
    return Path(database) if database else None


def _open_experiment(client: MlflowClient, name: str, artifacts: str | None) -> str:
    known = client.get_experiment_by_name(name)
    if known is None:
        return client.create_experiment(name, artifacts, TRAINING_PAGE)
    if known.lifecycle_stage == "deleted":
        client.restore_experiment(known.experiment_id)
    return str(known.experiment_id)


def keep_run_id(folder: Path, **ids: str) -> None:
    """Write the MLflow id of a search (`parent_run_id`) or a training (`run_id`) to its folder."""
    write(folder / ID_FILE, json.dumps(ids))


def read_run_id(folder: Path) -> str | None:
    """Return the MLflow id of the search or training in a folder; None if it is unknown."""
    with suppress(OSError, ValueError, TypeError, AttributeError, StopIteration):
        found = next(iter(parse_json(read_regular(folder / ID_FILE)).values()))
        return found if isinstance(found, str) else None
    return None


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    found = {"version.python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[f"version.{package}"] = version(package)
    return found


def parameters(values: Mapping[str, Any]) -> dict[str, str]:
    """Return nested values as MLflow's parameters, by dotted path."""
    texts = {key: v if isinstance(v, str) else json.dumps(v) for key, v in flat(values).items()}
    return {key: text[:PARAMETER_LENGTH] for key, text in texts.items()}


@dataclass(frozen=True)
class TrainingData:
    """Data of a run.

    Args:
        dataset: dataset section of the experiment.
        fingerprint: fingerprint of the data.
    """

    dataset: Mapping[str, Any]
    fingerprint: str

    @property
    def tags(self) -> dict[str, str]:
        """Tags by which runs can be found."""
        return {"dataset": str(self.dataset["name"]), "dataset.fingerprint": self.fingerprint}

    def input(self) -> DatasetInput:
        """Return the data set as MLflow's page lists it."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        name, digest = str(self.dataset["name"])[:NAME_LENGTH], self.fingerprint[:DIGEST_LENGTH]
        found = Dataset(name, digest, "local", json.dumps(dict(self.dataset), default=str))
        return DatasetInput(found, [InputTag("mlflow.data.context", "training")])


class Maker:
    """Creator of runs without duplicates: a failed call may have created a run, if only its answer was lost.

    Args:
        client: MLflow's client.
        experiment_id: id of the experiment that the runs belong to.
    """

    def __init__(self, client: MlflowClient, experiment_id: str) -> None:
        self._client, self.experiment_id = client, experiment_id
        self._doubtful: dict[str, str | None] = {}  # filter of a run -> id of the run that counts

    def make(self, same: str, name: str, tags: Mapping[str, str], start_time: int | None = None) -> str:
        """Create a run, unless an earlier call already did, and return its id.

        Args:
            same: filter that finds this run and no other.
            name, tags, start_time: properties of the run.
        """
        found = next(self.find(same), None) if same in self._doubtful else None
        try:
            run = found or self._client.create_run(self.experiment_id, start_time, dict(tags), name)
        except Exception:
            self._doubtful[same] = None
            raise
        run_id = str(run.info.run_id)
        if same in self._doubtful:
            self._doubtful[same] = run_id
        return run_id

    def find(self, same: str) -> Iterator[Run]:
        """Yield all runs that a filter finds, the oldest first."""
        token = None
        while True:
            page = self._client.search_runs(
                [self.experiment_id], same, order_by=["attributes.start_time"], page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def tidy(self) -> None:
        """Delete duplicate runs, created by calls whose answers were lost."""
        for same, counts in self._doubtful.items():
            for run in self.find(same) if counts else ():
                if run.info.run_id != counts:
                    self._client.delete_run(run.info.run_id)
