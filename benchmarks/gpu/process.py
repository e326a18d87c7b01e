"""One measurement in a process of its own, so that its failure, its memory and its settings end with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import torch

from benchmarks.gpu.rows import Load, Row, Skipped

Measure = Callable[[Load], Iterator[Row]]
NO_ROW = "(whole measurement)"  # case of a row that stands for all that could not be measured


def rows_of(measure: Measure, load: Load, limit_s: float) -> Iterator[Row]:
    """Yield the rows of a measurement as they come; one that fails or exceeds its time ends with a row that says so.

    Args:
        measure: function that yields the rows; it must be importable.
        load: its argument.
        limit_s: time after which the process and all that it started are killed.
    """
    context = multiprocessing.get_context("spawn" if sys.platform == "darwin" else "forkserver")
    if sys.platform != "darwin":
        context.set_forkserver_preload(["torch", "benchmarks.gpu.__main__"])  # imported once; torch starts no CUDA
    ours, theirs = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as folder:
        process = context.Process(target=_serve, args=(theirs, measure, load, folder))
        process.start()
        theirs.close()
        try:
            yield from _received(process, ours, limit_s)
        finally:
            _end(process)


def _received(process: BaseProcess, ours: Connection, limit_s: float) -> Iterator[Row]:
    until = time.monotonic() + limit_s
    while ours.poll(max(0.0, until - time.monotonic())):
        try:
            row = ours.recv()
        except EOFError:
            process.join()
            yield Row(NO_ROW, status="failed", reason=f"its process ended with exit code {process.exitcode}")
            return
        if row is None:
            return
        yield row
    yield Row(NO_ROW, status="failed", reason=f"not done after {limit_s:.3g} s")


def _serve(told: Connection, measure: Measure, load: Load, folder: str) -> None:
    """Send the rows, then None."""
    os.setpgid(0, 0)  # with all that it starts, it can be killed at once
    tempfile.tempdir = folder  # the parent deletes it, also if this process is killed
    torch.set_num_threads(1)
    try:
        for row in measure(load):
            told.send(row)
    except Skipped as error:
        told.send(Row(NO_ROW, status="skipped", reason=str(error)))
    except Exception as error:
        told.send(Row(NO_ROW, status="failed", reason=f"{type(error).__name__}: {error}".splitlines()[0]))
    told.send(None)


def _end(process: BaseProcess) -> None:
    """Kill a process that has sent its rows or exceeded its time, and all that it started."""
    with suppress(ProcessLookupError):  # it has ended, or has not come to make its group
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.kill()
    process.join()
