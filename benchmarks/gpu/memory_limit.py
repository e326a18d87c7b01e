"""Going on after a lack of memory: a trial that exceeds its share fails, and resumes from its last epoch with more."""

from __future__ import annotations

import resource
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.gpu.rows import Load, Row, Values
from benchmarks.gpu.same_bits import differing, state_of, train, trial_of
from search.backend.device import device_for, is_out_of_memory

SHARE_BYTES = 3 * 2**28  # for the model's weights, but not for a batch's activations: 805 MB
CPU_BATCH = 256  # whose activations need memory that the process does not have yet
GOAL = "a lack of memory is recognised, the process goes on, and the resumed trial ends with the same bits"


def measure_memory_limit(load: Load) -> Iterator[Row]:
    """Yield whether a trial runs out of memory below its need, and resumes to the same bits in the same process."""
    load = load if load.on_gpu else replace(load, batch=CPU_BATCH)
    with tempfile.TemporaryDirectory() as name:
        folder, trial = Path(name), trial_of(load)
        train(load, trial, folder / "whole")
        train(load, trial, folder / "limited", epochs=1)
        with _limited_memory(load):
            error = _error_of(lambda: train(load, trial, folder / "limited"))
        values: Values = {
            "error": type(error).__name__,
            "is_recognised": error is not None and is_out_of_memory(error),
        }
        train(load, trial, folder / "limited")
        values["differing"] = differing(state_of(folder / "whole"), state_of(folder / "limited"))
    is_met = bool(values["is_recognised"]) and not values["differing"]
    yield load.judge("resumed after a lack of memory", values, GOAL, is_met=is_met)
    yield from load.omitted("a share of a GPU's memory")


def _error_of(call: Callable[[], object]) -> Exception | None:
    """Return the error of a call without its traceback, which would hold the trial's tensors."""
    try:
        call()
    except Exception as error:
        return error.with_traceback(None)
    return None


@contextmanager
def _limited_memory(load: Load) -> Iterator[None]:
    """Limit this process's memory: on a GPU to SHARE_BYTES, on a CPU to what it has."""
    if load.on_gpu:
        device_for(1, SHARE_BYTES / torch.cuda.mem_get_info()[1])
        yield
        device_for(1, 1)
        return
    whole = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize(), whole[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, whole)
