"""Ctrl-C and SIGTERM while trials run: once for a clean stop, Ctrl-C a second time for one at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130  # exit code
STOPPING = "\nstopping: each trial ends with the epoch it is at. Ctrl-C again stops at once, and costs these epochs\n"
NOW = "\nstopped at once; what was done is kept. --resume goes on with a search, the same command with a confirmation\n"


class Interrupt:
    """The handler of both signals, for as long as Tune runs.

    Attributes:
        asked: whether one came.
    """

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            os.write(2, NOW.encode())
            os._exit(INTERRUPTED)  # Ray's processes end with their driver, and the journal is whole at any time
        self.asked = True
        signal.raise_signal(signal.SIGUSR1)  # Tune ends cleanly, and gives Ctrl-C back to its handler before
        self.listen()
        os.write(2, STOPPING.encode())  # now: who answers it with Ctrl-C is heard

    def listen(self) -> None:
        """Takes the signals over; from Tune, whose own handler of Ctrl-C stands once it has begun."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self)

    @contextmanager
    def handle_signals(self) -> Iterator[None]:
        """Puts back what was there before; but a second Ctrl-C stops at once also while the first is dealt with."""
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, self if self.asked and number == signal.SIGINT else handler)
