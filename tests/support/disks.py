"""Places that cannot be written, and small disks: real mounts and attributes, which need root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def _as_root(*words: object) -> None:
    """Run a command that only root may run; skip the test where that is not possible."""
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"needs root and mounts: {done.stderr.strip()}")


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """Mount a file system at a folder for a while."""
    folder.mkdir(parents=True, exist_ok=True)
    _as_root("mount", *options, folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a disk of this size at a folder."""
    with mounted(folder, "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs"):
        yield folder


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make the file system of a folder read-only."""
    with mounted(folder, "--bind", str(folder)):
        _as_root("mount", "-o", "remount,ro,bind", folder)
        yield


@contextmanager
def forbidden(folder: Path) -> Iterator[None]:
    """Forbid all changes to a folder, also to root."""
    if os.geteuid():
        mode = folder.stat().st_mode
        folder.chmod(0o555)
        try:
            yield
        finally:
            folder.chmod(mode)
        return
    _as_root("chattr", "+i", folder)
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", folder], check=True)


@contextmanager
def replaced(path: Path, make: Callable[[Path], object]) -> Iterator[None]:
    """Move what is at a path aside, and make something else there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path.rename(path.with_name(f"{path.name}.aside"))
    make(path)
    yield


def fill(disk: Path, left: int = 0) -> Path:
    """Fill a disk with one file, except for some bytes; return the file."""
    ballast = disk / "ballast"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    ballast.write_bytes(b"0" * max(0, free - left))
    return ballast
