"""Fixtures that take seconds to start, shared by all tests of a process: Ray, an S3 server, a finished search."""

from __future__ import annotations

import os
import sys

# This is set before torch is imported, and for all processes that tests start: two threads in each of several
# processes compete for two cores, which takes ten times as long. Tests about threads set their own number.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

import logging
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import Result
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling, LoadScopeScheduling

import search.backend.environment  # noqa: F401, must precede the first import of Ray

if TYPE_CHECKING:
    from tests.support.two_processes import TwoProcesses

# Containers often disable bytecode. Each process of the tests would then compile all its imports: half of its start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

settings.register_profile("quick", max_examples=30, deadline=None)
settings.register_profile("thorough", max_examples=300, deadline=None)
settings.load_profile("quick")  # `--hypothesis-profile=thorough` selects the other

RAY = (  # these share one Ray and one finished search, which take half a minute to create
    "search/commands/test_search.py",
    "search/commands/test_confirm.py",
    "search/commands/test_trace_probes.py",
    "search/commands/test_search_processes.py",
    "search/commands/test_disk.py",
    "search/run/test_checkpoints.py",
    "search/commands/test_prepare_and_check.py",
    "search/backend/test_resources.py",
    "search/backend/test_cluster.py",
    "search/commands/test_train_processes.py",
    "search/backend/test_worker.py",
    "search/backend/test_private_ray.py",
    "search/tuner/test_optuna_log.py",
)
RANKS = ("ogmge/test_distributed.py", "ogmge/test_fit_distributed.py")  # these share two processes
TOGETHER = dict.fromkeys(RAY, "ray") | dict.fromkeys(RANKS, "ranks")
LONGEST = (
    *RAY,
    "search/commands/test_train.py",
    "datasets/test_prepare.py",
    "search/tuner/test_study.py",
    "search/commands/test_probe.py",
    "search/report/test_report_browser.py",
    "search/backend/test_throughput.py",
)
TESTS = Path(__file__).parent


class OneRay(LoadScopeScheduling):
    """Scheduler that gives all files of a group to the same test process, and other files to any."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0].removeprefix("tests/")
        return TOGETHER.get(file, file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Group files only in the default run: most slow tests start their own Ray and gain from two processes."""
    return OneRay(config, log) if "not slow" in config.option.markexpr else LoadFileScheduling(config, log)


def pytest_configure() -> None:
    """Restore SIGINT, which is ignored in the background of a shell, also for all processes that tests start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the long files to the front: a long one at the end would leave one of two processes idle."""
    place = {TESTS / name: index for index, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(LONGEST)))


MODULE_PATH: list[str] = []


def pytest_collection_finish() -> None:
    MODULE_PATH[:] = sys.path


@pytest.fixture(autouse=True)
def own_module_path() -> Iterator[None]:
    """Forget the folders that commands put first for a user's modules, also those of fixtures that several tests share:
    a command is a process of its own."""
    sys.path[:] = MODULE_PATH
    yield
    sys.path[:] = MODULE_PATH


@pytest.fixture(scope="session", autouse=True)
def hurried_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let MLflow's SQLite skip disk syncs, and run MLflow's fifty migrations of an empty database only once.

    Tests need no protection against power failures. The migrated database is copied for each further one.
    """
    from mlflow.store.db import utils
    from sqlalchemy import Engine, create_engine, event

    def hurry(connection: object, _: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", hurry)
    migrated = tmp_path_factory.mktemp("migrated") / "mlflow.db"
    migrate = utils._initialize_tables

    def copy_tables(engine: Engine) -> None:
        if engine.dialect.name != "sqlite":
            return migrate(engine)
        if not migrated.exists():
            first = create_engine(f"sqlite:///{migrated}")
            migrate(first)
            first.dispose()
        with closing(sqlite3.connect(migrated)) as source, closing(engine.raw_connection()) as target:
            source.backup(target.driver_connection)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "_initialize_tables", copy_tables)
        yield


@pytest.fixture(scope="session")
def ray_instance() -> Iterator[None]:
    from search.backend.cluster import local_ray

    os.environ.setdefault("AWS_SECURITY_TOKEN", "planted-key")  # test_private_ray.py looks for it in what is written
    with local_ray(cpus=2, gpus=1):  # without a GPU, Ray only pretends to have one, which can be shared too
        yield


@pytest.fixture(scope="session")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoProcesses]:
    from tests.support.two_processes import TwoProcesses

    both = TwoProcesses(tmp_path_factory.mktemp("ranks"))
    yield both
    both.end()


@pytest.fixture(scope="session")
def s3() -> Iterator[Callable[[str], str]]:
    """Start a real S3 server on the loopback address; yield a function from a folder to its URI in the bucket."""
    from moto.server import ThreadedMotoServer
    from pyarrow import fs

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    place = f"scheme=http&endpoint_override=127.0.0.1:{port}&region=us-east-1"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        made, path = fs.FileSystem.from_uri(f"s3://bucket?{place}&allow_bucket_creation=true")
        made.create_dir(path)
        yield lambda folder: f"s3://bucket/{folder}?{place}"
    server.stop()


@pytest.fixture(scope="session")
def searched(ray_instance: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """Run a search, `runs/own`; return its folder, which tests must not change, and its output.

    It has six trials, some of them stopped early, each on half of a pretended GPU.
    """
    from tests.support.searches import FINISHED, own, search

    folder = tmp_path_factory.mktemp("searched")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        own("Together", folder)
        result = search(*FINISHED)
    assert result.exit_code == 0, result.output
    return folder, result


@pytest.fixture(scope="session")
def confirmed(searched: tuple[Path, Result], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """Confirm a copy of the finished search with three seeds; return its folder and its output."""
    from tests.support.searches import ONE_WORKER, command

    folder = tmp_path_factory.mktemp("confirmed") / "copy"
    shutil.copytree(searched[0], folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = command("confirm", "own", "--seeds", "3", ONE_WORKER)
    assert result.exit_code == 0, result.output
    return folder, result
