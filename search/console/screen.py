"""Console of all commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from search.experiment.escaping import escape_controls

BROKEN_PIPE = 141  # exit code of a program that SIGPIPE ends


class Screen(Console):
    """Console on stdout. Control characters in texts are shown as escapes; only the console itself moves the cursor.

    If its reader has gone, as in `… | head -1`, the command ends without a message.
    """

    def render_str(self, text: str, **how: Any) -> Text:
        return super().render_str(escape_controls(text), **how)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else escape_controls(text), style, control)

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes stdout at its end
        raise SystemExit(BROKEN_PIPE)
