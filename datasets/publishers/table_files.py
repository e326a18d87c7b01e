"""Files that the cells of a table name."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

from datasets.index.clips import Source

RECENT = 4096  # files to remember: rows of one file often follow each other
WINDOWS = re.compile(r"[A-Za-z]:[\\/]|.*\\")  # beginning of a path with a drive letter or a backslash

Files = Mapping[str, Source]  # modality -> its source


class _Place(NamedTuple):
    """Path of a cell, and whether there is a folder, a file or nothing (None)."""

    paths: tuple[Path, ...]
    is_folder: bool | None


class TableFiles:
    """Files of a table's rows, each looked up once.

    Args:
        folder: folder of the table, from which relative paths start.
        kinds: modality -> kind of its source if the path is a file.
        allow_outside: whether files may lie outside the folder.
    """

    def __init__(self, folder: Path, kinds: Mapping[str, Literal["audio", "video"]], *, allow_outside: bool) -> None:
        tops = {str(folder), str(folder.resolve())}  # either may be written in the table
        self._folder, self._kinds = str(folder), kinds
        self._inside = () if allow_outside else tuple(top.rstrip("/") + "/" for top in tops)
        self._place = lru_cache(RECENT)(self._find_place)
        self.find = lru_cache(RECENT)(self._find)

    def _find(self, cells: Sequence[str], begin_s: float, end_s: float | None) -> Files | None:
        """Return the sources of a row, or None if a file is missing.

        Args:
            cells: path of each modality.
            begin_s, end_s: the part of the files, in seconds; an end of None is the end of the files.

        Raises:
            ValueError: if a path leaves the folder, or is written as on Windows.
        """
        places = [self._place(cell) for cell in cells]
        if any(place.is_folder is None for place in places):
            return None
        return {
            modality: Source("images" if place.is_folder and kind == "video" else kind, place.paths, begin_s, end_s)
            for (modality, kind), place in zip(self._kinds.items(), places, strict=True)
        }

    def _find_place(self, cell: str) -> _Place:
        path = os.path.join(self._folder, cell)
        if self._inside:
            path = os.path.normpath(path)
        is_folder = _is_folder(path)
        if is_folder is None and WINDOWS.match(cell):
            raise ValueError(
                f"there is no file {cell}, which looks like a path on Windows; write it with /, and without a drive "
                f"letter, relative to the table's folder"
            )
        if self._inside and not path.startswith(self._inside):
            raise ValueError(
                f"{cell} lies outside the table's folder; if you trust the table, set `dataset.allow_outside: true`"
            )
        return _Place(() if is_folder is None else (Path(path),), is_folder)


def _is_folder(path: str) -> bool | None:
    """Return whether a path is a folder, or None if nothing can be reached there."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (OSError, ValueError):  # ValueError: a path with a NUL character
        return None
