"""Errors of the disk as sentences, and checks before the first trial that its results can be written."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from search.experiment.mistakes import UserError
from search.experiment.own_code import is_own

FULL = (errno.ENOSPC, errno.EDQUOT)  # the disk is full, or the user's quota is used up
OTHER_PLACE = "choose another place"
NO_FILE = f"it is a folder, but must be a file: move it away, or {OTHER_PLACE}"
FIXES = {  # number of an error of the place that a user named -> how to fix it
    errno.ENOENT: "create its folder first",
    errno.ENOTDIR: OTHER_PLACE,
    errno.EEXIST: OTHER_PLACE,
    errno.EISDIR: OTHER_PLACE,
    errno.ELOOP: OTHER_PLACE,
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EROFS: f"make it writable, or {OTHER_PLACE}",
    errno.EACCES: f"change the permissions, or {OTHER_PLACE}",
    errno.EPERM: f"change the permissions, or {OTHER_PLACE}",
}


class PlaceError(UserError):
    """Place that cannot be read or written, found before any work is done."""


class DiskFailure(OSError):
    """Error of the disk in the course of a run, which can be resumed."""


def is_of_disk(error: OSError) -> bool:
    """Return whether an error is about a file, and not raised by a data set or a connection."""
    return error.errno is not None and error.filename is not None


def describe_error(error: OSError) -> str:
    """Return a sentence about an error of the disk: the path, what is wrong, and how to fix it."""
    path, number = Path(os.fsdecode(error.filename)), error.errno or 0
    fix = "free some space" if number in FULL else FIXES.get(number, "check the disk")
    obstacle = _obstacle(path, number)
    return f"cannot use {path}: {obstacle}" if obstacle else f"cannot use {path} ({error.strerror}): {fix}"


def _obstacle(path: Path, number: int) -> str | None:
    """Return a clause if a broken link, a file or a folder is in the way of a path."""
    place = _nearest(path)
    if os.path.islink(place) and not os.path.exists(place):
        return f"{place} is a link to {os.readlink(place)}, which cannot be opened: create that, or delete the link"
    if os.path.isfile(place) and (place != path or number in (errno.EEXIST, errno.ENOTDIR)):
        return f"{place} is a file, but must be a folder: move it away, or {OTHER_PLACE}"
    return NO_FILE if number == errno.EISDIR else None


def _nearest(path: Path) -> Path:
    """Return the path, or its nearest parent that exists, even as a broken link."""
    return next((place for place in (path, *path.parents) if os.path.lexists(place)), path)


@contextmanager
def explain_errors() -> Iterator[None]:
    """Turn errors of the disk into `PlaceError`; a full disk raises the original error."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL or not is_of_disk(error):
            raise
        raise PlaceError(describe_error(error)) from error


@contextmanager
def resumable() -> Iterator[None]:
    """Turn errors of the disk in the course of a run into `DiskFailure`."""
    try:
        yield
    except OSError as error:
        if not is_of_disk(error):
            raise
        raise DiskFailure(error.errno, error.strerror, error.filename) from error


def require_writable(folder: Path, *files: Path) -> None:
    """Check that a folder can be created and written, and that nothing is in the way of its files.

    Args:
        folder: folder, which need not exist.
        files: files in it that will be written.

    Raises:
        PlaceError: if it cannot; all problems are listed.
        OSError: if the disk is full.
    """
    problems = [f"cannot use {file}: {NO_FILE}" for file in files if os.path.isdir(file)]
    try:
        with explain_errors():
            _create_temporary_file(folder)
    except PlaceError as error:
        problems += error.sentences
    if problems:
        raise PlaceError(*problems)


def require_own_links(*folders: Path) -> None:
    """Check that no link in these folders belongs to another user: what is written through it would change any file.

    Links of this user and of the superuser are followed, such as one to a larger disk.

    Raises:
        PlaceError: if there is one; all are listed.
    """
    links = [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir()) if path.is_symlink()]
    problems = [
        f"cannot use {link}: it is a link of another user to {os.readlink(link)}: delete it"
        for link in links
        if not is_own(link, follow=False)
    ]
    if problems:
        raise PlaceError(*problems)


def _create_temporary_file(folder: Path) -> None:
    """Create and delete a file in a folder, or in its nearest parent that exists."""
    try:
        with tempfile.TemporaryFile(dir=_nearest(folder)):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error
