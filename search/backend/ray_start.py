"""The start of a Ray on this machine, with a second attempt: under load its processes can miss Ray's own deadline."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import search.backend.environment  # isort: skip # noqa: F401, it must set the environment before Ray is imported

import psutil
import ray

from search.backend.interrupt import keep_handlers
from search.backend.private_ray import private_folder
from search.experiment.mistakes import UserError

ATTEMPTS = 2
SHARED_MEMORY = "/dev/shm"
OBJECT_STORE_BYTES = 256 * 2**20  # we store nothing in it
ENDS_S = 5.0  # time for a killed process to end


_is_starting = False


def _leave_group() -> None:
    if _is_starting:
        os.setpgid(0, 0)


os.register_at_fork(after_in_child=_leave_group)


@contextmanager
def _own_groups() -> Iterator[None]:
    """Put the processes that Ray starts in the block into process groups of their own.

    Otherwise they get the signals that `timeout`, a shell or a lost connection sends to this process's group, and
    trials cannot end their epoch.
    """
    global _is_starting
    _is_starting = True
    try:
        yield
    finally:
        _is_starting = False


class RayStartError(UserError):
    """Ray that does not start, for a reason that may pass."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: a script can repeat the command


def start_ray(cpus: int, gpus: int | None) -> None:
    """Start a silent Ray without a dashboard.

    Args:
        cpus, gpus: numbers that Ray schedules; None means all GPUs that this process may use.

    Raises:
        RayStartError: if it does not start.
    """
    options = {
        "address": "local",  # otherwise Ray joins an instance that is already running
        "num_cpus": cpus,
        "num_gpus": gpus,
        "include_dashboard": False,
        "log_to_driver": False,
        "logging_level": logging.CRITICAL,
        "object_store_memory": OBJECT_STORE_BYTES,
        "_plasma_directory": _object_store_folder(),
        "_node_ip_address": "127.0.0.1",
        "_temp_dir": str(private_folder() / "ray"),  # Ray opens this one to all users, but not the one around it
    }
    start_with_retry(partial(_start, options))


def _object_store_folder() -> str | None:
    """Return a folder for Ray's object store if /dev/shm is missing or read-only; None means Ray's choice.

    If /dev/shm is too small, Ray itself uses its temporary folder.
    """
    has_shared_memory = not sys.platform.startswith("linux") or os.access(SHARED_MEMORY, os.W_OK | os.X_OK)
    return None if has_shared_memory else str(private_folder())


def start_with_retry(start: Callable[[], None]) -> None:
    """Call a function that starts Ray, again if it fails.

    Raises:
        RayStartError: if the last attempt fails too.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            start()
            return
        except Exception as error:
            if attempt == ATTEMPTS:
                reason = next(iter(str(error).splitlines()), "").rstrip(".") or repr(error)
                raise RayStartError(
                    f"Ray did not start on this machine, in {ATTEMPTS} attempts ({reason}): the machine may be "
                    "overloaded, or lack memory or disk space. Repeat the command"
                ) from error


def _start(options: dict[str, Any]) -> None:
    """Start Ray; if that fails, end the processes that it has started."""
    earlier = set(psutil.Process().children())
    try:
        with keep_handlers(), _own_groups():
            ray.init(**options)  # workers inherit the environment; a runtime_env would cost 1 s per worker
    except BaseException:
        ray.shutdown()
        started = set(psutil.Process().children()) - earlier
        for process in started:
            process.kill()
        psutil.wait_procs(started, timeout=ENDS_S)
        raise
