"""Two processes that train together, started once for all of their tests because each imports torch."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch.distributed as dist


class TwoProcesses:
    """Ranks 0 and 1 of one process group. A call runs a function of a rank and a folder in both of them."""

    def __init__(self, folder: Path) -> None:
        spawn = get_context("spawn")
        self._pools = [ProcessPoolExecutor(1, spawn, join, (folder / "meet", rank)) for rank in (0, 1)]

    def __call__(self, function: Callable[[int, Path], None], folder: Path) -> None:
        for future in [pool.submit(function, rank, folder) for rank, pool in enumerate(self._pools)]:
            future.result()

    def end(self) -> None:
        """End the processes without torch's shutdown, which sometimes aborts."""
        for future in [pool.submit(os._exit, 0) for pool in self._pools]:
            future.exception()


def join(meet: Path, rank: int) -> None:
    dist.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=2)
