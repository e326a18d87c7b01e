"""Calls of MLflow that nothing waits for: made on a thread, and made again where they failed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

log = logging.getLogger(__name__)

EVERY_S = 1.0  # what comes in this time goes in one call
AGAIN_AFTER_S = 5.0  # a call failed


@dataclass(eq=False)
class _Call:
    """A call that is to be made, and how it failed last."""

    make: Callable[[], None]
    error: Exception | None = None


class Outbox:
    """Makes calls one after the other on a thread of its own; what fails is made again later.

    Each call has a key, and only the latest of a key is made. The thread ends with `finish`, or with the process.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._calls: dict[Hashable, _Call] = {}
        self._changed = threading.Condition()
        self._deadline: float | None = None  # of the last attempts, once these have begun
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, key: Hashable, make: Callable[[], None]) -> None:
        """Add a call, in place of an earlier one with this key."""
        with self._changed:
            self._calls[key] = _Call(make)
            self._changed.notify()

    def finish(
        self, deadline: float, calls: Mapping[Hashable, Callable[[], None]] | None = None
    ) -> list[Exception | None]:
        """Make each call that is left once more, and wait for that until the deadline at most.

        Args:
            deadline: by `time.monotonic()`; no call is begun later.
            calls: by key; made last, in this order.

        Returns:
            For each call that was not made why it failed last; None where there was no time for it.
        """
        with self._changed:
            self._calls |= {key: _Call(make) for key, make in (calls or {}).items()}
            self._deadline = deadline
            self._changed.notify()
        self._thread.join(max(0.0, deadline - time.monotonic()))
        with self._changed:
            return [call.error for call in self._calls.values()]

    # ---- on the thread ----

    def _work(self) -> None:
        while self._deadline is None:
            for key in self._wait_for_keys():
                self._make(key)
            self._pause(EVERY_S)
        for key in list(self._calls):
            self._make(key)

    def _wait_for_keys(self) -> list[Hashable]:
        """Wait for calls; return their keys, or none once it is time to finish."""
        with self._changed:
            self._changed.wait_for(lambda: self._calls or self._deadline is not None)
            return list(self._calls) if self._deadline is None else []

    def _pause(self, seconds: float) -> None:
        """Wait for so long, or until it is time to finish."""
        with self._changed:
            self._changed.wait_for(lambda: self._deadline is not None, seconds)

    def _make(self, key: Hashable) -> None:
        """Make a call, unless it is too late; where it fails, MLflow is left alone for a while."""
        with self._changed:
            call = self._calls[key]
        if self._deadline is not None and time.monotonic() > self._deadline:
            return
        try:
            call.make()
        except Exception as error:
            log.debug("MLflow", exc_info=True)
            call.error = error
            self._pause(AGAIN_AFTER_S)
            return
        with self._changed:
            if self._calls[key] is call:
                del self._calls[key]
