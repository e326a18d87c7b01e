"""Calls of MLflow in the background: made on a thread, and repeated if they fail."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

log = logging.getLogger(__name__)

EVERY_S = 1.0  # interval in which updates are collected
AGAIN_AFTER_S = 5.0  # pause after a failed call


@dataclass(eq=False)
class _Call:
    """A pending call, and its last error."""

    make: Callable[[], None]
    error: Exception | None = None


class Outbox:
    """Queue of calls that are made one after the other on a thread; a failed call is repeated later.

    Each call has a key; a newer call replaces a pending one with the same key. The thread ends with `finish` or with
    the process.

    Args:
        name: name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._calls: dict[Hashable, _Call] = {}
        self._changed = threading.Condition()
        self._deadline: float | None = None  # set by `finish`: time limit of the last attempts
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, key: Hashable, make: Callable[[], None]) -> None:
        """Add a call, or replace a pending one with the same key."""
        with self._changed:
            self._calls[key] = _Call(make)
            self._changed.notify()

    def finish(
        self, deadline: float, calls: Mapping[Hashable, Callable[[], None]] | None = None
    ) -> list[Exception | None]:
        """Try each pending call once more, and wait until this is done or the deadline has passed.

        Args:
            deadline: latest time at which a call may start, as `time.monotonic()`.
            calls: further calls by key, made last and in this order.

        Returns:
            The last error of each call that did not succeed; None if there was no time for the call.
        """
        with self._changed:
            self._calls |= {key: _Call(make) for key, make in (calls or {}).items()}
            self._deadline = deadline
            self._changed.notify()
        self._thread.join(max(0.0, deadline - time.monotonic()))
        with self._changed:
            return [call.error for call in self._calls.values()]

    # ---- runs on the thread ----

    def _work(self) -> None:
        while self._deadline is None:
            for key in self._wait_for_keys():
                self._make(key)
            self._pause(EVERY_S)
        for key in list(self._calls):
            self._make(key)

    def _wait_for_keys(self) -> list[Hashable]:
        """Wait for calls and return their keys; return none once `finish` was called."""
        with self._changed:
            self._changed.wait_for(lambda: self._calls or self._deadline is not None)
            return list(self._calls) if self._deadline is None else []

    def _pause(self, seconds: float) -> None:
        """Wait this long, or until `finish` is called."""
        with self._changed:
            self._changed.wait_for(lambda: self._deadline is not None, seconds)

    def _make(self, key: Hashable) -> None:
        """Make a call unless the deadline has passed; pause after a failure."""
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
