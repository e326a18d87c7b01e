"""Collector of warnings that arrive while something else is on the screen."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from search.experiment.program import PACKAGES


class Notices(logging.Handler):
    """Handler that keeps our own warnings and libraries' errors; libraries' warnings are dropped."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.partition(".")[0] in PACKAGES or record.levelno >= logging.ERROR:
            error = record.exc_info[1] if record.exc_info else None
            cause = "" if error is None else f" ({type(error).__name__}: {error})"
            self._texts.append(f"{record.getMessage()}{cause}")

    def take(self) -> list[str]:
        """Return the texts since the last call, in order."""
        texts, self._texts = self._texts, []
        return texts


@contextmanager
def collect_notices() -> Iterator[Notices]:
    """Collect log messages that would otherwise be written into what is on the screen."""
    root, notices = logging.getLogger(), Notices()
    plain = [handler for handler in root.handlers if type(handler) is logging.StreamHandler]
    for handler in plain:
        root.removeHandler(handler)
    root.addHandler(notices)
    logging.captureWarnings(True)
    try:
        yield notices
    finally:
        logging.captureWarnings(False)
        root.removeHandler(notices)
        for handler in plain:
            root.addHandler(handler)
