"""Hidden files, and those that operating systems and network disks leave in folders: they are no data."""

from __future__ import annotations

from collections.abc import Collection

from datasets.index.list_files import count

SYSTEM = {
    "__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information",
    "@eadir", "#recycle", "lost+found",
}  # fmt: skip
SHOWN = 3  # names in a note


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden (`._frame1.jpg`, `.DS_Store`) or the system's own (`Thumbs.db`)."""
    return name.startswith(".") or name.casefold() in SYSTEM


def hidden_note(names: Collection[str]) -> str:
    """Return a note on hidden files.

    >>> hidden_note([".DS_Store"]), hidden_note(["._4.jpg", "._1.jpg", "._2.jpg", "._3.jpg"])
    ('hidden files are skipped: 1 file (.DS_Store)', 'hidden files are skipped: 4 files (._1.jpg, ._2.jpg, ._3.jpg, …)')
    """
    some = sorted(names)[:SHOWN] + ["…"] * (len(names) > SHOWN)
    return f"hidden files are skipped: {count(len(names), 'file')} ({', '.join(some)})"
