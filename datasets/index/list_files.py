"""Publishers' list files: text with one sample per line. Errors name every broken row."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from datasets.index.regular_file import read_regular
from datasets.registry import DatasetError

T = TypeVar("T")
RowT = TypeVar("RowT")

SHOWN = 20  # maximum number of broken rows named in one error


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank with their numbers from 1, without byte order mark and line ends.

    Raises:
        DatasetError: if the file does not exist or is not UTF-8.
    """
    try:
        content = read_regular(path)
    except OSError as error:
        raise DatasetError(f"{path}: the list file cannot be read ({error.strerror})") from error
    content = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for number, raw in enumerate(content.split(b"\n"), start=1):
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DatasetError(
                f"{path}, line {number}: expected text in UTF-8, but got the byte 0x{raw[error.start]:02x}; "
                f"save the file as UTF-8"
            ) from error
        if line.strip():
            yield number, line


def cells(line: str, separator: str) -> list[str]:
    """Split a line into cells without surrounding space; only comma-separated lines may have quotes.

    >>> cells('a1B, 30 ,"child speech, kid speaking",train', ",")
    ['a1B', '30', 'child speech, kid speaking', 'train']

    Raises:
        ValueError: if the quotes are unbalanced.
    """
    if separator != ",":
        return [cell.strip() for cell in line.split(separator)]
    try:
        return [cell.strip() for cell in next(csv.reader([line.strip()], strict=True, skipinitialspace=True))]
    except csv.Error as error:
        raise ValueError(f"its quotes are unbalanced ({error})") from error


def read(
    path: Path,
    parse: Callable[[list[str]], T],
    *,
    expected: str,
    separator: str = ",",
    header: Collection[str] = (),
) -> list[T]:
    """Return `parse` of each row's cells.

    Args:
        path: the list file.
        parse: function that returns a row's value, or raises ValueError with what is wrong.
        expected: form of a correct row, for the error.
        separator: text between cells.
        header: column names in lower case; the first row is a header if it holds one of them.

    Raises:
        DatasetError: if the file is missing or empty, or rows are broken; the message names the first 20.
    """
    rows = list(lines(path))
    if rows and is_header(rows[0][1].split(separator), header):
        del rows[0]
    found = parse_rows(
        rows,
        lambda line: parse(cells(line, separator)),
        lambda number, line: f"{path}, line {number}: expected {expected}, but got {_format_line(line)}",
    )
    if not found:
        raise DatasetError(f"{path}: expected rows of {expected}, but the file has none")
    return found


def parse_rows(
    rows: Iterable[tuple[int, RowT]], parse: Callable[[RowT], T], describe: Callable[[int, RowT], str]
) -> list[T]:
    """Return `parse` of each row.

    Args:
        rows: pairs of a row's number and the row.
        parse: function that returns a row's value, or raises ValueError with what is wrong.
        describe: function that returns the first part of the sentence on a broken row.

    Raises:
        DatasetError: if rows are broken; the message names the first 20.
    """
    found: list[T] = []
    broken: list[str] = []
    for number, row in rows:
        try:
            found.append(parse(row))
        except ValueError as error:
            broken.append(f"{describe(number, row)}: {error}")
    raise_errors(broken)
    return found


def is_header(row: Sequence[str], names: Collection[str]) -> bool:
    """Return whether a row holds one of the column `names`, also in quotes or after a `#`."""
    return any(cell.strip('#" ').casefold() in names for cell in row)


def read_columns(path: Path, columns: Sequence[str], parse: Callable[[Mapping[str, str]], T]) -> list[T]:
    """Return `parse` of each row of a comma-separated file with a header row.

    Args:
        path: the list file.
        columns: required columns; `parse` gets all columns of the file.
        parse: function that returns a row's value, or raises ValueError with what is wrong.

    Raises:
        DatasetError: if the file is missing or empty, a column is missing, or rows are broken.
    """
    rows = list(lines(path))
    names = next(iter(parse_rows(rows[:1], _split_at_commas, partial(_describe_line, path))), [])
    if absent := [column for column in columns if column not in names]:
        raise DatasetError(
            f"{path}: expected a header row with the columns {', '.join(columns)}, but got "
            f"{_format_line(','.join(names))}: no {', '.join(absent)}"
        )
    if not rows[1:]:
        raise DatasetError(f"{path}: expected rows below the header row, but the file has none")
    return parse_rows(rows[1:], lambda line: parse(_name_cells(line, names)), partial(_describe_line, path))


def _split_at_commas(line: str) -> list[str]:
    return cells(line, ",")


def _name_cells(line: str, names: Sequence[str]) -> dict[str, str]:
    row = _split_at_commas(line)
    check_cells(row, len(names), ", one for each column of the header row")
    return dict(zip(names, row, strict=True))


def _describe_line(path: Path, number: int, line: str) -> str:
    return f"{path}, line {number} ({_format_line(line)})"


def _format_line(line: str) -> str:
    return repr(line if len(line) <= 90 else f"{line[:60]} … {line[-20:]}")


def raise_errors(errors: Sequence[str]) -> None:
    """Raise one error with the first 20 sentences and the number of the others; do nothing if there are none."""
    more = len(errors) - SHOWN
    rest = [f"… and {count(more, 'more such row')}"] if more > 0 else []
    if errors:
        raise DatasetError("\n".join([*errors[:SHOWN], *rest]))


def check_cells(row: Sequence[str], expected: int, why: str = "") -> None:
    """Check the number of a row's cells.

    Raises:
        ValueError: if a row has more or fewer cells than expected; `why` ends the sentence.
    """
    if len(row) != expected:
        raise ValueError(f"it has {count(len(row), 'cell')} instead of {expected}{why}")


def whole_number(cell: str, what: str) -> int:
    """Return a cell as a whole number of at least 0; `1.0` and `000001` are 1."""
    value = seconds(cell, what)
    if value != int(value):
        raise ValueError(f"{what} must be a whole number, but is {cell!r}")
    return int(value)


def seconds(cell: str, what: str) -> float:
    """Return a cell as a number of seconds, at least 0."""
    try:
        value = float(cell)
    except ValueError:
        raise ValueError(f"{what} must be a number, but is {cell!r}") from None
    if not 0 <= value < float("inf"):
        raise ValueError(f"{what} must be at least 0, but is {cell!r}")
    return value


def count(number: int, noun: str) -> str:
    """Format a number with its noun in the singular or plural.

    >>> count(1, "clip"), count(2000, "clip"), count(2, "class")
    ('1 clip', '2,000 clips', '2 classes')
    """
    plural = "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{'' if number == 1 else plural}"
