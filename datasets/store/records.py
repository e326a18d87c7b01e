"""Reading of files of record: regular files only."""

from __future__ import annotations

from pathlib import Path

from datasets.index.regular_file import open_regular


def read_record(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        OSError: if it is missing, unreadable, or no regular file.
    """
    with open_regular(path) as file:
        return file.read()


def fault_of(error: Exception) -> str:
    """Return what is wrong with a file of record, a phrase that follows its path.

    >>> fault_of(PermissionError(13, "Permission denied", "x")), fault_of(KeyError("seeds"))
    ('cannot be read (Permission denied)', 'is corrupt')
    """
    return f"cannot be read ({error.strerror or error})" if isinstance(error, OSError) else "is corrupt"
