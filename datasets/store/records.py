"""Reading of files of record: regular files only."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def require_regular(path: Path) -> Path:
    """Return the path after a check that it is a file or missing: a pipe would block, and a device need not end.

    Raises:
        OSError: if it is a folder, a pipe or a device.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return path


def read_record(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        OSError: if it is missing, unreadable, or no regular file.
    """
    return require_regular(path).read_bytes()


def fault_of(error: Exception) -> str:
    """Return what is wrong with a file of record, a phrase that follows its path.

    >>> fault_of(PermissionError(13, "Permission denied", "x")), fault_of(KeyError("seeds"))
    ('cannot be read (Permission denied)', 'is corrupt')
    """
    return f"cannot be read ({error.strerror or error})" if isinstance(error, OSError) else "is corrupt"
