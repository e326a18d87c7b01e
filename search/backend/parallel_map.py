"""A function on many tasks, by all cores that Ray has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError, WorkerCrashedError

In = TypeVar("In")
Out = TypeVar("Out")


def ray_map(function: Callable[[In], Out], tasks: Sequence[In]) -> Iterator[Out]:
    """The function's results as they come, one task a core; few more tasks than cores are on their way.

    A task whose worker died is tried again. Ray must be running. What runs when this ends early goes on until Ray ends:
    it is never cancelled, as Ray 2.60 aborts the whole program where a task ends at that moment.

    Raises:
        BrokenProcessPool: its workers died each time, or were killed for want of memory.
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
