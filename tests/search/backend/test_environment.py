"""Environment variables for Ray are set before any module can import it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support import ROOT


@pytest.mark.parametrize("module", ["search.cli.main", "search.backend.cluster"])
def test_what_ray_reads_is_set_before_it_is_imported(module):
    """Otherwise each worker of a program started with `uv run` runs `uv run` too, in a copy of the folder."""
    code = f"""
import sys

class Watch:
    def find_spec(self, name, path, target=None):
        if name == "ray":
            import os
            print("before Ray:", os.environ.get("RAY_ENABLE_UV_RUN_RUNTIME_ENV"))

sys.meta_path.insert(0, Watch())
import {module}
import ray
"""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "TUNE_"))}
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=clean, text=True, capture_output=True, check=True
    )
    assert found.stdout == "before Ray: 0\n"
