"""Publishers' list files: text with one sample per row. Errors name every broken row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

from datasets.index.text_rows import TextRow, read_rows
from datasets.registry import DatasetError

T = TypeVar("T")
RowT = TypeVar("RowT")

SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
SHOWN = 20  # maximum number of broken rows named in one error


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
    rows = read_rows(path, separator)
    first = next(rows, None)
    if first is not None and not is_header(first.cells, header):
        rows = chain([first], rows)
    found = parse_rows(
        ((row.number, row) for row in rows),
        lambda row: parse(_divided(_strip_cells(row), separator)),
        lambda number, row: f"{path}, line {number}: expected {expected}, but got {_format_line(row.text)}",
    )
    if not found:
        raise DatasetError(f"{path}: expected rows of {expected}, but the file has none")
    return found


def first_cells(path: Path) -> list[str]:
    """Return the cells of a comma-separated file's first row; an empty list if it has none."""
    row = next(read_rows(path), None)
    return row.cells if row else []


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
        columns: columns that `parse` gets.
        parse: function that returns a row's value, or raises ValueError with what is wrong.

    Raises:
        DatasetError: if the file is missing or empty, a column is missing or there are two of its name, or rows are
            broken.
    """
    rows = read_rows(path)
    describe = partial(_describe_row, path)
    header = next(rows, TextRow(1, "", []))
    names = [header.text] if header.fault and _separator_advice([header.text], columns) else _names(header, describe)
    places = find_columns(path, names, columns, "a header row with the columns")
    pick = partial(_pick_cells, dict(zip(columns, places, strict=True)), len(names))
    found = parse_rows(((row.number, row) for row in rows), lambda row: parse(pick(row)), describe)
    if not found:
        raise DatasetError(f"{path}: expected rows below the header row, but the file has none")
    return found


def _names(header: TextRow, describe: Callable[[int, TextRow], str]) -> list[str]:
    return parse_rows([(header.number, header)], _strip_cells, describe)[0]


def find_columns(path: Path, names: Sequence[str], columns: Sequence[str], expected: str) -> list[int]:
    """Return the place of each of `columns` in the `names` of a file's columns.

    Raises:
        DatasetError: if a column is missing, or several have its name up to case and surrounding space.
    """
    places = defaultdict(list)
    for place, name in enumerate(names):
        places[name.strip()].append(place)
    if absent := [column for column in columns if column not in places]:
        raise DatasetError(
            f"{path}: expected {expected} {', '.join(columns)}, but got {_format_line(','.join(names))}: "
            f"no {', '.join(absent)}{_separator_advice(names, columns)}"
        )
    raise_errors([f"{path}: {fault}" for column in columns for fault in _ambiguity(column, places, columns)])
    return [places[column][0] for column in columns]


def _ambiguity(column: str, places: Mapping[str, list[int]], columns: Sequence[str]) -> Iterator[str]:
    """Yield a sentence if several columns could be meant; names that differ in case may all be asked for."""
    alike = [name for name in places if name.casefold() == column.casefold()]
    found = sorted(place + 1 for name in alike for place in places[name])
    if len(found) > len(set(alike) & set(columns)):
        named = f" (spelt {', '.join(alike)})" if len(alike) > 1 else ""
        numbers = ", ".join(map(str, found[:-1])) + f" and {found[-1]}"
        yield f"expected one column {column}, but columns {numbers} have that name{named}; rename all but one"


def _separator_advice(names: Sequence[str], columns: Sequence[str]) -> str:
    """Return a clause if the columns are there once another separator divides the header row."""
    for separator, called in SEPARATORS.items():
        if set(columns) <= {cell.strip('" ') for name in names for cell in name.split(separator)}:
            return f"; its cells are separated by {called}: separate them by commas"
    return ""


def _divided(cells: list[str], separator: str) -> list[str]:
    """Return the cells; raise ValueError if another separator than the comma divides them."""
    found = [called for other, called in SEPARATORS.items() if other in cells[0]]
    if separator == "," and len(cells) == 1 and found:
        raise ValueError(f"its cells are separated by {found[0]}: separate them by commas")
    return cells


def _strip_cells(row: TextRow) -> list[str]:
    if row.fault:
        raise ValueError(row.fault)
    return [cell.strip() for cell in row.cells]


def _pick_cells(places: Mapping[str, int], number: int, row: TextRow) -> dict[str, str]:
    cells = row.cells
    if row.fault:
        raise ValueError(row.fault)
    check_cells(cells, number, ", one for each column of the header row")
    return {column: cells[place].strip() for column, place in places.items()}


def _describe_row(path: Path, number: int, row: TextRow) -> str:
    return f"{path}, line {number} ({_format_line(row.text)})"


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
