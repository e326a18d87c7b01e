"""Whether code waits for the GPU, found by torch's own check of synchronising calls.

The check does not see all of them: not those of `torch.distributed`, and not copies from memory that is not pinned.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from itertools import islice

import torch

from ogmge.batches import Batch
from ogmge.trainer import Trainer


@contextmanager
def forbid_waits(device: torch.device) -> Iterator[None]:
    """Let every call that synchronises with the GPU raise RuntimeError; do nothing on a CPU."""
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")


def waits(call: Callable[[], object]) -> bool:
    """Return whether a call fails because it synchronises with the GPU where that is forbidden."""
    try:
        call()
    except RuntimeError as error:
        if "synchronizing CUDA operation" not in str(error):
            raise
        return True
    return False


def trainer_waits(trainer: Trainer, batches: Iterator[Batch]) -> bool:
    """Return whether the second or third training step, or loading its batch, synchronises with the GPU.

    The first step of the epoch is a warm-up. At the end of an epoch the metrics are read, which may wait.
    """

    def checked() -> Generator[Batch, None, None]:
        yield next(batches)
        with forbid_waits(trainer.device):
            yield from islice(batches, 2)

    def train() -> None:
        with closing(checked()) as limited:  # on an error the check ends here
            trainer.train_epoch(limited, 0)

    return waits(train)
