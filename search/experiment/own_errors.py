"""Errors in the user's own code, told with the user's lines and none of ours."""

from __future__ import annotations

import os
import sysconfig
import traceback
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
OURS = tuple(f"{PROJECT / name}{os.sep}" for name in ("search", "ogmge", "datasets"))
LIBRARIES = ("<frozen ", "<string>", *(f"{folder}{os.sep}" for folder in {*sysconfig.get_paths().values()}))


def own_lines(error: BaseException) -> str:
    """Return the lines of a traceback that are in the user's own files; empty if the error is not raised there.

    What libraries raise counts for the file that called them.
    """
    told = traceback.TracebackException.from_exception(error)
    told.stack = traceback.StackSummary.from_list([f for f in told.stack if not f.filename.startswith(LIBRARIES)])
    frames = [frame for frame in told.stack if not _is_ours(frame.filename)]
    syntax = [*told.format_exception_only()][:-1] if isinstance(error, SyntaxError) else []
    if not syntax and not (frames and frames[-1] is told.stack[-1]):
        return ""
    return "".join([*traceback.StackSummary.from_list(frames).format(), *syntax]).rstrip()


def describe(error: BaseException) -> str:
    """Return an error as its type and text, followed by the lines of the user's own files that raised it."""
    said = f"{type(error).__name__}: {error}"
    return f"{said}\n{own_lines(error)}".rstrip()


def _is_ours(filename: str) -> bool:
    return filename.startswith(OURS) or filename == str(PROJECT / "run_search.py")
