"""Ray: one of our own on this machine, or a cluster that is there already; and what its nodes have in common."""

from __future__ import annotations

import importlib
import logging
import os
import secrets
import socket
import sys
import sysconfig
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import ModuleType
from typing import Any

import search.backend.environment  # isort: skip # noqa: F401, it sets what Ray reads when it is imported

import ray
from ray._private import services
from ray._private.utils import get_num_cpus
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from datasets.store.remote import Remote, RemoteError, is_uri, whereabouts
from datasets.store.store import MANIFEST
from search.experiment.mistakes import UserError
from search.experiment.schema import Experiment

ROOT = Path(__file__).resolve().parents[2]
OURS = ("ogmge", "datasets", "search")
NEEDED = ("torch", "torchvision", "numpy", "pyarrow", "simplejpeg", "zlib_ng", "av", "soxr", "librosa")
OBJECT_STORE_BYTES = 256 * 2**20  # nothing of ours goes through it
PROBE_S, NODE_S = 5.0, 120.0


class ClusterError(UserError):
    """A cluster that cannot be joined, or whose nodes lack what is needed."""


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
        with _mark_folders(written):
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
    with cluster(address, code=False):
        return nodes()


def own_cpus() -> int:
    """CPUs that this process may use: Ray's count, which knows a container's limit, and those it is not kept off."""
    return max(1, min(int(get_num_cpus(override_docker_cpu_warning=True)), len(os.sched_getaffinity(0))))


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
    with _loopback():
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
def _loopback() -> Iterator[None]:
    """Lets Ray start on 127.0.0.1; it would take the address in the network instead, and listen to all of it."""
    found = services.resolve_ip_for_localhost
    services.resolve_ip_for_localhost = lambda host: host
    try:
        yield
    finally:
        services.resolve_ip_for_localhost = found


@contextmanager
def cluster(address: str, modules: Collection[str] = (), *, code: bool = True) -> Iterator[None]:
    """A cluster's Ray, joined from one of its nodes. Our code, and modules of the user's, are sent to its workers.

    Args:
        address: host:port of its head; `auto` is what RAY_ADDRESS says.
        modules: names of top-level modules that workers need beside ours.
        code: whether any of it is sent: a look at the cluster needs none.

    Raises:
        ClusterError: nobody answers, or it cannot be joined.
    """
    _quiet()
    address = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    _probe(address)
    told = {key: value for key, value in os.environ.items() if key.startswith(("RAY_CHDIR", "TUNE_", "OGMGE_"))}
    ours = [str(ROOT / name) for name in OURS]
    sent = {"py_modules": [*ours, *_modules_to_send(modules)], "env_vars": told} if code else {}
    try:
        with _loopback() if _only_here(address) else nullcontext():
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


