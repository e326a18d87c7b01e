"""Ctrl-C while Tune runs, which installs its own handlers."""

from __future__ import annotations

import signal

from search.backend.interrupt import STOPPING, Interrupt


def test_a_second_ctrl_c_is_heard_from_the_moment_of_the_first(capfd):
    """Tune restores the old handler of Ctrl-C when it is told to stop, and the next step of its loop may take long."""
    interrupt = Interrupt()
    told = []

    def tune_stops(number, frame):
        told.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGUSR1, tune_stops)
    try:
        with interrupt.handle_signals():
            interrupt.listen()
            signal.raise_signal(signal.SIGINT)
            assert told == [signal.SIGUSR1]
            assert signal.getsignal(signal.SIGINT) is interrupt
    finally:
        signal.signal(signal.SIGUSR1, before)
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert capfd.readouterr().err == STOPPING
