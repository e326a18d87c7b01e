"""Ray starts in unusual environments, and gets a second attempt; if it does not start, a script can tell."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from search.backend import private_ray
from search.backend.ray_start import RayStartError, start_with_retry
from search.run.disk import PlaceError
from tests.support import ROOT
from tests.support.searches import own
from tests.support.tells import tells

CODE = "from search.backend.cluster import local_ray\nwith local_ray(cpus=1): print('started')\n"
READS = "--inh-caps +dac_read_search --ambient-caps +dac_read_search"  # the interpreter may be root's
NO_ACCOUNT = f"setpriv --reuid 54321 --regid 54321 --clear-groups {READS}"


def started(before: str, folder: Path, code: str = CODE) -> subprocess.CompletedProcess[str]:
    """Start a local Ray in a new process, after `before` in a shell with mounts of its own."""
    python = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)}"
    words = ["bash", "-c", f"{before} {python}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ours = ("RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE")  # of a Ray in this process
    clean = {name: value for name, value in environment.items() if name not in ours}
    if "mount" in before:
        words = ["unshare", "--mount", *words]
    return subprocess.run(words, cwd=folder, env=clean, capture_output=True, text=True, check=False, timeout=120)


def can_mount() -> bool:
    """Return whether this user may have mounts of its own, as in most containers' root."""
    tool = shutil.which("unshare")
    return tool is not None and subprocess.run([tool, "-m", "true"], capture_output=True, check=False).returncode == 0


roots = pytest.mark.skipif(not can_mount(), reason="only root can mount file systems and become another user")
LONG = "a" * 80
ENVIRONMENTS = {
    "long TMPDIR": f"mkdir {LONG} && TMPDIR=$PWD/{LONG}",
    "long TMPDIR of few letters": "mkdir ééééééééééééééééééééééé; TMPDIR=$PWD/ééééééééééééééééééééééé",
    "relative TMPDIR": "TMPDIR=.",
    "no TMPDIR": "TMPDIR=$PWD/none",
    "TMPDIR is a file": "touch file; TMPDIR=$PWD/file",
    "HOME not writable": "HOME=/proc/no",
    "XDG not writable": "XDG_CACHE_HOME=/proc/no XDG_CONFIG_HOME=/proc/no XDG_RUNTIME_DIR=/proc/no",
    "caches not writable": "MPLCONFIGDIR=/proc/no NUMBA_CACHE_DIR=/proc/no",
    "read-only TMPDIR": "mkdir ro; mount -t tmpfs -o ro none ro; TMPDIR=$PWD/ro",
    "full TMPDIR": "mkdir full; mount -t tmpfs -o size=8k none full; head -c 9k /dev/zero > full/x; TMPDIR=$PWD/full",
    "small shared memory": "mount -t tmpfs -o size=64m none /dev/shm;",
    "read-only shared memory": "mount -t tmpfs -o ro none /dev/shm;",
    "no account, no home": f"env -u HOME -u USER -u TMPDIR {NO_ACCOUNT}",
}
OFTEN = ("read-only shared memory", "no account, no home")


def marks_of(name: str, before: str) -> list[pytest.MarkDecorator]:
    needs_root = "mount" in before or "setpriv" in before
    return [*([roots] if needs_root else []), *([] if name in OFTEN else [pytest.mark.longer])]


@pytest.mark.slow
@pytest.mark.parametrize(
    "before", [pytest.param(before, id=name, marks=marks_of(name, before)) for name, before in ENVIRONMENTS.items()]
)
def test_it_starts_in_an_unusual_environment(tmp_path, before):
    done = started(before, tmp_path)
    assert (done.returncode, done.stdout) == (0, "started\n"), done.stderr
    assert done.stderr == "" or "head:" in done.stderr


def test_where_no_place_for_temporary_files_can_be_used_all_are_named(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", f"/{LONG}")
    monkeypatch.setattr(private_ray, "SHORT", ("/proc", "/none"))
    with pytest.raises(PlaceError) as told:
        private_ray.private_folder.__wrapped__()
    tells(str(told.value), "TMPDIR", LONG, "/proc (", "/none (No such file or directory)", "at most 15 bytes")


def test_a_first_failure_is_not_told():
    attempts = []

    def start() -> None:
        attempts.append("one")
        if len(attempts) == 1:
            raise RuntimeError("The current node timed out during startup.")

    start_with_retry(start)
    assert len(attempts) == 2


def test_a_second_failure_is_told_with_its_reason_in_one_line():
    def start() -> None:
        raise RuntimeError("the raylet failed\nmore")

    with pytest.raises(RayStartError, match=r"\(the raylet failed\)"):
        start_with_retry(start)


OBSTRUCTED = """
import sys
from search.backend.private_ray import private_folder
(private_folder() / "ray").touch()  # Ray needs a folder there
from search.cli.main import search_command
search_command(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_search_whose_ray_does_not_start_has_an_exit_code_of_its_own_and_leaves_no_run(tmp_path):
    own("Vectors", tmp_path)
    ours = ("RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE")
    clean = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(
        [sys.executable, "-c", OBSTRUCTED, "own.yaml"],
        cwd=tmp_path,
        env={**clean, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 75, done.stderr
    tells(done.stderr.splitlines()[-1], "Ray did not start", "2 attempts", "File exists", "Repeat")
    assert not (tmp_path / "runs" / "own").exists()


KILLER = """
import threading
import psutil

def kill():
    while not (found := [child for child in psutil.Process().children() if child.name() == "gcs_server"]):
        pass
    found[0].kill()

threading.Thread(target=kill).start()
"""


@pytest.mark.slow
@pytest.mark.longer
def test_a_ray_whose_process_is_killed_while_it_starts_is_started_again(tmp_path):
    """Ray waits for half a minute for it."""
    done = started("", tmp_path, KILLER + CODE)
    assert (done.returncode, done.stdout) == (0, "started\n"), done.stderr
