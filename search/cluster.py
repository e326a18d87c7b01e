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
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

# Read by Ray when it is imported or started.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # TensorBoard's and CSV's are the default's main cost
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", "30")  # else a trial can hang at the hand-over of its worker
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")  # Tune's own snapshots are not read: the journal is
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # a data set's relative paths are those of who starts the search
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # else workers begin with `uv run`, in a copy of the folder
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search.experiment import Experiment

ROOT = Path(__file__).resolve().parent.parent
OURS = ("ogmge", "datasets", "search")
NEEDED = ("torch", "torchvision", "numpy", "pyarrow", "simplejpeg", "zlib_ng", "av", "soxr", "librosa")
OBJECT_STORE_BYTES = 256 * 2**20  # nothing of ours goes through it
PROBE_S, NODE_S = 5.0, 120.0


class ClusterError(RuntimeError):
    """A cluster that cannot be joined, or whose nodes lack what is needed."""


@contextmanager
def ray_for(experiment: Experiment) -> Iterator[None]:
    """The Ray that an experiment asks for: `search.address`.

    Raises:
        ClusterError: it cannot be joined.
    """
    address = experiment.search.address
    with local_ray() if address == "local" else cluster(address, own_modules(experiment)):
        yield


@contextmanager
def local_ray(cpus: int | None = None, gpus: int | None = None) -> Iterator[None]:
    """A Ray of our own on this machine, silent and without a dashboard; or the one that this process has already.

    Args:
        cpus, gpus: what Ray is to believe there is; None is what it finds.
    """
    _quiet()
    if ray.is_initialized():
        yield
        return
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *_own_folders()])
    ray.init(  # workers inherit the environment; a runtime_env would cost a second for each
        address="local",  # else one that somebody left running is joined
        num_cpus=cpus,
        num_gpus=gpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.CRITICAL,
        object_store_memory=OBJECT_STORE_BYTES,
    )
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def cluster(address: str, modules: Collection[str] = ()) -> Iterator[None]:
    """A cluster's Ray, joined from one of its nodes. Our code, and modules of the user's, are sent to its workers.

    Args:
        address: host:port of its head.
        modules: names of top-level modules that workers need beside ours.

    Raises:
        ClusterError: nobody answers, or it cannot be joined.
    """
    _quiet()
    _probe(address)
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            runtime_env={
                "py_modules": [*(str(ROOT / name) for name in OURS), *_sent(modules)],
                "env_vars": {key: value for key, value in os.environ.items() if key.startswith(("RAY_CHDIR", "TUNE_"))},
            },
        )
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
    try:
        socket.create_connection((host, int(port)), timeout=PROBE_S).close()
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster answers at {address} (`search.address`): {error.strerror or error}; `ray status` on its "
            "head says where it is"
        ) from error


def own_modules(experiment: Experiment) -> set[str]:
    """Top-level names of the modules of the user's that an experiment names, as in `my_package.my_module:factory`."""
    encoders = experiment.trial.encoder
    named = [experiment.dataset["name"], experiment.trial.fusion]
    named += encoders.values() if isinstance(encoders, dict) else [encoders]
    for path, entry in experiment.space.items():
        if path.startswith(("encoder", "fusion")) and isinstance(entry, list):
            named += [name for name in entry if isinstance(name, str)]
    return {name.partition(":")[0].partition(".")[0] for name in named if ":" in name} - {"torchvision", *OURS}


def _sent(modules: Collection[str]) -> list[ModuleType]:
    """Those that are not installed, as what stands in site-packages is on every node."""
    installed = {Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib")}
    try:
        found = [importlib.import_module(name) for name in sorted(modules)]
    except ImportError as error:
        raise ClusterError(f"a module that the experiment names cannot be imported ({error})") from error
    return [m for m in found if not installed & set(Path(m.__file__ or next(iter(m.__path__))).resolve().parents)]


def nodes() -> list[dict[str, float]]:
    """What each living node of the Ray that runs has: `CPU`, `GPU` and more."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def check_nodes(read: Mapping[str, Path], written: Mapping[str, Path]) -> None:
    """Whether every node of the cluster sees the same files and has the packages that workers need.

    Args:
        read: option -> a file or folder that workers read.
        written: option -> a folder that they write to; a mark is made in it, and looked for.

    Raises:
        ClusterError: a sentence for each node and what it lacks.
    """
    marks = {option: folder.absolute() / f".seen-{secrets.token_hex(8)}" for option, folder in written.items()}
    for mark in marks.values():
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    try:
        wanted = {option: path.absolute() for option, path in read.items()} | marks
        asked: dict[str, Any] = {}
        for node in ray.nodes():
            if node["Alive"]:
                there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
                asked[name] = ray.remote(num_cpus=0)(_lacking).options(scheduling_strategy=there).remote(wanted, NEEDED)
        lines = [line for name, answer in asked.items() for line in _answer(name, answer, {**read, **written})]
    finally:
        for mark in marks.values():
            mark.unlink(missing_ok=True)
    if lines:
        raise ClusterError("\n".join(lines))


def _lacking(paths: Mapping[str, Path], packages: Collection[str]) -> tuple[list[str], list[str]]:
    """On a node: the options whose paths it does not see, and the packages that it does not have."""
    return [o for o, path in paths.items() if not path.exists()], [p for p in packages if find_spec(p) is None]


def _answer(node: str, reference: Any, paths: Mapping[str, Path]) -> Iterator[str]:
    try:
        unseen, absent = ray.get(reference, timeout=NODE_S)
    except RayError as error:
        yield f"the node {node} runs none of our code ({str(error).strip().splitlines()[-1]})"
        return
    for option in unseen:
        yield (
            f"the node {node} does not see {paths[option]} (`{option}`): put it where all nodes see it under one name, "
            "such as a shared file system"
        )
    if absent:
        yield f"the node {node} lacks {', '.join(absent)}: install there what this machine has"
