"""Files in a folder at a path or at a URI that pyarrow supports (s3://, gs://, abfs://, hdfs://, file://)."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any
from urllib.parse import parse_qsl, urlsplit

from datasets.registry import DatasetError, expand
from datasets.store.shards import TEMPORARY, replace

CHUNK_BYTES = 4 * 2**20
KNOWN = "such as s3://bucket/folder, gs://bucket/folder, hdfs://host:port/folder or file:///folder"
WHOLE_OR_NOT = ("s3", "gcs", "abfs")  # an object exists only once it is written completely
SECRET = re.compile(r"secret|password|token|(access|account)_?key", re.IGNORECASE)


class RemoteError(DatasetError):
    """Failure to reach, read or write a path or URI; a later attempt may succeed."""


def is_uri(where: str) -> bool:
    """Return whether a location is a URI, not a path.

    >>> is_uri("s3://bucket/stores"), is_uri("~/data/stores")
    (True, False)
    """
    return bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", where))


def has_secret(uri: str) -> bool:
    """Return whether a text is a URI that contains a password or a key."""
    if not is_uri(uri):
        return False
    parts = urlsplit(uri)
    return parts.password is not None or any(SECRET.search(key) for key, _ in parse_qsl(parts.query))


def redact(where: str) -> str:
    """Return a path or URI for people to read: user, password and query are hidden if they contain a secret.

    >>> redact("s3://me:secret@bucket/folder?access_key=1"), redact("s3://bucket/folder"), redact("/a:b@c")
    ('s3://***@bucket/folder', 's3://bucket/folder', '/a:b@c')
    """
    if not has_secret(where):
        return where
    parts = urlsplit(where)
    return parts._replace(netloc=f"***@{parts.netloc.rpartition('@')[2]}", query="").geturl()


def whereabouts(where: str) -> str:
    """Return a URI unchanged, or a path as an absolute path, which does not depend on a worker's home folder.

    Raises:
        ValueError: if a URI contains a password, which would be stored in the run's folder and in MLflow.
    """
    if not is_uri(where):
        return str(expand(where).absolute())
    if has_secret(where):
        raise ValueError(
            "a password or key in a URI would be stored with the run; set it on each node where the libraries look for "
            "it: for s3, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials"
        )
    return where


@lru_cache
def _open(where: str) -> tuple[Any, str]:
    from pyarrow import fs

    return fs.FileSystem.from_uri(where) if is_uri(where) else (fs.LocalFileSystem(), where)


def local_folder(where: str) -> Path | None:
    """Return the folder at a path; None for a URI, whose files are read as copies."""
    return None if is_uri(where) else expand(where)


class Remote:
    """Folder at a path or a URI. Names of files may contain slashes; a file exists completely or not at all.

    Each method raises `RemoteError` if the folder cannot be reached, read or written, and `OSError` if a local file
    fails.

    Args:
        where: an absolute path, or a URI that `pyarrow.fs.FileSystem.from_uri` accepts.

    Raises:
        RemoteError: if the URI is invalid or of an unknown kind.
    """

    def __init__(self, where: str) -> None:
        self.where, self.folder = where, local_folder(where)
        try:
            self._files, self._path = _open(whereabouts(where))
        except (ValueError, OSError, NotImplementedError) as error:  # pyarrow's ArrowInvalid is a ValueError
            raise RemoteError(
                f"{redact(where)} cannot be opened ({_reason(error)}): it must be a path, or a URI {KNOWN}"
            ) from error

    def put(self, file: Path, name: str) -> None:
        """Upload a file under a name, replacing an existing file."""
        path, at_once = self._path_of(name), self._files.type_name in WHOLE_OR_NOT
        folder, _, last = path.rpartition("/")
        part = f"{folder}/.{last}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY}"
        with file.open("rb") as source, self._errors("written to"):
            if at_once:
                self._write(source, path)
                return
            self._files.create_dir(folder, recursive=True)
            try:
                self._write(source, part)
                self._files.move(part, path)
            except BaseException:
                with suppress(OSError):
                    self._files.delete_file(part)
                raise

    def get(self, name: str, file: Path) -> bool:
        """Copy the named file to `file`, completely or not at all; return whether it exists."""
        with self._errors("read"):
            try:
                source = self._files.open_input_stream(self._path_of(name))
            except FileNotFoundError:
                return False

        def fill(out: IO[bytes]) -> None:
            while chunk := self._chunk(source):
                out.write(chunk)

        with source:
            replace(file, fill)
        return True

    def fetch(self, name: str, copy: Path) -> Path:
        """Return the path of a file in place, or for a URI the path `copy`, to which the file is copied once."""
        if self.folder is not None:
            return self.folder / name
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            self.get(name, copy)
        return copy

    def add(self, name: str, write: Callable[[Path], object]) -> int:
        """Add a file that `write` creates; an existing file is kept.

        Returns:
            Size of the file in bytes.
        """
        if self.folder is not None:
            path = self.folder / name
            if not path.exists():
                write(path)
            return path.stat().st_size
        with TemporaryDirectory() as folder:
            path = Path(folder, "file")
            write(path)
            if not self.exists(name):
                self.put(path, name)
            return path.stat().st_size

    def read(self, name: str) -> bytes | None:
        """Return the content of the named file, or None if it does not exist."""
        with self._errors("read"):
            try:
                with self._files.open_input_stream(self._path_of(name)) as source:
                    return bytes(source.readall())
            except FileNotFoundError:
                return None

    def exists(self, name: str) -> bool:
        """Return whether the named file exists."""
        with self._errors("read"):
            return bool(self._files.get_file_info(self._path_of(name)).is_file)

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the sizes in bytes of the files in a folder, by name; empty if the folder does not exist."""
        from pyarrow import fs

        with self._errors("read"):
            found = self._files.get_file_info(fs.FileSelector(self._path_of(folder).rstrip("/"), allow_not_found=True))
            return {str(info.base_name): int(info.size) for info in found if info.is_file}

    def delete(self, name: str) -> None:
        """Delete a file if it exists."""
        with self._errors("written to"), suppress(FileNotFoundError):
            self._files.delete_file(self._path_of(name))

    def delete_folder(self, name: str) -> None:
        """Delete a folder with its content if it exists."""
        with self._errors("written to"), suppress(FileNotFoundError):
            self._files.delete_dir(self._path_of(name))

    def _write(self, source: IO[bytes], path: str) -> None:
        with self._files.open_output_stream(path) as out:
            while chunk := source.read(CHUNK_BYTES):
                out.write(chunk)

    def _path_of(self, name: str) -> str:
        return f"{self._path.rstrip('/')}/{name}"

    def _chunk(self, source: Any) -> bytes:
        with self._errors("read"):
            return bytes(source.read(CHUNK_BYTES))

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Turn pyarrow's errors into `RemoteError`."""
        try:
            yield
        except (ValueError, OSError, NotImplementedError) as error:
            raise RemoteError(
                f"{self.where} cannot be {what} ({_reason(error)}): check its name, the network, and this machine's "
                "permissions"
            ) from error


def _reason(error: Exception) -> str:
    """Return the first line of pyarrow's message, which can be long."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else str(error).strip().partition("\n")[0]
