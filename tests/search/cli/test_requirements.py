"""The first commands of somebody who has another Python than the project's, or no packages."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.tells import tells

FIRST_FILES = (
    *("run_search.py", "search/__init__.py", "search/__main__.py", "search/cli/__init__.py"),
    *("search/cli/requirements.py", "search/experiment/__init__.py", "search/experiment/program.py"),
)
PROGRAMS = [["run_search.py", "x.yaml"], ["-m", "search", "confirm", "a b"]]
OLD = "import runpy, sys; sys.version_info = (3, 10, 4); sys.version = '3.10.4 (main)'; sys.argv = sys.argv[1:]; "
START = {"run_search.py": "runpy.run_path('run_search.py', run_name='__main__')", "-m": "runpy.run_module('search')"}


def refusal(*words: str) -> str:
    """Run Python in the project's folder; return what it prints on stderr and check that it ends with exit code 2."""
    ended = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


@pytest.mark.parametrize("words", PROGRAMS, ids=lambda words: words[0])
def test_without_packages_the_command_that_installs_them_is_printed(words):
    tells(refusal("-S", *words), "click", sys.executable, "uv run", words[-1])


@pytest.mark.parametrize("words", PROGRAMS, ids=lambda words: words[0])
def test_an_old_python_is_told_which_one_is_expected(words):
    start = OLD + START[words[0]].replace("'search'", "'search', run_name='__main__'")
    tells(refusal("-c", start, *words[-1:]), "3.11", "3.10.4", "uv run")


@pytest.mark.parametrize("file", FIRST_FILES)
def test_what_is_read_before_that_check_is_syntax_of_older_pythons(file):
    ast.parse((ROOT / file).read_text(encoding="utf-8"), feature_version=(3, 7))


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.10"])
def test_a_real_old_python_is_refused(version, tmp_path: Path):
    found = [shutil.which(f"python{version}"), *Path.home().glob(f".pyenv/versions/{version}.*/bin/python")]
    running = [p for p in filter(None, found) if subprocess.run([p, "-c", ""], capture_output=True).returncode == 0]
    if not running:
        pytest.skip(f"Python {version} is not installed")
    python = running[0]
    ended = subprocess.run([python, ROOT / "run_search.py"], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 2
    assert f"is Python {version}." in ended.stderr
    tells(ended.stderr, "3.11", f"uv run --project {ROOT}")
