"""Rows of Parquet files, as text, as if they came from a CSV file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from datasets.index import list_files
from datasets.index.regular_file import open_regular
from datasets.registry import DatasetError

T = TypeVar("T")

SUFFIXES = (".parquet", ".parq", ".pq")
MAGIC = b"PAR1"  # first bytes of a Parquet file
BATCH_ROWS = 16384


def is_parquet(path: Path) -> bool:
    """Return whether a file is in Parquet, by its suffix in any case, or by its first bytes."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with open_regular(path) as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read_columns(path: Path, columns: Sequence[str], parse: Callable[[Mapping[str, str]], T]) -> list[T]:
    """Return `parse` of each row.

    A missing value (null, NaN, NaT) is an empty text, and a whole number is written without a fraction: pandas stores
    the integers of a column with a missing value as floating-point numbers.

    Args:
        path: the Parquet file.
        columns: columns that `parse` gets.
        parse: function that returns a row's value, or raises ValueError with what is wrong.

    Raises:
        DatasetError: if the file is missing or empty, a column is missing, there are two of its name or it holds no
            text, or rows are broken.
    """
    numbered = enumerate(_rows(path, columns), start=1)
    found = list_files.parse_rows(numbered, parse, lambda number, _: f"{path}, row {number}")
    if not found:
        raise DatasetError(f"{path}: expected rows, but the file has none")
    return found


def _rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    import pyarrow
    from pyarrow import parquet

    try:
        with open_regular(path) as opened, parquet.ParquetFile(opened) as file:
            names = file.schema_arrow.names
            places = list_files.find_columns(path, names, columns, "the columns")
            wanted = [names[place] for place in places]
            list_files.raise_errors([f"{path}: {fault}" for fault in _type_faults(file.schema_arrow, wanted)])
            done = 0
            for batch in file.iter_batches(BATCH_ROWS, columns=wanted):
                texts = [_texts(path, name, batch.column(name), done) for name in wanted]
                done += batch.num_rows
                for cells in zip(*texts, strict=True):
                    yield dict(zip(columns, cells, strict=True))
    except (OSError, pyarrow.ArrowException) as error:
        reason = getattr(error, "strerror", None) or error
        raise DatasetError(f"{path}: expected a Parquet file, but it cannot be read ({reason})") from error


def _type_faults(schema: Any, names: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for each column whose values have no text or an unclear one."""
    from pyarrow import types

    for name in dict.fromkeys(names):
        kind = schema.field(name).type
        if types.is_nested(kind) or types.is_duration(kind):
            yield (
                f"expected text or numbers in the column {name}, but got {kind}; write a path, a label or seconds "
                f"to a column of its own"
            )


def _texts(path: Path, name: str, column: Any, done: int) -> list[str]:
    """Return the texts of a column's values, given the number of rows before the first."""
    texts = _cast(column)
    try:
        return ["" if text is None else text.strip() for text in texts.to_pylist()]
    except UnicodeDecodeError:
        number = done + next(i for i, text in enumerate(texts, start=1) if not _is_utf_8(text))
        raise DatasetError(f"{path}, row {number}: expected text in UTF-8 in the column {name}") from None


def _cast(column: Any) -> Any:
    """Return an Arrow array as one of strings, whose bytes are not checked yet."""
    import pyarrow
    from pyarrow import compute, types

    kind = column.type
    if isinstance(kind, pyarrow.BaseExtensionType):
        return _cast(column.storage)
    if types.is_dictionary(kind):
        return _cast(column.dictionary_decode())
    if types.is_boolean(kind):
        return compute.if_else(column, "True", "False")  # as pandas writes them to CSV files
    if types.is_floating(kind):
        column = compute.if_else(compute.is_nan(column), None, column)
    texts = column.cast(options=compute.CastOptions(pyarrow.string(), allow_invalid_utf8=True))
    return compute.replace_substring_regex(texts, r"\.0+(Z?)$", r"\1") if types.is_temporal(kind) else texts


def _is_utf_8(text: Any) -> bool:
    try:
        text.as_py()
    except UnicodeDecodeError:
        return False
    return True
