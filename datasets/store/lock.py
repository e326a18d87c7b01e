"""Lock on a file for one process of a machine at a time; the kernel releases it however the process ends."""

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
    """Lock a file for this process until the end of the block; create it if it is missing.

    Args:
        path: path of the file, in an existing folder.
        wait_s: maximum time to wait for another process, in seconds.

    Raises:
        BlockingIOError: if another process still holds the lock after that time.
        OSError: if the file cannot be written.
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
    """Lock a store's folder for this process; create it if it is missing.

    Temporary files of an interrupted process are deleted. The errors are those of `lock_file`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with lock_file(folder / "lock", wait_s=wait_s):
        for stale in folder.glob(f".*{TEMPORARY}"):
            stale.unlink(missing_ok=True)
        yield


def _try_lock(handle: int) -> bool:
    """Try to take the lock; return whether that succeeded."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
