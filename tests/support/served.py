"""Commands that serve a page until Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support import ROOT


@contextmanager
def served(*arguments: str) -> Iterator[str]:
    """Run `python -m search` with these arguments and give the address that it prints; Ctrl-C must end it well."""
    process = subprocess.Popen(
        [sys.executable, "-m", "search", *arguments, "--port", "0"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield _address(process)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 0


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    printed: list[str] = []
    for line in process.stdout:
        printed.append(line)
        if address := re.search(r"http://127\.0\.0\.1:\d+/\S*", line):
            return address[0]
    raise AssertionError(f"it ended with {process.wait()}: {''.join(printed)}")
