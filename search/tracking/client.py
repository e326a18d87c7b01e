"""Client of MLflow's store, and the format of what we write to it."""

from __future__ import annotations

import errno
import json
import logging
import os
import platform
import shlex
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from datasets.index.json_text import parse_json
from datasets.index.regular_file import read_regular
from datasets.store.lock import lock_file
from datasets.store.remote import redact
from search.experiment.formatting import flat
from search.experiment.mistakes import UserError
from search.run.disk import explain_errors, require_writable
from search.run.folder import write
from search.tracking.names import as_text

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # otherwise printed whenever a run ends
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # a retry could create a second run, see `Maker`
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

EMPTY_BYTES, RUN_BYTES, VALUE_BYTES = 950_000, 10_000, 280  # in SQLite, measured on the demo with MLflow 3.17.2
DATASET_LENGTH, DIGEST_LENGTH, SOURCE_LENGTH = 500, 36, 65_535  # MLflow's limits for a data set
TRAINING_PAGE = {"mlflow.experimentKind": "custom_model_development"}  # otherwise MLflow opens its page for chats
PACKAGES = ("torch", "torchvision", "ray", "optuna", "mlflow", "numpy")
INTERRUPTED = "interrupted: the search can be resumed"  # a run's `stop_reason`
OTHER_VERSION = "out-of-date database schema"  # in MLflow's error, for newer ones too
ID_FILE = "mlflow.json"  # in the run's folder: id of its run in MLflow


class TrackingError(UserError):
    """MLflow's store cannot be reached or written to."""

    @classmethod
    def of(cls, error: Exception) -> UserError:
        """Return an error of the user as it is, and any other one, of MLflow, requests, sqlalchemy …, as this one."""
        return error if isinstance(error, UserError) else cls(f"MLflow failed: {error}")


def store_uri(uri: str | None, runs: Path) -> str:
    """Return the tracking URI: the experiment's own, or SQLite in the folder of all runs.

    In a folder whose name has a meaning in URIs, the whole path is quoted. Its slashes are quoted too, because MLflow
    creates the folders that it reads from the URI without decoding them.

    >>> store_uri(None, Path("/data/runs")), store_uri(None, Path("/data/50%25/runs"))
    ('sqlite:////data/runs/mlflow.db', 'sqlite:///%2Fdata%2F50%2525%2Fruns%2Fmlflow.db')
    """
    if uri:
        return uri
    file = (runs / "mlflow.db").resolve()
    plain = f"sqlite:///{file}"
    return plain if _sqlite_file(plain) == file else f"sqlite:///{quote(str(file), safe='')}"


def connect(uri: str | None, runs: Path, name: str) -> tuple[MlflowClient, str]:
    """Return MLflow's client and the id of the experiment `name`, which is created if it is missing.

    Raises:
        PlaceError: if the folder of the runs cannot be written.
        TrackingError: if the store cannot be reached.
    """
    import mlflow

    quiet()
    if uri is not None:
        _require_folder(uri)
    _prepare_folder(runs, has_store=uri is None)
    store, artifacts = store_uri(uri, runs), _artifacts(uri, runs)
    try:
        with lock_file(_lock(store, runs)):  # searches that start together must not all create tables
            _require_database(store)
            if artifacts is not None:
                _create_tables(store, artifacts)
            client = mlflow.MlflowClient(store)
            return client, _open_experiment(client, name, artifacts)
    except Exception as error:  # MLflow raises its own, requests', sqlalchemy's …
        raise TrackingError(f"cannot use MLflow at {redact(store)}: {_reason(error, store)}") from error


def quiet() -> None:
    """Silence MLflow and its libraries: we report their errors ourselves."""
    for noisy in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)


def _reason(error: Exception, store: str) -> str:
    """Return the first line of an error; for a database of another version of MLflow, also how to fix it."""
    line = (str(error) or repr(error)).splitlines()[0]
    if OTHER_VERSION not in line:
        return line
    upgrade = shlex.join(["mlflow", "db", "upgrade", redact(store)])
    return (
        "the database was written by another version of MLflow; if by an older one, back it up and run "
        f"`{upgrade}`, otherwise install the newer version, or choose another database with `tracking.uri`"
    )


def _artifacts(uri: str | None, runs: Path) -> str | None:
    """Return the URI of the folder for artifacts; None if MLflow's server chooses it."""
    from mlflow.store.db.db_types import DATABASE_ENGINES

    if uri is None:
        return (runs / "mlartifacts").resolve().as_uri()
    is_database = uri.partition(":")[0].partition("+")[0] in DATABASE_ENGINES
    return Path("mlruns").resolve().as_uri() if is_database else None  # as MLflow, which does not quote it


def _create_tables(store: str, artifacts: str) -> None:
    """Create the tables of a new database. MLflow itself would paste the working folder into SQL, quotes and all."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore(store, artifacts)


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


def _require_database(uri: str) -> None:
    """Raise sqlite3.DatabaseError if a file is no SQLite database: MLflow would try for minutes to open it."""
    file = _sqlite_file(uri)
    if file is not None and file.is_file():
        with closing(sqlite3.connect(file)) as database, suppress(sqlite3.OperationalError):  # as when it is locked
            database.execute("PRAGMA schema_version")


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
    return {key: v if isinstance(v, str) else json.dumps(v) for key, v in flat(values).items()}


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

        name, digest = as_text(str(self.dataset["name"]), DATASET_LENGTH), self.fingerprint[:DIGEST_LENGTH]
        source = as_text(json.dumps(dict(self.dataset), default=str), SOURCE_LENGTH)
        found = Dataset(name, digest, "local", source)
        return DatasetInput(found, [InputTag("mlflow.data.context", "training")])
