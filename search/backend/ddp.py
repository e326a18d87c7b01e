"""One training run over several processes, by Ray Train: DDP, on this machine or a cluster's."""

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

import search.backend.cluster  # isort: skip # noqa: F401, it sets what Ray reads when it is imported

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
from search.run.checkpoints import Storage
from search.run.folder import FolderError
from search.run.open_data import open_data

RETRIES = 3  # of all processes, where one of them died
ORPHANS_S = 120.0
LOOK_S = 0.2


class TrainingFailed(RuntimeError):
    """The processes gave up: the reason of the one that failed."""


@dataclass(frozen=True)
class Job:
    """A training run, as all of its processes know it.

    Args:
        trial: the run.
        dataset: the experiment's, with paths that every process can read.
        objective: see `ogmge.fit.train`.
        epochs: train these only; None trains all of the trial's.
        all_data: train on the validation samples, too.
        here: the folder from which the data set's relative paths go; None where it has none.
        folder: absolute, for the checkpoints, where no `storage` is asked for.
        storage: for the checkpoints, at a URI.
    """

    trial: TrialConfig
    dataset: dict[str, Any]
    objective: fit.Objective | None
    epochs: int | None
    all_data: bool
    here: Path | None
    folder: Path
    storage: Storage | None

    def data(self) -> fit.Data:
        """What is trained on."""
        data: Any = open_data(self.dataset)
        return data.all_for_training() if self.all_data else data  # type: ignore[no-any-return]

    @contextmanager
    def checkpoints(self, *, first: bool) -> Iterator[tuple[Path, Callable[[], None]]]:
        """The folder that a process trains in, and what keeps it; the first process alone has one that is kept."""
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
    """Waits for what a killed command has left behind: its processes may train on for some seconds, and write.

    Raises:
        FolderError: they do not end.
    """
    with (folder / ".training").open("w") as lock:
        until = time.monotonic() + ORPHANS_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() > until:
                    raise FolderError(f"another process still trains in {folder}: wait for it, or stop it") from error
                time.sleep(LOOK_S)
        yield


def _loop(config: dict[str, Any]) -> None:
    """In each process."""
    mailbox = config["mailbox"]
    if ray.get(mailbox.failure.remote()) is not None:
        return
    try:
        _train(config["job"], config["resources"], mailbox)
    except (NonFiniteLoss, fit.NonFiniteMetric) as error:  # in all processes at once
        ray.get(mailbox.fail.remote(str(error)))
    except Exception as error:  # in this one; the others wait for it, and end when it does
        if not _is_peer_loss(error):
            ray.get(mailbox.fail.remote(f"{type(error).__name__}: {error}"))
        raise


def _train(job: Job, resources: Resources, mailbox: Any) -> None:
    context = get_context()
    ranks = Ranks(context.get_world_rank(), context.get_world_size())
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
    """Whether it is another process that is gone, or has failed."""
    said = str(error)
    return isinstance(error, dist.DistError) or any(name in said for name in ("gloo", "NCCL", "closed by peer"))


def train(job: Job, workers: int, cpu: float, gpu: bool, report: fit.Report) -> None:
    """Trains in so many processes, and reports each epoch here. Ray must be running.

    A process that dies takes the others with it; all begin again from the last epoch, `RETRIES` times. A training that
    fails is not tried again.

    Args:
        job: the run.
        workers: processes.
        cpu: cores of each.
        gpu: whether each has a GPU.
        report: called with each epoch's metrics; again with those before, where processes began again.

    Raises:
        ResourceError: there is no room for so many, ever; Ray Train would wait for it.
        TrainingFailed: it diverged, or a process failed to the last.
    """
    each = Resources(cpu, 1.0 if gpu else 0.0)
    if workers > (most := trials_at_once(each, nodes(), "Ray")):
        raise ResourceError(
            f"--workers asks for {workers} processes of {each} each (`search.resources.cpu`), but Ray has room for "
            f"{most}: ask for fewer, or for less"
        )
    mailbox: Any = ray.remote(num_cpus=0)(Mailbox).remote()
    thread = _RayTrain(job, mailbox, workers, each)
    thread.start()
    while thread.is_alive():
        thread.join(LOOK_S)
        _report_epochs(mailbox, report)
    _report_epochs(mailbox, report)  # those that came while a report took long
    if reason := ray.get(mailbox.failure.remote()) or thread.failure:
        raise TrainingFailed(reason)


def _report_epochs(mailbox: Any, report: fit.Report) -> None:
    for metrics in ray.get(mailbox.take.remote()):
        report(metrics)


class _RayTrain(threading.Thread):
    """Ray Train in a thread: in the main one it would take Ctrl-C for itself, and end the program with 0.

    Attributes:
        failure: why it gave up; None if it did not.
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
    """GPUs of the Ray that runs."""
    return int(ray.cluster_resources().get("GPU", 0))
