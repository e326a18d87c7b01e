"""Programs in a terminal of 80 columns, and what its screen shows."""

from __future__ import annotations

import fcntl
import html
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Sequence
from pathlib import Path

COLUMNS, ROWS = 80, 50
CONTROL = re.compile(r"(\r\n|\n|\r|\x1b\[2K|\x1b\[1A|\x1b\[\?25[lh])")  # all that rich's live tables use


def run_in_terminal(command: Sequence[str], folder: Path) -> str:
    """Run a command in a folder; return everything it writes to its terminal, control sequences included.

    Raises:
        subprocess.CalledProcessError: if the command fails.
    """
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    process = subprocess.Popen(command, cwd=folder, stdin=its, stdout=its, stderr=its, env=environment)
    os.close(its)
    written = bytearray()
    try:
        while piece := os.read(ours, 65536):
            written += piece
    except OSError:  # Linux reports the end of a terminal's output so
        pass
    finally:
        os.close(ours)
    if process.wait():
        raise subprocess.CalledProcessError(process.returncode, command, bytes(written))
    return written.decode()


def screen(written: str) -> str:
    """Return what the terminal shows once all this was written to it: text with its colours.

    >>> screen("1 of 2\\n\\x1b[1A\\x1b[2K2 of 2\\n")
    '2 of 2\\n'
    """
    lines, row = [""], 0
    for piece in CONTROL.split(written):
        if piece in ("\n", "\r\n"):
            row += 1
            lines += [""] * (row == len(lines))
        elif piece == "\x1b[1A":
            row -= 1
        elif piece == "\x1b[2K":
            lines[row] = ""
        elif not CONTROL.fullmatch(piece):
            lines[row] += piece
    return "\n".join(lines)


def frame(written: str, shows: str) -> str:
    """Return the screen at the last moment at which a live table shows some text."""
    end = written.index("\x1b[1A", written.rindex(shows))
    return screen(written[:end].rpartition("\r\x1b[2K")[0])


def drawn_text(svg: str) -> str:
    """Return the text of a terminal that rich drew as an SVG."""
    lines: dict[int, str] = {}
    for x, y, text in re.findall(r'<text class="[\w-]*-r\d+" x="([\d.]+)" y="([\d.]+)"[^>]*>(.*?)</text>', svg):
        line, column = round(float(y) / 24.4 - 0.8), round(float(x) / 12.2)  # width and height of a character
        lines[line] = lines.get(line, "").ljust(column) + html.unescape(text).replace("\xa0", " ")
    return "\n".join(lines.get(line, "").rstrip() for line in range(max(lines) + 1))
