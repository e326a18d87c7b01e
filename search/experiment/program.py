"""This program's own code: the folder that holds it, and its packages.

`search.cli.requirements` imports this file under old versions of Python: its syntax is that of Python 3.7.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("ogmge", "datasets", "search")
