"""Files by name in a folder at a path or a URI: s3://, gs://, abfs://, hdfs:// or file://, whatever pyarrow knows."""

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

from datasets.registry import DatasetError
from datasets.store.shards import TEMPORARY, replace

CHUNK_BYTES = 4 * 2**20
KNOWN = "such as s3://bucket/folder, gs://bucket/folder, hdfs://host:port/folder or file:///folder"
WHOLE_OR_NOT = ("s3", "gcs", "abfs")  # an object is there when it was written to its end, and not before
SECRET = re.compile(r"secret|password|token|(access|account)_?key", re.IGNORECASE)


class RemoteError(DatasetError):
    """A place that cannot be reached, or that refuses to be read or written; it may be another time."""


def is_uri(where: str) -> bool:
    """
    >>> is_uri("s3://bucket/stores"), is_uri("~/data/stores")
    (True, False)
    """
    return bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", where))


def whereabouts(where: str) -> str:
    """A URI as it is, or a path that is the same wherever a worker is at home.

    Raises:
        ValueError: a URI with a password in it: it would be written down in the run's folder and in MLflow.
    """
    if not is_uri(where):
        return str(Path(where).expanduser().absolute())
    parts = urlsplit(where)
    if parts.password is not None or any(SECRET.search(key) for key, _ in parse_qsl(parts.query)):
        raise ValueError(
            "a URI with a password or a key in it would be written down with the run: put them where each node's "
            "libraries look for them (for s3, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials)"
        )
    return where


@lru_cache
def _open(where: str) -> tuple[Any, str]:
    from pyarrow import fs

    return fs.FileSystem.from_uri(where) if is_uri(where) else (fs.LocalFileSystem(), where)


def local_folder(where: str) -> Path | None:
    """The folder at a path; None at a URI, whose files are read as copies."""
    return None if is_uri(where) else Path(where).expanduser()


class Remote:
    """A folder at a path or a URI. Names may have slashes; a file is there whole or not at all.

    Args:
        where: an absolute path, or a URI that `pyarrow.fs.FileSystem.from_uri` takes.

    Raises:
        RemoteError: a URI of no known kind, or one that is wrong; from each method where the place cannot be reached,
            read or written. What goes wrong with a file of this machine is an OSError.
    """

    def __init__(self, where: str) -> None:
        self.where, self.folder = where, local_folder(where)
        try:
            self._files, self._path = _open(whereabouts(where))
        except (ValueError, OSError, NotImplementedError) as error:  # pyarrow's ArrowInvalid is a ValueError
            raise RemoteError(
                f"{where} cannot be opened ({_reason(error)}): it must be a path, or a URI {KNOWN}"
            ) from error

    def put(self, file: Path, name: str) -> None:
        """Writes a copy of a file, over what has that name already."""
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
        """Copies what has that name to `file`, which is there whole or as it was; whether there is any."""
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
        """Where a file can be read, if there is any: at a path in place, from a URI as a copy, which is made once."""
        if self.folder is not None:
            return self.folder / name
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            self.get(name, copy)
        return copy

    def add(self, name: str, write: Callable[[Path], object]) -> int:
        """Lets `write` write a file, at a path in place; one that is there already stays.

        Returns:
            Its size in bytes.
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
        """The content of what has that name; None where nothing has."""
        with self._errors("read"):
            try:
                with self._files.open_input_stream(self._path_of(name)) as source:
                    return bytes(source.readall())
            except FileNotFoundError:
                return None

    def exists(self, name: str) -> bool:
        """Whether a file has that name."""
        with self._errors("read"):
            return bool(self._files.get_file_info(self._path_of(name)).is_file)

    def sizes(self, folder: str) -> dict[str, int]:
        """Name -> bytes of the files in a folder; none where there is no such folder."""
        from pyarrow import fs

        with self._errors("read"):
            found = self._files.get_file_info(fs.FileSelector(self._path_of(folder).rstrip("/"), allow_not_found=True))
            return {str(info.base_name): int(info.size) for info in found if info.is_file}

    def delete(self, name: str) -> None:
        """Takes a file away, if it is there."""
        with self._errors("written to"), suppress(FileNotFoundError):
            self._files.delete_file(self._path_of(name))

    def delete_folder(self, name: str) -> None:
        """Takes a folder away with all that is in it, if it is there."""
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
        """What pyarrow raises, as a RemoteError."""
        try:
            yield
        except (ValueError, OSError, NotImplementedError) as error:
            raise RemoteError(
                f"{self.where} cannot be {what} ({_reason(error)}): look at its name, the network, and what this "
                "machine may do there"
            ) from error


def _reason(error: Exception) -> str:
    """What pyarrow says, which may go on for lines."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else str(error).strip().partition("\n")[0]
