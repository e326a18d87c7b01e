"""Start of the commands that a process prints outside the clone."""

from __future__ import annotations

import shlex

from tests.support import ROOT

PROJECT = shlex.quote(str(ROOT))
SEARCH = f"uv run --project {PROJECT} {shlex.quote(str(ROOT / 'run_search.py'))}"
OTHER = f"PYTHONPATH={PROJECT} uv run --project {PROJECT} python -m search"
