"""This program's own code: the folder that holds it, its packages, and its description.

`search.cli.requirements` imports this file under old versions of Python: its syntax is that of Python 3.7.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ENDINGS = (".yaml", ".yml")  # of experiment files
PACKAGES = ("ogmge", "datasets", "search")


def project() -> dict[str, Any]:
    """Return the section `project` of pyproject.toml: name, version and more."""
    import tomllib  # not in old versions of Python

    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found
