"""A file's lock: one process at a time, on one machine; the kernel gives it back however a process ends."""

from __future__ import annotations

import fcntl
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datasets.store.shards import TEMPORARY

LOOK_S = 0.1


@contextmanager
def lock_file(path: Path, *, wait_s: float = math.inf) -> Iterator[None]:
    """A file, made where it is missing, for this process alone until the end of the block.

    Args:
        path: of the file; its folder must be there.
        wait_s: how long to wait for another process that has it.

    Raises:
        BlockingIOError: another process has it for longer.
        OSError: the file cannot be written.
    """
    until = time.monotonic() + wait_s
    with path.open("ab") as lock:
        while not _try_lock(lock.fileno()):
            if time.monotonic() >= until:
                raise BlockingIOError(f"another process has locked {path}")
            time.sleep(LOOK_S)
        yield


@contextmanager
def lock_folder(folder: Path, *, wait_s: float = math.inf) -> Iterator[None]:
    """A store's folder, made where it is missing, for this process alone, and without the temporary files of one that
    was stopped. It raises what `lock_file` does."""
    folder.mkdir(parents=True, exist_ok=True)
    with lock_file(folder / "lock", wait_s=wait_s):
        for stale in folder.glob(f".*{TEMPORARY}"):
            stale.unlink(missing_ok=True)
        yield


def _try_lock(handle: int) -> bool:
    """Whether the lock could be taken."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
