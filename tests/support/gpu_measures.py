"""Measurements that fail, are skipped or take too long, for `benchmarks.gpu`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu.rows import Load, Row, Skipped


def raises(load: Load) -> Iterator[Row]:
    yield Row("first", {"ms": 1.0})
    raise ValueError(f"no such thing on {load.device}\nwith more lines")


def dies(load: Load) -> Iterator[Row]:
    yield Row("first", {"ms": 1.0})
    os.kill(os.getpid(), signal.SIGSEGV)


def lacks(load: Load) -> Iterator[Row]:
    yield Row("first", {"ms": 1.0})
    raise Skipped("needs two GPUs")


def hangs(load: Load) -> Iterator[Row]:
    """Write a temporary file, start another process and wait for it, as a measurement of several processes does."""
    folder = Path(tempfile.mkdtemp())
    (folder / "large").write_bytes(b"0" * 1000)
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield Row("first", {"pid": sleeper.pid, "folder": str(folder)})
    sleeper.wait()
