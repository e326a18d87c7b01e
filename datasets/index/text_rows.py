"""Rows of text files: CSV, whose quoted cells may hold line breaks, and lists with another separator."""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

from datasets.index.regular_file import open_regular, read_regular
from datasets.registry import DatasetError

FORMATS = {
    b"\xff\xfe": "the file is in UTF-16; save it as UTF-8",
    b"\xfe\xff": "the file is in UTF-16; save it as UTF-8",
    b"PK": "the file is a zip archive or an Excel workbook; export the sheet as CSV",
    b"\x1f\x8b": "the file is compressed with gzip; decompress it first",
}  # first bytes of a file -> what to do


class TextRow(NamedTuple):
    """Row of a text file.

    Args:
        number: number of its first line, from 1.
        text: the row as it is written, without its line end.
        cells: its cells, not stripped.
        fault: why it cannot be split into cells; empty if it can.
    """

    number: int
    text: str
    cells: list[str]
    fault: str = ""


def read_rows(path: Path, separator: str = ",") -> Iterator[TextRow]:
    """Yield the rows that are not blank; only comma-separated rows may have quotes.

    Raises:
        DatasetError: if the file does not exist or is not UTF-8.
    """
    try:
        with open_regular(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
            lines = _Lines(path, text)
            yield from _quoted_rows(lines) if separator == "," else _plain_rows(lines, separator)
    except OSError as error:
        raise DatasetError(f"{path}: the list file cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DatasetError(_describe_bad_byte(path)) from error


class _Lines:
    """Lines of a file; `row` has those since it was last emptied, and all but its first can be read again."""

    def __init__(self, path: Path, text: TextIO) -> None:
        self._path, self._text = path, text
        self._again: deque[str] = deque()
        self.row: list[str] = []
        self._is_first = True

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._text)
        if self._is_first:
            self._check(line)
        self.row.append(line)
        bare = line.rstrip()
        return bare + "\n" if bare.endswith('"') else line  # csv allows no space after a quote

    def give_back(self) -> None:
        self._again.extendleft(reversed(self.row[1:]))

    def _check(self, line: str) -> None:
        self._is_first = False
        if "\0" in line:
            raise DatasetError(
                f"{self._path}, line 1: expected text in UTF-8, but got a NUL character; {_advice(self._path)}"
            )


def _quoted_rows(lines: _Lines) -> Iterator[TextRow]:
    """Yield the rows of a CSV file; after a row whose quotes are unbalanced, the next line begins a row."""
    reader = csv.reader(lines, strict=True, skipinitialspace=True)
    number = 1
    while True:
        lines.row = []
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            lines.give_back()
            del lines.row[1:]
            yield TextRow(number, _join(lines.row), [], f"its quotes are unbalanced ({error})")
        else:
            if any(cells) and (len(cells) > 1 or cells[0].strip()):
                yield TextRow(number, _join(lines.row), cells)
        number += len(lines.row)


def _plain_rows(lines: _Lines, separator: str) -> Iterator[TextRow]:
    for number, line in enumerate(lines, start=1):
        lines.row.clear()
        if line.strip():
            text = line.rstrip("\r\n")
            yield TextRow(number, text, text.split(separator))


def _join(lines: list[str]) -> str:
    return "".join(lines).rstrip("\r\n")


def _describe_bad_byte(path: Path) -> str:
    """Return the sentence on the first byte that is not UTF-8."""
    content = read_regular(path).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for number, line in enumerate(content.split(b"\n"), start=1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            byte = f"0x{line[error.start]:02x}"
            return f"{path}, line {number}: expected text in UTF-8, but got the byte {byte}; {_advice(path)}"
    return f"{path}: the file changed while it was read; try again"


def _advice(path: Path) -> str:
    with open_regular(path) as file:
        start = file.read(4)
    return next((advice for first, advice in FORMATS.items() if start.startswith(first)), "save the file as UTF-8")
