"""A function over many tasks, by threads that work ahead of what takes the results."""

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
    """The results in the tasks' order; at most `ahead` of them are made or waiting before they are asked for.

    What a task raises is raised in its turn. The threads end with the iterator: at its end, at an error, when it is
    closed, or when nothing holds it any more; tasks that have not begun are then dropped.
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
