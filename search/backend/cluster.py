"""Ray: started on this machine or joined as an existing cluster, with the code that its workers need."""

from __future__ import annotations

import importlib
import logging
import os
import socket
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import Any

import search.backend.environment  # isort: skip # noqa: F401, it must set the environment before Ray is imported

import ray
from ray.exceptions import RayError

from ogmge.factories import is_installed, own_folders
from search.backend.interrupt import keep_handlers
from search.backend.limits import RAY_BYTES, address_space_fault, open_files_fault
from search.backend.node_check import ClusterError, check_nodes, living_nodes, mark_folders
from search.backend.private_ray import require_token
from search.backend.ray_health import watch_cluster, watch_local_ray
from search.backend.ray_start import start_ray
from search.experiment.own_code import named_factories, top_level
from search.experiment.program import PACKAGES, ROOT
from search.experiment.schema import Experiment

PROBE_S = 5.0


@contextmanager
def ray_for(experiment: Experiment, read: Mapping[str, str], written: Mapping[str, str]) -> Iterator[None]:
    """Start or join the Ray that `search.address` names, and check that all nodes have the files that trials use.

    Args:
        experiment: experiment whose `search.address` is read.
        read, written: see `check_nodes`.

    Raises:
        ClusterError: if the cluster cannot be joined, a node lacks something, or a folder cannot be written to.
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
    """Join a cluster briefly and return the resources of each node, see `nodes`.

    Raises:
        ClusterError: if the cluster cannot be joined.
    """
    with cluster(address):
        return nodes()


def own_cpus() -> int:
    """Return the number of CPUs this process may use, within its CPU affinity and the container's limit."""
    import joblib  # imported here because it takes 0.2 s

    return int(joblib.cpu_count())


_keeper: ContextVar[ExitStack | None] = ContextVar("keeper", default=None)


@contextmanager
def keep_ray() -> Iterator[None]:
    """Keep the Ray that is started or joined inside until the end of the block, so a confirmation uses the search's."""
    with ExitStack() as stack:
        before = _keeper.set(stack)
        try:
            yield
        finally:
            _keeper.reset(before)


@contextmanager
def _shut_down_after(watch: AbstractContextManager[None]) -> Iterator[None]:
    """Watch Ray during the block and shut it down afterwards: at once, or at the end of `keep_ray`."""
    with ExitStack() as own:
        stack = _keeper.get() or own
        stack.callback(ray.shutdown)
        stack.enter_context(watch)
        yield


@contextmanager
def local_ray(cpus: int | None = None, gpus: int | None = None) -> Iterator[None]:
    """Start a silent Ray without a dashboard on this machine, or use the one that this process has already started.

    Args:
        cpus, gpus: numbers that Ray schedules; None means what this process may use.

    Raises:
        ClusterError: if limits of the shell are too low for Ray.
        RayStartError: if Ray does not start.
    """
    _quiet()
    if ray.is_initialized():
        yield
        return
    _require_limits()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *own_folders()])
    require_token()
    start_ray(own_cpus() if cpus is None else cpus, gpus)
    with _shut_down_after(watch_local_ray()):
        yield


def _require_limits() -> None:
    if fault := address_space_fault(RAY_BYTES) or open_files_fault():
        raise ClusterError(fault)


@contextmanager
def cluster(address: str, modules: Collection[str] | None = None) -> Iterator[None]:
    """Join a Ray cluster from one of its nodes.

    Args:
        address: host:port of the cluster's head, or `auto` to read it from RAY_ADDRESS.
        modules: names of the user's top-level modules, which are sent to workers with our code; None sends no code.

    Raises:
        ClusterError: if nothing answers at the address, or the cluster cannot be joined.
    """
    _quiet()
    if _keeper.get() is not None and ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    _probe(address)
    sent = {} if modules is None else _runtime_env(modules)
    try:
        with keep_handlers():
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL, runtime_env=sent)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise ClusterError(
            f"cannot join the Ray cluster at {address} ({str(error).splitlines()[0]}): start this command on one of "
            "its nodes, with the same versions of Ray and Python; if the cluster uses a token, set RAY_AUTH_MODE=token "
            "and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
        ) from error
    with _shut_down_after(watch_cluster(address)):
        yield


def _runtime_env(modules: Collection[str]) -> dict[str, Any]:
    """Return the environment of a cluster's workers: our code, the user's modules and some variables."""
    ours = [str(ROOT / name) for name in PACKAGES]
    variables = {key: value for key, value in os.environ.items() if key.startswith(("RAY_CHDIR", "TUNE_", "OGMGE_"))}
    return {"py_modules": [*ours, *_modules_to_send(modules)], "env_vars": variables}


def _quiet() -> None:
    for name in ("ray", "ray.tune", "ray.train", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _probe(address: str) -> None:
    """Raise at once if nothing listens at the address; Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        raise ClusterError(
            "`search.address` is `auto`, so RAY_ADDRESS must be the host:port of a cluster's head, but got "
            f"{address!r}: `ray job submit` sets it for a job; elsewhere, set `search.address` to host:port"
        )
    try:
        socket.create_connection((host, int(port)), timeout=PROBE_S).close()
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster answers at {address} (`search.address`): {error.strerror or error}; to check the cluster, "
            "run `ray status` on its head"
        ) from error


def own_modules(experiment: Experiment, *, data: bool = True) -> set[str]:
    """Return the top-level names of the user's modules that an experiment names, as in `my_package.my_module:factory`.

    Args:
        experiment: experiment that names the modules.
        data: whether to include the data set's module; otherwise only the models' modules are returned.
    """
    dataset = experiment.dataset["name"] if data else ""
    names = {*named_factories(experiment), *([dataset] if ":" in dataset else [])}
    return set(top_level(names))


def _modules_to_send(modules: Collection[str]) -> list[ModuleType]:
    """Import the modules; return them and those beside them that they import, without what every node has installed."""
    try:
        imported = [importlib.import_module(name) for name in sorted(modules)]
    except ImportError as error:
        raise ClusterError(f"cannot import a module that the experiment names ({error})") from error
    own = [module for module in imported if not is_installed(_source(module))]
    folders = {Path(_source(module)).parent for module in own} - {ROOT}
    beside = [module for name, module in list(sys.modules.items()) if _is_in(module, name, folders)]
    return [*dict.fromkeys([*own, *beside])]


def _is_in(module: ModuleType, name: str, folders: Collection[Path]) -> bool:
    """Return whether a top-level module is in one of the folders."""
    file = Path(vars(module).get("__file__") or "")  # not an attribute, which would load modules that load lazily
    place = file.parent if file.name == "__init__.py" else file
    return "." not in name and name != "__main__" and place.parent in folders


def _source(module: ModuleType) -> str:
    """Return the folder of a package, or the file of a module."""
    return str(next(iter(getattr(module, "__path__", [module.__file__]))))


def sources(modules: Collection[str]) -> list[str]:
    """Return the file or folder of each module that is not installed."""
    return list(map(_source, _modules_to_send(modules)))


def nodes() -> list[dict[str, float]]:
    """Return the resources of each living node of the running Ray: `CPU`, `GPU` and more."""
    return [node["Resources"] for node in living_nodes()]
