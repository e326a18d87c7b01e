"""Watch over Ray: without its processes a search would wait forever, or end without a word."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial

import psutil

from search.backend.interrupt import INTERRUPTED, RESUME, end_now, request

EVERY_S = 3.0
UNREACHABLE = 5  # checks in a row
OURS = ("raylet", "gcs_server")  # processes of a Ray that this process has started
FAILED = 1  # exit code
SIGNAL_S = 2.0  # for a signal to this process that came together with those to Ray's
FINISH_S = 5.0  # for this process to end by itself after a signal


@contextmanager
def watch_local_ray() -> Iterator[None]:
    """End this process with a message if a process of its own Ray dies."""
    mine = {child.name(): child for child in psutil.Process().children() if child.name() in OURS}
    with _watch(partial(_dead, mine)):
        yield


@contextmanager
def watch_cluster(address: str) -> Iterator[None]:
    """End this process with a message if the head of a cluster can no longer be reached.

    Args:
        address: host:port of the head.
    """
    with _watch(_Reachable(address)):
        yield


def _dead(processes: Mapping[str, psutil.Process]) -> str | None:
    """Return which of these processes has ended, as a clause; None if all are alive."""
    return next((f"its process `{name}` has ended" for name, one in processes.items() if _has_ended(one)), None)


def _has_ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


class _Reachable:
    """Check whether a port answers; reports a failure only after several attempts in a row."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._address, self._place, self._failures = address, (host, int(port)), 0

    def __call__(self) -> str | None:
        try:
            socket.create_connection(self._place, timeout=EVERY_S).close()
            self._failures = 0
        except OSError:
            self._failures += 1
        return f"the head at {self._address} no longer answers" if self._failures >= UNREACHABLE else None


@contextmanager
def _watch(check: Callable[[], str | None]) -> Iterator[None]:
    """Run a check every few seconds in a thread, and end this process if it returns a reason."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(EVERY_S):
            if (reason := check()) and not _is_ending(done):
                _end(reason)

    thread = threading.Thread(target=watch, name="ray health", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _is_ending(done: threading.Event) -> bool:
    """Return whether this process ends by itself after a signal, which may have ended Ray's processes too."""
    done.wait(SIGNAL_S)
    return done.wait(FINISH_S) if request.is_made else done.is_set()


def _end(reason: str) -> None:
    """End this process and its children at once: calls to a Ray that has died never return."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
    if request.is_made:
        end_now(f"\ninterrupted, and Ray was ended too; completed work is saved. {RESUME}", INTERRUPTED)
    end_now(
        f"\nRay has stopped working: {reason}. The cause may be a lack of memory, or another process that ended it. "
        f"Completed work is saved. {RESUME}",
        FAILED,
    )
