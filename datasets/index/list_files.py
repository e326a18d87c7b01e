"""The publishers' list files: text with a sample a line, read so that every broken row is named."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from datasets.registry import DatasetError

T = TypeVar("T")
RowT = TypeVar("RowT")

SHOWN = 20  # broken rows named in one error


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1; a byte order mark and line ends of any kind are no part
    of them.

    Raises:
        DatasetError: no such file, or not UTF-8.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: expected a list file, but it cannot be read ({error.strerror})") from error
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
    """What stands between separators, without the space around it; only comma-separated lines may quote.

    >>> cells('a1B, 30 ,"child speech, kid speaking",train', ",")
    ['a1B', '30', 'child speech, kid speaking', 'train']

    Raises:
        ValueError: a quote that is not closed.
    """
    if separator != ",":
        return [cell.strip() for cell in line.split(separator)]
    try:
        return [cell.strip() for cell in next(csv.reader([line.strip()], strict=True, skipinitialspace=True))]
    except csv.Error as error:
        raise ValueError(f"its quotes do not match ({error})") from error


def read(
    path: Path,
    parse: Callable[[list[str]], T],
    *,
    expected: str,
    separator: str = ",",
    header: Collection[str] = (),
) -> list[T]:
    """`parse` of each row's cells.

    Args:
        path: the list file.
        parse: gives a row's value; raises ValueError with what is wrong.
        expected: a row as it should be, for the error.
        separator: between cells.
        header: names, in small letters, of which one in the first row tells that it is a header.

    Raises:
        DatasetError: no file, an empty one, or broken rows, the first 20 of which are named.
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
    """`parse` of each row.

    Args:
        rows: their numbers, and what `parse` takes.
        parse: gives a row's value; raises ValueError with what is wrong.
        describe: begins the sentence on a broken row.

    Raises:
        DatasetError: names the first 20 broken rows.
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
    """Whether a row holds one of the `names` of columns, whatever quotes it or a `#` before it."""
    return any(cell.strip('#" ').casefold() in names for cell in row)


def read_columns(path: Path, columns: Sequence[str], parse: Callable[[Mapping[str, str]], T]) -> list[T]:
    """`parse` of each row of a comma-separated file whose first row names its columns.

    Args:
        path: the list file.
        columns: those that must be there; `parse` gets all there are.
        parse: gives a row's value; raises ValueError with what is wrong.

    Raises:
        DatasetError: no file, an empty one, no such column, or broken rows.
    """
    names: list[str] = []

    def parse_cells(row: list[str]) -> T | None:
        if not names:
            names.extend(row)
            absent = [c for c in columns if c not in names]
            if absent:
                raise DatasetError(
                    f"{path}: expected a first row with the columns {', '.join(columns)}, but got "
                    f"{_format_line(','.join(row))}: no {', '.join(absent)}"
                )
            return None
        check_cells(row, len(names))
        return parse(dict(zip(names, row, strict=True)))

    found = read(path, parse_cells, expected=f"{len(columns)} or more cells, one of each column named in the first row")
    rows = [row for row in found[1:] if row is not None]
    if not rows:
        raise DatasetError(f"{path}: expected rows below the names of the columns, but the file has none")
    return rows


def _format_line(line: str) -> str:
    return repr(line if len(line) <= 90 else f"{line[:60]} … {line[-20:]}")


def raise_errors(errors: Sequence[str]) -> None:
    """One error of all sentences, of which the first 20 are shown; none where there are none."""
    more = len(errors) - SHOWN
    rest = [f"… and {more} more such rows"] if more > 0 else []
    if errors:
        raise DatasetError("\n".join([*errors[:SHOWN], *rest]))


def check_cells(row: Sequence[str], expected: int, why: str = "") -> None:
    """
    Raises:
        ValueError: a row has more or fewer cells than expected; `why` ends the sentence.
    """
    if len(row) != expected:
        raise ValueError(f"it has {count(len(row), 'cell')}{why}")


def whole_number(cell: str, what: str) -> int:
    """A cell as a number from 0; `1.0` and `000001` are 1."""
    value = seconds(cell, what)
    if value != int(value):
        raise ValueError(f"{what} must be a whole number, but is {cell!r}")
    return int(value)


def seconds(cell: str, what: str) -> float:
    """A cell as a number of seconds from 0."""
    try:
        value = float(cell)
    except ValueError:
        raise ValueError(f"{what} must be a number, but is {cell!r}") from None
    if not 0 <= value < float("inf"):
        raise ValueError(f"{what} must be 0 or more, but is {cell!r}")
    return value


def count(number: int, noun: str) -> str:
    """
    >>> count(1, "clip"), count(2000, "clip")
    ('1 clip', '2,000 clips')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
