"""Ray: one of our own on this machine, or a cluster that is there already; and the code that its workers need."""

from __future__ import annotations

import importlib
import logging
import os
import socket
import sys
import sysconfig
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import search.backend.environment  # isort: skip # noqa: F401, it sets what Ray reads when it is imported

import ray
from ray.exceptions import RayError

from search.backend.node_check import ClusterError, check_nodes, living_nodes, mark_folders
from search.experiment.schema import Experiment

ROOT = Path(__file__).resolve().parents[2]
OURS = ("ogmge", "datasets", "search")
PYTHON = tuple(Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "platstdlib", "purelib", "platlib"))
OBJECT_STORE_BYTES = 256 * 2**20  # nothing of ours goes through it
PROBE_S = 5.0


@contextmanager
def ray_for(experiment: Experiment, read: Mapping[str, str], written: Mapping[str, str]) -> Iterator[None]:
    """The Ray that an experiment asks for: `search.address`; all of its nodes have what is read and written.

    Args:
        read, written: see `check_nodes`.

    Raises:
        ClusterError: it cannot be joined, a node lacks something, or what is to be written cannot be.
    """
    address = experiment.search.address
    if address == "local":
        with mark_folders(written):
            pass
        with local_ray():
            yield
        return
    with cluster(address, own_modules(experiment)):
        check_nodes(read, written)
        yield


def nodes_of(address: str) -> list[dict[str, float]]:
    """What each node of a cluster has, which is joined for a moment: see `nodes`.

    Raises:
        ClusterError: it cannot be joined.
    """
    with cluster(address):
        return nodes()


def own_cpus() -> int:
    """CPUs that this process may use: not more than a container's limit, and only those it is not kept off."""
    import joblib  # here, since it takes a fifth of a second

    return int(joblib.cpu_count())


@contextmanager
def local_ray(cpus: int | None = None, gpus: int | None = None) -> Iterator[None]:
    """A Ray of our own on this machine, silent and without a dashboard; or the one that this process has already.

    Args:
        cpus, gpus: what Ray is to believe there is; None is what this process may use.
    """
    _quiet()
    if ray.is_initialized():
        yield
        return
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *_own_folders()])
    ray.init(  # workers inherit the environment; a runtime_env would cost a second for each
        address="local",  # else one that somebody left running is joined
        num_cpus=own_cpus() if cpus is None else cpus,
        num_gpus=gpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.CRITICAL,
        object_store_memory=OBJECT_STORE_BYTES,
        _node_ip_address="127.0.0.1",
    )
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def cluster(address: str, modules: Collection[str] | None = None) -> Iterator[None]:
    """A cluster's Ray, joined from one of its nodes.

    Args:
        address: host:port of its head; `auto` is what RAY_ADDRESS says.
        modules: names of top-level modules of the user's, sent to workers with our code; None sends no code at all, as
            for a look at the cluster.

    Raises:
        ClusterError: nothing answers, or it cannot be joined.
    """
    _quiet()
    address = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    _probe(address)
    sent = {} if modules is None else _runtime_env(modules)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL, runtime_env=sent)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise ClusterError(
            f"the Ray cluster at {address} cannot be joined ({str(error).splitlines()[0]}): start this on one of its "
            "nodes, with the cluster's versions of Ray and Python, and with its token (RAY_AUTH_MODE=token and "
            "RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH) where it has one"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _runtime_env(modules: Collection[str]) -> dict[str, Any]:
    """What is sent to a cluster's workers: our code, the user's modules, and some of the environment."""
    ours = [str(ROOT / name) for name in OURS]
    variables = {key: value for key, value in os.environ.items() if key.startswith(("RAY_CHDIR", "TUNE_", "OGMGE_"))}
    return {"py_modules": [*ours, *_modules_to_send(modules)], "env_vars": variables}


def _own_folders() -> list[str]:
    """Where modules are looked for, but for what is Python's own or installed."""
    folders = dict.fromkeys(path or os.getcwd() for path in sys.path)
    return [folder for folder in folders if not _is_installed(folder)]


def _is_installed(path: str) -> bool:
    """Return True for Python's own modules, zipped ones too, and for what is in site-packages."""
    return path.endswith(".zip") or any(map(Path(path).resolve().is_relative_to, PYTHON))


def _quiet() -> None:
    for name in ("ray", "ray.tune", "ray.train", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _probe(address: str) -> None:
    """Whether anybody listens: Ray itself waits for minutes."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        raise ClusterError(
            f"`search.address` is `auto`, and RAY_ADDRESS must be host:port of a cluster's head, but is {address!r}: "
            "in a job (`ray job submit`) it is; elsewhere write host:port"
        )
    try:
        socket.create_connection((host, int(port)), timeout=PROBE_S).close()
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster answers at {address} (`search.address`): {error.strerror or error}; `ray status` on its "
            "head says where it is"
        ) from error


def own_modules(experiment: Experiment, *, data: bool = True) -> set[str]:
    """Top-level names of the modules of the user's that an experiment names, as in `my_package.my_module:factory`.

    Args:
        experiment: what names them.
        data: whether that of the data set is among them; else they are the models'.
    """
    searched = [entry for path, entry in experiment.space.items() if path.startswith(("encoder", "fusion"))]
    dataset = experiment.dataset["name"] if data else None
    names = _strings([experiment.trial.fusion, experiment.trial.encoder, dataset, searched])
    return {name.partition(":")[0].partition(".")[0] for name in names if ":" in name} - {"torchvision", *OURS}


def _strings(value: Any) -> Iterator[str]:
    """All strings in what stands in an experiment file."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _strings(list(value.values()))
    elif isinstance(value, list):
        yield from chain.from_iterable(map(_strings, value))


def _modules_to_send(modules: Collection[str]) -> list[ModuleType]:
    """Those that are not installed, as what is installed here is on every node."""
    try:
        imported = [importlib.import_module(name) for name in sorted(modules)]
    except ImportError as error:
        raise ClusterError(f"a module that the experiment names cannot be imported ({error})") from error
    return [module for module in imported if not _is_installed(_source(module))]


def _source(module: ModuleType) -> str:
    """The folder of a package, or the file of a module."""
    return str(next(iter(getattr(module, "__path__", [module.__file__]))))


def sources(modules: Collection[str]) -> list[str]:
    """The files or folders of those that are not installed."""
    return list(map(_source, _modules_to_send(modules)))


def nodes() -> list[dict[str, float]]:
    """What each living node of the Ray that runs has: `CPU`, `GPU` and more."""
    return [node["Resources"] for node in living_nodes()]
