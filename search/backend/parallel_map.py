"""Parallel map over all cores of Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError, WorkerCrashedError

In = TypeVar("In")
Out = TypeVar("Out")


def ray_map(function: Callable[[In], Out], tasks: Sequence[In]) -> Iterator[Out]:
    """Apply the function to the tasks, one task per core, and yield the results as they arrive.

    At most twice as many tasks as cores are submitted at a time. A task whose worker dies is repeated. Ray must be
    running. If the caller stops early, submitted tasks run on until Ray ends. They are not cancelled, because Ray 2.60
    aborts the whole program if a task ends at that moment.

    Raises:
        BrokenProcessPool: if a task's workers died each time, or were killed because memory was short.
    """
    ahead = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
    remote = ray.remote(num_cpus=1, max_retries=3)(function)
    rest = iter(tasks)
    running: list[Any] = []
    try:
        while True:
            running += [remote.remote(task) for _, task in zip(range(ahead - len(running)), rest, strict=False)]
            if not running:
                return
            done, running = ray.wait(running, num_returns=1)
            yield ray.get(done[0])
    except (WorkerCrashedError, OutOfMemoryError, NodeDiedError) as error:
        raise BrokenProcessPool(str(error)) from error
