"""One training run in several processes (DDP), started by Ray Train on this machine or a cluster."""

from __future__ import annotations

import fcntl
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import search.backend.cluster  # isort: skip # noqa: F401, it must set the environment before Ray is imported

import ray
import torch
import torch.distributed as dist
from ray.train import FailureConfig, RunConfig, ScalingConfig, get_context
from ray.train.torch import TorchConfig, TorchTrainer, get_device

from ogmge import fit
from ogmge.config import TrialConfig
from ogmge.distributed import Ranks
from ogmge.trainer import NonFiniteLoss
from search.backend.cluster import nodes
from search.backend.mailbox import Mailbox
from search.backend.resources import ResourceError, Resources, trials_at_once
from search.experiment.own_code import search_first
from search.experiment.own_errors import describe
from search.run.checkpoints import Storage
from search.run.folder import FolderError
from search.run.open_data import open_data

RETRIES = 3  # of the whole training, after one of its processes died
ORPHANS_S = 120.0
LOOK_S = 0.2


class TrainingFailed(RuntimeError):
    """Training in several processes failed, with the reason of the process that failed."""


@dataclass(frozen=True)
class Job:
    """Description of a training run that is sent to all of its processes.

    Args:
        trial: configuration to train.
        dataset: the experiment's dataset section, with paths that every process can read.
        objective: see `ogmge.fit.train`.
        epochs: number of epochs to train; None trains all epochs of the trial.
        all_data: whether to train on the validation samples too.
        here: folder that the dataset's relative paths start from; None if it has no relative paths.
        folder: absolute path of the folder for checkpoints, used if `storage` is None.
        storage: storage for checkpoints at a URI.
        modules: see `Experiment`.
    """

    trial: TrialConfig
    dataset: dict[str, Any]
    objective: fit.Objective | None
    epochs: int | None
    all_data: bool
    here: Path | None
    folder: Path
    storage: Storage | None
    modules: tuple[str, ...] = ()

    def data(self) -> fit.Data:
        """Open the data set."""
        data: Any = open_data(self.dataset)
        return data.all_for_training() if self.all_data else data  # type: ignore[no-any-return]

    @contextmanager
    def checkpoints(self, *, first: bool) -> Iterator[tuple[Path, Callable[[], None]]]:
        """Yield the folder that a process trains in and a function that saves it; only the first process saves."""
        if not first:
            with tempfile.TemporaryDirectory() as empty:
                yield Path(empty), lambda: None
        elif self.storage is None:
            with _alone_in(self.folder):
                yield self.folder, lambda: None
        else:
            with self.storage.training(0) as kept:
                yield kept


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Lock the folder; wait for processes of a killed command, which may train and write for some seconds more.

    Raises:
        FolderError: if these processes do not end.
    """
    with (folder / ".training").open("w") as lock:
        until = time.monotonic() + ORPHANS_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() > until:
                    raise FolderError(
                        f"another process is still training in {folder}: wait until it ends, or stop it"
                    ) from error
                time.sleep(LOOK_S)
        yield


def _loop(config: dict[str, Any]) -> None:
    """Train in one of the processes."""
    mailbox = config["mailbox"]
    if ray.get(mailbox.failure.remote()) is not None:
        return
    try:
        _train(config["job"], config["resources"], mailbox)
    except (NonFiniteLoss, fit.NonFiniteMetric) as error:  # raised in all processes at once
        ray.get(mailbox.fail.remote(str(error)))
    except Exception as error:  # only in this one; the others wait for it and end with it
        if not _is_peer_loss(error):
            ray.get(mailbox.fail.remote(describe(error)))
        raise


def _train(job: Job, resources: Resources, mailbox: Any) -> None:
    context = get_context()
    ranks = Ranks(context.get_world_rank(), context.get_world_size())
    search_first(job.modules)
    if job.here is not None:
        os.chdir(job.here)
    torch.set_num_threads(max(1, int(resources.cpu)))
    with job.checkpoints(first=ranks.rank == 0) as (folder, keep):

        def report(metrics: dict[str, float]) -> None:
            keep()
            if ranks.rank == 0:
                ray.get(mailbox.put.remote(metrics))

        fit.train(
            job.trial,
            job.data(),
            report,
            folder=folder,
            objective=job.objective,
            device=get_device() if resources.gpu else torch.device("cpu"),
            ranks=ranks,
            epochs=job.epochs,
        )


def _is_peer_loss(error: Exception) -> bool:
    """Return True if the error only says that another process has died or failed."""
    said = str(error)
    return isinstance(error, dist.DistError) or any(name in said for name in ("gloo", "NCCL", "closed by peer"))


def train(job: Job, workers: int, cpu: float, gpu: bool, report: fit.Report) -> None:
    """Train in several processes and report each epoch in this one. Ray must be running.

    If a process dies, the others end too, and all restart from the last epoch, up to `RETRIES` times. A training that
    fails with an error is not repeated.

    Args:
        job: training run.
        workers: number of processes.
        cpu: number of cores per process.
        gpu: whether each process has a GPU.
        report: function called with the metrics of each epoch; after a restart it may get the same epochs again.

    Raises:
        ResourceError: if Ray can never hold this many processes; Ray Train would wait forever.
        TrainingFailed: if the training diverged, or a process failed in the last attempt too.
    """
    each = Resources(cpu, 1.0 if gpu else 0.0)
    if workers > (most := trials_at_once(each, nodes(), "Ray")):
        raise ResourceError(
            f"--workers asks for {workers} processes with {each} each (`search.resources.cpu`), but Ray has room for "
            f"{most}: ask for fewer processes, or for fewer cores per process"
        )
    mailbox: Any = ray.remote(num_cpus=0)(Mailbox).remote()
    thread = _RayTrain(job, mailbox, workers, each)
    thread.start()
    while thread.is_alive():
        thread.join(LOOK_S)
        _report_epochs(mailbox, report)
    _report_epochs(mailbox, report)  # epochs that arrived during the last report
    if reason := ray.get(mailbox.failure.remote()) or thread.failure:
        raise TrainingFailed(reason)


def _report_epochs(mailbox: Any, report: fit.Report) -> None:
    for metrics in ray.get(mailbox.take.remote()):
        report(metrics)


class _RayTrain(threading.Thread):
    """Thread that runs Ray Train, which in the main thread would catch Ctrl-C and end the program with exit code 0.

    Attributes:
        failure: reason of the failure; None if there was none.
    """

    def __init__(self, job: Job, mailbox: Any, workers: int, each: Resources) -> None:
        super().__init__(name="ray-train", daemon=True)
        self.failure: str | None = None
        self._trainer = TorchTrainer(
            _loop,
            train_loop_config={"job": job, "mailbox": mailbox, "resources": each},
            scaling_config=ScalingConfig(
                num_workers=workers, use_gpu=bool(each.gpu), resources_per_worker=each.amounts
            ),
            torch_config=TorchConfig(backend="nccl" if each.gpu else "gloo"),
            run_config=RunConfig(
                name="ray", storage_path=str(job.folder), failure_config=FailureConfig(max_failures=RETRIES)
            ),
        )

    def run(self) -> None:
        try:
            self._trainer.fit()
        except Exception as error:
            self.failure = (str(error).strip() or repr(error)).splitlines()[-1]


def gpu_count() -> int:
    """Return the number of GPUs of the running Ray."""
    return int(ray.cluster_resources().get("GPU", 0))
