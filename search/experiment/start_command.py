"""Start of the commands that are printed, for the folder in which the user copies them."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from search.experiment.program import ROOT

NAMES = ("run_search.py", "search")  # in the folder of the clone
PROGRAMS = {ROOT / "run_search.py", ROOT / "search" / "__main__.py"}
SHORT = re.compile(r"\buv run (run_search\.py|python -m search)(?![\w.])")


def as_argument(file: str | Path) -> str:
    """Return a file as an argument of a command, which must not look like an option.

    >>> as_argument(Path("runs/t/best.yaml")), as_argument("-x/mine.yaml")
    ('runs/t/best.yaml', './-x/mine.yaml')
    """
    return f"./{file}" if str(file).startswith("-") else str(file)


def start_from_here(text: str) -> str:
    """Return a text whose commands, written as in the folder of the clone, work in the working folder.

    Nothing changes in the clone, in a folder that links to its programs, or if another program has imported this one.
    """
    if all(Path(name).resolve() == ROOT / name for name in NAMES) or Path(sys.argv[0]).resolve() not in PROGRAMS:
        return text
    root, script = shlex.quote(str(ROOT)), shlex.quote(str(ROOT / "run_search.py"))
    search = f"uv run --project {root} {script}"
    other = f"PYTHONPATH={root} uv run --project {root} python -m search"
    return SHORT.sub(lambda found: search if found[1] == "run_search.py" else other, text)
