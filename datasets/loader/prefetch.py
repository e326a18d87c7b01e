"""Prefetching: threads run a function on tasks ahead of the consumer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def prefetch(
    function: Callable[[Task], Result], tasks: Iterable[Task], *, threads: int, ahead: int
) -> Generator[Result, None, None]:
    """Yield results in the order of the tasks; at most `ahead` of them are computed in advance.

    A task's exception is raised when its turn comes. The threads end with the generator: at its end, on an error, when
    it is closed, or when it is garbage-collected. Tasks that have not started are then dropped.
    """
    rest = iter(tasks)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="prefetch")
    try:
        waiting: deque[Future[Result]] = deque(pool.submit(function, task) for task in islice(rest, ahead))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(function, task) for task in islice(rest, 1))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