def _own_folders() -> list[str]:
    """Where modules are looked for, but for what is Python's own or installed."""
    python = [Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders = dict.fromkeys(path or os.getcwd() for path in sys.path)
    own = [folder for folder in folders if not folder.endswith(".zip")]  # Python's own, zipped, which is seldom there
    return [folder for folder in own if not any(Path(folder).is_relative_to(p) for p in python)]


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


def _only_here(address: str) -> bool:
    """Whether a head listens to its own machine alone; Ray would look for it at the address in the network."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((services.resolve_ip_for_localhost(host), int(port)), timeout=PROBE_S).close()
    except OSError:
        return True
    return False


def own_modules(experiment: Experiment, *, data: bool = True) -> set[str]:
    """Top-level names of the modules of the user's that an experiment names, as in `my_package.my_module:factory`.

    Args:
        experiment: what names them.
        data: whether that of the data set is among them; else they are the models'.
    """
    encoders = experiment.trial.encoder
    named = [experiment.trial.fusion, *([experiment.dataset["name"]] if data else [])]
    named += encoders.values() if isinstance(encoders, dict) else [encoders]
    for path, entry in experiment.space.items():
        if path.startswith(("encoder", "fusion")) and isinstance(entry, list):
            named += [name for name in entry if isinstance(name, str)]
    return {name.partition(":")[0].partition(".")[0] for name in named if ":" in name} - {"torchvision", *OURS}


def _modules_to_send(modules: Collection[str]) -> list[ModuleType]:
    """Those that are not installed, as what stands in site-packages is on every node."""
    installed = {Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib")}
    try:
        found = [importlib.import_module(name) for name in sorted(modules)]
    except ImportError as error:
        raise ClusterError(f"a module that the experiment names cannot be imported ({error})") from error
    return [m for m in found if not installed & set(Path(m.__file__ or next(iter(m.__path__))).resolve().parents)]


def sources(modules: Collection[str]) -> list[str]:
    """The files or folders of those that are not installed."""
    return [str(next(iter(m.__path__)) if hasattr(m, "__path__") else m.__file__) for m in _modules_to_send(modules)]


def nodes() -> list[dict[str, float]]:
    """What each living node of the Ray that runs has: `CPU`, `GPU` and more."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def check_nodes(read: Mapping[str, str], written: Mapping[str, str]) -> None:
    """Whether every node of the cluster sees the same files and has the packages that workers need.

    Args:
        read: option -> path of a file or folder, or URI of a store, that workers read.
        written: option -> path or URI of a folder that they write to; a mark is made in it, looked for and copied.

    Raises:
        ClusterError: a sentence for each node and what it lacks.
    """
    here = {option: whereabouts(where) for option, where in read.items()}
    with _mark_folders(written) as marks:
        asked: dict[str, Any] = {}
        for node in ray.nodes():
            if node["Alive"]:
                there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
                task = ray.remote(num_cpus=0)(_lacking).options(scheduling_strategy=there)
                asked[name] = task.remote(here, marks, NEEDED)
        lines = [f"the node {name} {line}" for name, answer in asked.items() for line in _answer(answer)]
    if lines:
        raise ClusterError("\n".join(lines))


@contextmanager
def _mark_folders(written: Mapping[str, str]) -> Iterator[dict[str, tuple[str, str]]]:
    """Folders with a file in them: option -> path or URI, and the file's name.

    Raises:
        ClusterError: one cannot be written to.
    """
    marks = {option: (whereabouts(where), f".seen-{secrets.token_hex(8)}") for option, where in written.items()}
    lines = [line for option, mark in marks.items() for line in _check_writable(option, *mark)]
    try:
        if lines:
            raise ClusterError("\n".join(lines))
        yield marks
    finally:
        for where, name in marks.values():
            with suppress(RemoteError):
                Remote(where).delete(name)


def _check_writable(option: str, where: str, name: str) -> list[str]:
    """Writes a file; a sentence where that cannot be."""
    try:
        with NamedTemporaryFile() as file:
            Remote(where).put(Path(file.name), name)
    except RemoteError as error:
        return [f"`{option}`: {error}"]
    return []


def _lacking(read: Mapping[str, str], marks: Mapping[str, tuple[str, str]], packages: Collection[str]) -> list[str]:
    """On a node: what it does not see, what it cannot write to, and the packages that it does not have."""
    lines = [
        line for o, where in read.items() for line in _check_visible(o, where, MANIFEST if is_uri(where) else None)
    ]
    for option, (where, name) in marks.items():
        copied = f"{name}-{secrets.token_hex(4)}"
        unseen = _check_visible(option, where, name)
        lines += unseen or [f"fails: {line}" for line in _check_writable(option, where, copied)]
        with suppress(RemoteError):
            Remote(where).delete(copied)
    absent = [package for package in packages if find_spec(package) is None]
    return [*lines, f"lacks {', '.join(absent)}: install there what this machine has"] if absent else lines


def _check_visible(option: str, where: str, name: str | None) -> list[str]:
    """A sentence where there is no such path, or no file of that name in a folder."""
    try:
        if Remote(where).exists(name) if name else Path(where).exists():
            return []
    except RemoteError as error:
        return [f"fails: `{option}`: {error}"]
    return [
        f"does not see {where} (`{option}`): put it where all nodes see it under one name, such as a shared file "
        "system or an object store"
    ]


def _answer(reference: Any) -> list[str]:
    try:
        lines: list[str] = ray.get(reference, timeout=NODE_S)
    except RayError as error:
        return [f"runs none of our code ({str(error).strip().splitlines()[-1]})"]
    return lines
