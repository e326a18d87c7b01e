"""Journal of a search: an append-only file of events, from which the state of the search can be rebuilt."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from datasets.index.json_text import parse_json
from datasets.index.regular_file import fault_of, open_regular
from search.run.event_check import JournalError
from search.run.trials import SearchRecord
from search.run.version import VERSION, VersionError

log = logging.getLogger(__name__)


def _line(event: dict[str, Any]) -> bytes:
    text = json.dumps(event)
    return f'{text[:-1]}, "crc": {zlib.crc32(text.encode())}}}\n'.encode()


def _event(line: bytes) -> dict[str, Any] | None:
    """Return the event in a line, or None if the line is corrupt."""
    try:
        event = parse_json(line)
    except ValueError:
        return None
    if not isinstance(event, dict) or "crc" not in event:
        return None
    del event["crc"]
    return event if _line(event) == line else None


def _sound(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return a file's events up to its first corrupt line, and their size in bytes."""
    events: list[dict[str, Any]] = []
    size = 0
    for line in _lines(path):
        event = _event(line)
        if event is None:
            break
        events.append(event)
        size += len(line)
    return events, size


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file; nothing if it does not exist, nor if a file stands where its folder should be.

    Raises:
        JournalError: if the file cannot be read.
    """
    try:
        with open_regular(path) as file:
            yield from file
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        [other] = set(_files(_original(path))) - {path}
        raise JournalError(
            f"{path} {fault_of(error)}: make it readable, or move it away and repeat this command, which then uses "
            f"{other}"
        ) from error


def _replay(events: list[dict[str, Any]], path: Path) -> SearchRecord:
    """Return the record that the events of a file lead to.

    Raises:
        JournalError, VersionError: if no search can have written them, or a newer program did.
    """
    record = SearchRecord()
    for line, event in enumerate(events, 1):
        try:
            record.replay(event, line)
        except JournalError as error:
            files = " and ".join(map(str, _files(_original(path))))
            raise JournalError(
                f"{path}, line {line}: {error}, so this is not the journal of one search. Restore the file, or delete "
                f"this line and all after it in {files}; what they record is then trained again"
            ) from error
        except VersionError as error:
            raise VersionError(
                f"{path}, line {line}, has {error}, but this program reads versions up to {VERSION}: use the version "
                "of the program that wrote it, or a newer one"
            ) from error
    return record


def _original(path: Path) -> Path:
    """Return the path of a journal, given that or its copy's."""
    return path.with_name(path.name.replace(f".copy{path.suffix}", path.suffix))


def _files(path: Path) -> tuple[Path, Path]:
    """Return the paths of a journal and its copy."""
    return path, path.with_name(f"{path.stem}.copy{path.suffix}")


def read(path: Path) -> SearchRecord:
    """Read a journal without changing any file, even while another process writes it.

    Args:
        path: path of the journal; if it does not exist, the record is empty.
    """
    return _replay(max([_sound(file)[0] for file in _files(path)], key=len), path)


def has_events(path: Path) -> bool:
    """Return whether a journal or its copy holds an event."""
    return any(_event(next(_lines(file), b"")) is not None for file in _files(path))


class Journal:
    """File of events, one line of JSON with a checksum each, and its copy. If one of them is corrupt, the other is
    read.

    The copy is worth the second write: the journal is the only record of what may be days of GPU time, and one bad
    sector or stray edit would lose all events after it.

    A trial with an impossible event, such as an epoch that skips another, is reopened.

    If both files are corrupt, everything after the damage is dropped. If this loses more than one incomplete line, the
    file is saved as `NAME.damaged`.

    Args:
        path: path of the journal, created with its folder if it is missing; the copy lies next to it.

    Raises:
        JournalError: if a file cannot be read, or no search can have written it.
        VersionError: if a newer program wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        files = _files(path)
        found = {file: _sound(file) for file in files}
        source = max(files, key=lambda file: len(found[file][0]))  # the first on ties
        events, size = found[source]
        self._record = _replay(events, source)
        self._mend(path, found[path][1], source)
        for file in files:
            if found[file][1] != size:
                shutil.copyfile(source, file)
        self._files = [file.open("ab", buffering=0) for file in files]
        for handle in self._files:
            handle.truncate(size)
        self._reopen_broken()

    def _reopen_broken(self) -> None:
        """Let trials with impossible events continue from their last checkpoint, or start again without one."""
        for number, fault in list(self._record.broken.items()):
            log.warning("%s, %s: trial %d is trained again from its last checkpoint", self.path, fault, number)
            event = {"event": "reopened", "number": number}
            self.append(event)
            self._record.replay(event, 0)

    @staticmethod
    def _mend(path: Path, sound: int, source: Path) -> None:
        """Log what is lost, and save the corrupt file if it may be of use."""
        lost = path.read_bytes()[sound:] if path.exists() else b""
        if lost.count(b"\n"):
            shutil.copyfile(path, path.with_name(f"{path.name}.damaged"))
        if source != path:
            log.warning("%s is corrupt after byte %d: using its copy %s", path, sound, source)
        elif lost:
            log.warning("%s is corrupt after byte %d: everything after it is dropped", path, sound)

    def replay(self) -> SearchRecord:
        """Return the record as it was when the journal was opened. The caller updates it from then on."""
        return self._record

    def append(self, event: dict[str, Any]) -> None:
        """Write an event to the operating system, so that no event is lost if the process is killed.

        Raises:
            OSError: if the event cannot be written; the files are then unchanged. FileNotFoundError if the journal was
                deleted: what is written to its open file would be lost.
        """
        line = _line(event)
        there = os.fstat(self._files[0].fileno())
        end = there.st_size
        if not there.st_nlink:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        try:
            for file in self._files:
                if file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            for file in self._files:
                with suppress(OSError):
                    file.truncate(end)
            raise

    def close(self) -> None:
        for file in self._files:
            file.close()
