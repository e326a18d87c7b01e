"""Help texts of both programs."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import replace

from search.cli.main import main
from search.experiment.program import ROOT
from tests.wording.catalogue import Chapter, Entry, commanded


def entries() -> Iterator[Entry]:
    yield commanded("The search", "run_search.py --help")
    yield commanded("All other commands", "python -m search --help")
    for name in sorted(main.commands):
        yield commanded(f"The command `{name}`", f"python -m search {name} --help")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    found = commanded("The version", "python -m search --version")
    yield replace(found, printed=found.printed.replace(version, "<version>"))


CHAPTER = Chapter("help_texts", "Help", entries)
