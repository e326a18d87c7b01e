"""Files that the cells of a table name."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

from datasets.index.clips import Source

RECENT = 4096  # files to remember: rows of one file often follow each other
WINDOWS = re.compile(r"[A-Za-z]:[\\/]|.*\\")  # start of a path with a drive letter or a backslash

UNTIMED = (
    "a part of a folder of images cannot be cut, because nothing tells how long the images last; name the column of "
    "their sounds in `dataset.audio`, or give each part a folder of its own and remove `dataset.begin` and "
    "`dataset.end`"
)

Kinds = tuple[tuple[str, Literal["audio", "video", "images"]], ...]  # modality, kind of its source


class RowFiles(Mapping[str, Source]):
    """Sources of a row, made when they are asked for: a table may have a million rows, and a path takes 400 bytes.

    Args:
        path: function from a cell to the path of its file.
        cells: cell of each modality.
        kinds: each modality and the kind of its source.
        begin_s, end_s: the part of the files, in seconds.
    """

    __slots__ = ("_begin_s", "_cells", "_end_s", "_kinds", "_path")

    def __init__(
        self, path: Callable[[str], str], cells: Sequence[str], kinds: Kinds, begin_s: float, end_s: float | None
    ) -> None:
        self._path, self._cells, self._kinds = path, cells, kinds
        self._begin_s, self._end_s = begin_s, end_s

    def __getitem__(self, modality: str) -> Source:
        for (name, kind), cell in zip(self._kinds, self._cells, strict=True):
            if name == modality:
                return self._source(kind, cell)
        raise KeyError(modality)

    def _source(self, kind: Literal["audio", "video", "images"], cell: str) -> Source:
        part = self._begin_s, self._end_s
        timed_by = self["audio"].paths[0] if kind == "images" and "audio" in list(self) else None
        return Source(kind, (Path(self._path(cell)),), *part, timed_by)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)

    def __reduce__(self) -> tuple[type, tuple[dict[str, Source]]]:
        return dict, (dict(self),)  # for workers in other processes

    def __repr__(self) -> str:
        return repr(dict(self))


class TableFiles:
    """Files of a table's rows, each looked up once.

    Args:
        folder: folder of the table, from which relative paths start.
        kinds: modality -> kind of its source if the path is a file.
        allow_outside: whether files may lie outside the folder.
    """

    def __init__(self, folder: Path, kinds: Mapping[str, Literal["audio", "video"]], *, allow_outside: bool) -> None:
        tops = {str(folder), str(folder.resolve())}  # either may be written in the table
        self._folder = str(folder)
        self._starts = None if allow_outside else tuple(top.rstrip("/") + "/" for top in tops)
        self._of_files: Kinds = tuple(kinds.items())
        self._kinds: dict[Kinds, Kinds] = {}  # those of all rows so far: rows share them
        self._is_folder = lru_cache(RECENT)(self._check)

    def find(self, cells: tuple[str, ...], begin_s: float, end_s: float | None) -> RowFiles | None:
        """Return the sources of a row, or None if a file is missing.

        Args:
            cells: path of each modality.
            begin_s, end_s: the part of the files, in seconds; an end of None is the end of the files.

        Raises:
            ValueError: if a path leaves the folder or is written as on Windows, or a folder of images has no length.
        """
        folders = [self._is_folder(cell) for cell in cells]
        if None in folders:
            return None
        kinds = self._of_files
        if True in folders:
            kinds = tuple(
                (modality, "images" if is_folder and kind == "video" else kind)
                for (modality, kind), is_folder in zip(kinds, folders, strict=True)
            )
        files = RowFiles(self._path, cells, self._kinds.setdefault(kinds, kinds), begin_s, end_s)
        if True in folders and any(s.kind == "images" and s.is_part and not s.timed_by for s in files.values()):
            raise ValueError(UNTIMED)
        return files

    def _path(self, cell: str) -> str:
        path = os.path.join(self._folder, cell)
        return path if self._starts is None else os.path.normpath(path)

    def _check(self, cell: str) -> bool | None:
        """Return whether a cell names a folder, or None if there is nothing."""
        path = self._path(cell)
        is_outside = self._starts is not None and not path.startswith(self._starts)
        is_folder = None if is_outside else _is_folder(path)
        if is_folder is None and WINDOWS.match(cell):
            raise ValueError(
                f"there is no file {cell}, which looks like a path on Windows; write it with /, and without a drive "
                f"letter, relative to the table's folder"
            )
        if is_outside:
            raise ValueError(
                f"{cell} lies outside the table's folder; if you trust the table, set `dataset.allow_outside: true`"
            )
        return is_folder


def _is_folder(path: str) -> bool | None:
    """Return whether a path is a folder, or None if nothing can be reached there."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (OSError, ValueError):  # ValueError: a path with a NUL character
        return None
