"""Ctrl-C, SIGTERM and SIGHUP, from a program's first line to its last.

The first signal stops cleanly: before a command it ends the program, in a command it raises `KeyboardInterrupt`, and
while trials run it lets them end their epoch. A second Ctrl-C stops at once; other repeated signals are ignored. After
the command all are ignored, because the result is complete.
"""

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
NOTHING_STARTED = "\ninterrupted; nothing was started\n"
before_end: list[Callable[[], None]] = []  # called by `end_now`, which skips what `atexit` has registered


def stop_signals() -> list[signal.Signals]:
    """Return the signals that stop a command as Ctrl-C does: SIGTERM, and SIGHUP of a lost connection.

    SIGHUP stays ignored under `nohup`.
    """
    hangup = [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []
    return [signal.SIGTERM, *(number for number in hangup if signal.getsignal(number) != signal.SIG_IGN)]


def write_stopping() -> None:
    """Write that trials finish their current epoch; safe in a signal handler."""
    os.write(2, STOPPING.encode())


def end_now(text: str, code: int = INTERRUPTED) -> None:
    """Write a message and end this process at once; safe in a signal handler.

    Ray's processes end with their driver, and the journal is always complete.
    """
    os.write(2, f"{SHOW_CURSOR if os.isatty(2) else ''}{text}".encode())
    for clean_up in before_end:
        clean_up()
    os._exit(code)


def _end_before_command(number: int, frame: FrameType | None) -> None:
    end_now(NOTHING_STARTED)


def handle_imports() -> None:
    """End the program with a message if a signal arrives before `interruptible` is entered."""
    for number in _all_signals():
        signal.signal(number, _end_before_command)


def _all_signals() -> list[signal.Signals]:
    """Return the stop signals and that of Ctrl-C, without what a shell ignores for a program in the background."""
    ctrl_c = [signal.SIGINT] if signal.getsignal(signal.SIGINT) != signal.SIG_IGN else []
    return [*ctrl_c, *stop_signals()]


class Request:
    """Whether a signal has asked the current command to stop.

    Attributes:
        is_made: whether one has arrived.
    """

    is_made = False


request = Request()


class _Command:
    """Handler of signals in a command, except while Tune runs."""

    def __init__(self) -> None:
        self.is_over = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.is_over:
            return
        if not request.is_made:
            request.is_made = True
            raise KeyboardInterrupt
        if number == signal.SIGINT:
            end_now(NOW)


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise `KeyboardInterrupt` at the first signal, and ignore signals after the block until the program ends.

    Earlier handlers are restored, except those of `handle_imports`.
    """
    before = {number: signal.getsignal(number) for number in _all_signals()}
    handler, request.is_made = _Command(), False
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        handler.is_over = True
        for number, earlier in before.items():
            if earlier is not _end_before_command:
                signal.signal(number, earlier)


@contextmanager
def keep_handlers() -> Iterator[None]:
    """Restore the handlers after the block, in which Ray replaces that of SIGTERM by one that raises `SystemExit`.

    Raises:
        KeyboardInterrupt: if a signal arrives while Ray's handler is installed.
    """
    before = {number: signal.getsignal(number) for number in _all_signals()}
    try:
        yield
    except SystemExit as error:
        request.is_made = True
        raise KeyboardInterrupt from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Interrupt:
    """Handler of all these signals while Tune runs.

    Args:
        announce: tells the user that trials finish their current epoch. It is called in the signal handler.

    Attributes:
        asked: whether a signal has arrived.
    """

    def __init__(self, announce: Callable[[], None] = write_stopping) -> None:
        self.asked, self._announce = False, announce

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            end_now(NOW)
        self.asked = request.is_made = True
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
