"""Privacy of a Ray that a search starts: its logs and its token are the user's alone."""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import tempfile
from functools import cache, partial
from pathlib import Path

from search.backend.interrupt import before_end
from search.run.disk import PlaceError

SOCKET_BYTES = 103  # longest path of a socket on macOS; 107 on Linux
RAY_BYTES = 68  # what Ray appends to its folder for the paths of its sockets
NAME_BYTES = 20  # length of `/ogmge-XXXXXXXX/ray`
SHORT = ("/tmp", "/var/tmp", "/dev/shm")


@cache
def private_folder() -> Path:
    """Return a folder for Ray's logs and sockets that only this user can open, deleted at the end of this process.

    Ray's own, /tmp/ray, is the same for all users, and its logs can be read by all of them.

    Raises:
        PlaceError: if it can be created nowhere.
    """
    folder = _make_folder()
    delete = partial(_delete, folder, os.getpid())
    atexit.register(delete)
    before_end.append(delete)
    return folder


def _make_folder() -> Path:
    """Create a folder in the usual place for temporary files, or elsewhere if its path is too long for sockets."""
    most = SOCKET_BYTES - RAY_BYTES - NAME_BYTES
    problems = []
    for place in (_usual_place(), *SHORT):
        if len(os.fsencode(place)) > most:
            problems.append(f"{place} (longer than {most} bytes)")
            continue
        try:
            return Path(tempfile.mkdtemp(prefix="ogmge-", dir=place))
        except OSError as error:
            problems.append(f"{place} ({error.strerror})")
    raise PlaceError(
        f"Ray's temporary files can be written neither to {' nor to '.join(problems)}: set TMPDIR to a writable folder "
        f"whose path has at most {most} bytes"
    )


def _usual_place() -> str:
    try:
        return os.path.abspath(tempfile.gettempdir())
    except FileNotFoundError:  # neither TMPDIR nor any other place is writable
        return os.path.abspath(os.environ.get("TMPDIR", "."))


def _delete(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # not in a process that was forked
        shutil.rmtree(folder, ignore_errors=True)


def require_token() -> None:
    """Make a local Ray ask every connection for a token that only this user can read, unless the user set a mode.

    Anyone on the machine could connect to the ports of a Ray without a token, and run code as this user. The token that
    Ray itself makes in the home folder can be read by all users.
    """
    if {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        return
    file = private_folder() / "token"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as token:
        token.write(secrets.token_hex(32))
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(file)  # Ray sets RAY_AUTH_MODE, which it reads when it is imported
