"""Reading of regular files: reading a pipe, a socket or a device can block for ever, or never end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class IrregularFile(OSError):
    """Path of something else than a regular file; `strerror` says of what."""


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; links are followed.

    Raises:
        IrregularFile: if it is a folder, a pipe, a socket or a device.
        OSError: if it cannot be read.
    """
    kind = stat.S_IFMT(path.stat().st_mode)
    if kind != stat.S_IFREG:
        raise IrregularFile(errno.EINVAL, f"{KINDS[kind]} instead of a file", str(path))
    return open(path, "rb", opener=_open_without_waiting)


def read_regular(path: Path) -> bytes:
    """Return the content of a regular file.

    Raises:
        OSError: if it is missing, unreadable, or no regular file.
    """
    with open_regular(path) as file:
        return file.read()


def fault_of(error: Exception) -> str:
    """Return what is wrong with a file, given the error on reading it: a phrase that follows its path.

    >>> fault_of(PermissionError(13, "Permission denied", "x")), fault_of(KeyError("seeds"))
    ('cannot be read (Permission denied)', 'is corrupt')
    """
    return f"cannot be read ({error.strerror or error})" if isinstance(error, OSError) else "is corrupt"


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # does not wait if a pipe takes the file's place at this moment
