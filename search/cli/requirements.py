"""Checks of Python's version and of the installed packages, which need the standard library only.

Both programs import this file first, with whatever Python they are started by: its syntax is that of Python 3.7.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from search.backend.interrupt import handle_imports
from search.experiment.program import PACKAGES, ROOT

OLDEST = (3, 11)
MISTAKE = 2  # exit code


@contextmanager
def checked_requirements(program: str) -> Iterator[None]:
    """Exit with a sentence if Python is too old, or if a package that the body imports is not installed.

    Args:
        program: words that start the program, such as "run_search.py".
    """
    handle_imports()
    try:
        if sys.version_info < OLDEST:
            wanted, found = ".".join(map(str, OLDEST)), sys.version.split()[0]
            _refuse(f"expected Python {wanted} or newer, but {sys.executable} is Python {found}", program)
        yield
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package in PACKAGES:
            raise
        _refuse(f"the package {package} is not installed in {sys.executable}", program)


def _refuse(text: str, program: str) -> None:
    here = Path.cwd()
    project = [] if ROOT in (here, *here.parents) else ["--project", str(ROOT)]
    command = " ".join(map(shlex.quote, ["uv", "run", *project, *program.split(), *sys.argv[1:]]))
    print(f"{text}: start the program with uv, which installs both\n  pip install uv && {command}", file=sys.stderr)
    sys.exit(MISTAKE)
