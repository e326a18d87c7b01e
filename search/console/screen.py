"""Console of all commands."""

from __future__ import annotations

import os
import sys

from rich.console import Console

BROKEN_PIPE = 141  # exit code of a program that SIGPIPE ends


class Screen(Console):
    """Console on stdout. If its reader has gone, as in `… | head -1`, the command ends without a message."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes stdout at its end
        raise SystemExit(BROKEN_PIPE)
