"""Limits of the shell under which torch would abort, or Ray hang."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.searches import ONE_WORKER, own
from tests.support.tells import tells

PYTHON = f"PYTHONPATH={shlex.quote(str(ROOT))} {shlex.quote(sys.executable)}"


def limited(limit: str, arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder after `ulimit`."""
    line = f"ulimit {limit} && {PYTHON} {arguments}"
    return subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("kibibytes", [2_000_000, 4_000_000])
def test_a_command_with_too_little_address_space_ends_with_a_sentence(tmp_path, kibibytes):
    own("Vectors", tmp_path)
    done = limited(f"-v {kibibytes}", "-m search check own.yaml", tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    tells(line, "address space", f"{kibibytes / 2**20:.1f} GiB", "4 GiB", "`ulimit -v unlimited`")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "facts"),
    [
        ("-v 6000000", ["5.7 GiB", "8 GiB", "`ulimit -v unlimited`"]),
        pytest.param("-n 256", ["256 files", "1,024", "`ulimit -Hn"], marks=pytest.mark.longer),
    ],
)
def test_a_search_under_limits_too_low_for_ray_ends_with_a_sentence_and_leaves_no_run(tmp_path, limit, facts):
    own("Vectors", tmp_path)
    words = shlex.join([str(ROOT / "run_search.py"), "own.yaml", ONE_WORKER])
    done = limited(limit, words, tmp_path)
    assert done.returncode == 2, done.stderr
    tells(done.stderr.splitlines()[-1], *facts)
    assert not (tmp_path / "runs" / "own").exists()


def test_the_limit_on_open_files_is_raised_where_that_is_allowed(tmp_path):
    """macOS starts with 256; the processes of Ray inherit the limit."""
    code = (
        "import resource; from search.backend.limits import open_files_fault; "
        "print(open_files_fault(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    assert limited("-Sn 256", f"-c {shlex.quote(code)}", tmp_path).stdout.split() == ["None", "1024"]
