"""Ctrl-C, SIGTERM and SIGHUP while trials run: the first signal stops cleanly, a second Ctrl-C stops at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130  # exit code
SHOW_CURSOR = "\x1b[?25h"  # a live table hides it
STOPPING = "\nstopping: each trial finishes its current epoch. Ctrl-C again stops at once and discards these epochs\n"
RESUME = "Resume a search with --resume, a confirmation with the same command\n"
NOW = f"\nstopped at once; completed work is saved. {RESUME}"


def stop_signals() -> list[signal.Signals]:
    """Return the signals that stop a command as Ctrl-C does: SIGTERM, and SIGHUP of a lost connection.

    SIGHUP stays ignored under `nohup`.
    """
    hangup = [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []
    return [signal.SIGTERM, *(number for number in hangup if signal.getsignal(number) != signal.SIG_IGN)]


def write_stopping() -> None:
    """Write that trials finish their current epoch; safe in a signal handler."""
    os.write(2, STOPPING.encode())


class Interrupt:
    """Handler of both signals while Tune runs.

    Args:
        announce: tells the user that trials finish their current epoch. It is called in the signal handler.

    Attributes:
        asked: whether a signal has arrived.
    """

    def __init__(self, announce: Callable[[], None] = write_stopping) -> None:
        self.asked, self._announce = False, announce

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            os.write(2, f"{SHOW_CURSOR if os.isatty(2) else ''}{NOW}".encode())
            os._exit(INTERRUPTED)  # Ray's processes end with their driver, and the journal is always complete
        self.asked = True
        signal.raise_signal(signal.SIGUSR1)  # Tune ends cleanly, and restores the previous handler of Ctrl-C
        self.listen()
        self._announce()  # only now: this handler is active again, for a second Ctrl-C

    def listen(self) -> None:
        """Install this handler; needed again after Tune has started, which installs its own for Ctrl-C."""
        for number in (signal.SIGINT, *stop_signals()):
            signal.signal(number, self)

    @contextmanager
    def handle_signals(self) -> Iterator[None]:
        """Restore the previous handlers at the end; after a signal keep Ctrl-C's, as a second one must stop at once."""
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, *stop_signals())}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, self if self.asked and number == signal.SIGINT else handler)
