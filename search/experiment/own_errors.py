"""Errors in the user's own code, told with the user's lines and none of ours."""

from __future__ import annotations

import os
import traceback

from ogmge.factories import is_installed
from search.experiment.program import PACKAGES, ROOT

OURS = (*(f"{ROOT / name}{os.sep}" for name in PACKAGES), str(ROOT / "run_search.py"))
WITHOUT_FILE = ("<frozen ", "<string>")  # code of Python itself, and code that a library makes


def own_lines(error: BaseException) -> str:
    """Return the lines of a traceback that are in the user's own files; empty if the error is not raised there.

    What libraries raise counts for the file that called them.
    """
    told = traceback.TracebackException.from_exception(error)
    told.stack = traceback.StackSummary.from_list([f for f in told.stack if not _is_library(f.filename)])
    frames = [frame for frame in told.stack if not frame.filename.startswith(OURS)]
    syntax = [*told.format_exception_only()][:-1] if isinstance(error, SyntaxError) else []
    if not syntax and not (frames and frames[-1] is told.stack[-1]):
        return ""
    return "".join([*traceback.StackSummary.from_list(frames).format(), *syntax]).rstrip()


def describe(error: BaseException) -> str:
    """Return an error as its type and text, followed by the lines of the user's own files that raised it."""
    said = f"{type(error).__name__}: {error}"
    return f"{said}\n{own_lines(error)}".rstrip()


def _is_library(filename: str) -> bool:
    return filename.startswith(WITHOUT_FILE) or is_installed(filename)
