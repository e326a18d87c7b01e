"""The start of a Ray on this machine, with a second attempt: under load its processes can miss Ray's own deadline."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import search.backend.environment  # isort: skip # noqa: F401, it must set the environment before Ray is imported

import psutil
import ray

from search.backend.interrupt import keep_handlers
from search.backend.private_ray import private_folder
from search.experiment.mistakes import UserError

ATTEMPTS = 2
OBJECT_STORE_BYTES = 256 * 2**20  # we store nothing in it
ENDS_S = 5.0  # time for a killed process to end


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
        "_node_ip_address": "127.0.0.1",
        "_temp_dir": str(private_folder() / "ray"),  # Ray opens this one to all users, but not the one around it
    }
    _attempt(lambda: _start(options), ATTEMPTS)


def _attempt(start: Callable[[], None], attempts: int) -> None:
    try:
        start()
    except Exception as error:
        if attempts > 1:
            _attempt(start, attempts - 1)
            return
        reason = next(iter(str(error).splitlines()), "") or repr(error)
        raise RayStartError(
            f"Ray did not start on this machine, in {ATTEMPTS} attempts ({reason}): the machine may be overloaded, or "
            "lack memory or disk space. Repeat the command"
        ) from error


def _start(options: dict[str, Any]) -> None:
    """Start Ray; if that fails, end the processes that it has started."""
    earlier = set(psutil.Process().children())
    try:
        with keep_handlers():
            ray.init(**options)  # workers inherit the environment; a runtime_env would cost 1 s per worker
    except BaseException:
        ray.shutdown()
        started = set(psutil.Process().children()) - earlier
        for process in started:
            process.kill()
        psutil.wait_procs(started, timeout=ENDS_S)
        raise
