"""One file for each id: folders may hold several of the same name."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)

NAMED = 2  # ids whose files a note names


def one_file_each(
    paths: Iterable[Path], key: Callable[[Path], Key | None], top: Path, own: Sequence[str] = ()
) -> tuple[dict[Key, Path], list[str]]:
    """Return the file of each key, and a note if files were not used.

    Of several files with one key, the one in the first of the data set's own folders counts, else the first.

    Args:
        paths: files, or folders of images.
        key: function from a path to its key; paths with the key None are skipped.
        top: folder that holds the paths.
        own: names of the folders in `top` that the publisher provides, the preferred one first.
    """
    rank = _Rank(top, own)
    files: dict[Key, Path] = {}
    unused: dict[Path, Key] = {}
    for path in paths:
        name = key(path)
        if name is None:
            continue
        used = files.setdefault(name, path)
        if used is not path:
            files[name], other = (path, used) if rank(path) < rank(used) else (used, path)
            unused[other] = name
    pairs = [(files[name], other) for other, name in unused.items() if not rank.is_known(files[name], other)]
    return files, _notes(pairs)


class _Rank:
    """Place of a path's folder among the data set's own folders; the last place for any other."""

    def __init__(self, top: Path, own: Sequence[str]) -> None:
        self._folders = [top / name for name in own]

    def __call__(self, path: Path) -> int:
        places = (place for place, folder in enumerate(self._folders) if folder in path.parents)
        return next(places, len(self._folders))

    def is_known(self, used: Path, other: Path) -> bool:
        """Return whether two own folders hold the files: then the publisher provides the same content twice."""
        return self(used) < self(other) < len(self._folders)


def _notes(pairs: Sequence[tuple[Path, Path]]) -> list[str]:
    if not pairs:
        return []
    named = [f"{used}, not {other}" for used, other in pairs[:NAMED]]
    more = ["…"] if len(pairs) > NAMED else []
    return [f"files not used because another has the same id: {len(pairs):,} (used {'; '.join([*named, *more])})"]
