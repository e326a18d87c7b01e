"""DDP over NCCL (on a CPU over gloo) in one process, compared with training without it."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch.distributed as dist

from benchmarks.gpu.rows import CLASSES, Load, Row, Values
from benchmarks.gpu.same_bits import trial_of
from benchmarks.step import timed
from ogmge.batches import Batch
from ogmge.distributed import ALONE, Ranks
from ogmge.model import build_model
from ogmge.trainer import Trainer

TOLERANCE = 1e-3  # of the third step's loss: sums in another order
GOAL = f"the loss is that without DDP, to {TOLERANCE:g}"


@dataclass(frozen=True)
class OnlyRank(Ranks):
    """The only process of a group, which trains as if there were others: with DDP and all reductions."""

    @property
    def alone(self) -> bool:
        return False


def measure_distributed(load: Load) -> Iterator[Row]:
    """Yield the milliseconds of a step with and without DDP, and the difference of the losses."""
    batch = load.batch_on_device()
    alone_ms, alone = _train(load, batch, ALONE)
    with _group(load):
        ms, loss = _train(load, batch, OnlyRank())
        backend = dist.get_backend()
    difference = abs(loss / alone - 1)
    values: Values = {"ms": ms, "ms_without": alone_ms, "ratio": ms / alone_ms, "loss_difference": difference}
    is_met = difference <= TOLERANCE
    yield load.judge(f"{backend}, 1 process", values, GOAL, is_met=is_met)
    yield from load.omitted("nccl, 1 process")


def _train(load: Load, batch: Batch, ranks: Ranks) -> tuple[float, float]:
    """Return the median milliseconds of a step after a warm-up, and the loss of the third step."""
    trial = trial_of(load, deterministic=False)
    trainer = Trainer(build_model(trial, load.shapes, CLASSES), trial, load.device, ranks)
    losses: list[float] = []

    def step() -> None:
        losses.append(trainer.train_epoch([batch], 0)["train/loss"])

    seconds = [timed(step, load.device) for _ in range(2 + load.steps)]
    return statistics.median(seconds[2:]) * 1e3, losses[2]


@contextmanager
def _group(load: Load) -> Iterator[None]:
    """Make a process group of this process, on the loopback interface."""
    backend = "nccl" if load.on_gpu else "gloo"
    os.environ.setdefault(f"{backend.upper()}_SOCKET_IFNAME", "lo")
    with tempfile.TemporaryDirectory() as folder:
        store = dist.FileStore(os.path.join(folder, "store"), 1)
        dist.init_process_group(backend, store=store, rank=0, world_size=1, timeout=timedelta(seconds=30))
        try:
            yield
        finally:
            dist.destroy_process_group()
