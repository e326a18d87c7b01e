"""Searches in processes of their own, each with a Ray of its own: killed, interrupted, stopped at once."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from search.record import Journal
from search.tracking.store import INTERRUPTED
from tests.test_search import DEMO, QUICK, ROOT, children, own, search


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "run_search.py"), *arguments]
    return subprocess.Popen(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def wait_for_epochs(folder: Path, process: subprocess.Popen[str], epochs: int) -> None:
    journal = folder / "runs" / "demo" / "tune" / "journal.jsonl"
    wait_for(process, lambda: journal.exists() and journal.read_text().count('"reported"') >= epochs)


def wait_for(process: subprocess.Popen[str] | None, what: Callable[[], bool]) -> None:
    until = time.monotonic() + 300
    while not what():
        assert process is None or process.poll() is None, process.stdout.read()
        assert time.monotonic() < until, "nothing came of it within five minutes"
        time.sleep(0.1)


def check_resumed(folder: Path) -> None:
    """The whole search is there, each epoch of each trial once."""
    parent, trials, client = children(folder, "demo")
    assert parent.info.status == "FINISHED"
    assert len(trials) == 6
    for run in trials:
        steps = [m.step for m in client.get_metric_history(run.info.run_id, "val/loss")]
        assert steps == list(range(len(steps)))
        assert run.info.status in ("FINISHED", "KILLED")
        assert run.data.tags.get("stop_reason") != INTERRUPTED


def test_a_search_that_was_killed_goes_on(ray_instance, tmp_path, monkeypatch):
    process = start(tmp_path, DEMO, *QUICK)
    wait_for_epochs(tmp_path, process, 5)
    process.kill()
    process.wait()
    known = [len(t.epochs) for t in Journal(tmp_path / "runs/demo/tune/journal.jsonl").replay()]
    assert sum(known) >= 5
    monkeypatch.chdir(tmp_path)
    resumed = search(DEMO, *QUICK, "--resume")
    assert resumed.exit_code == 0, resumed.output
    check_resumed(tmp_path)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=[pytest.mark.slow, pytest.mark.longer])]
)
def test_a_search_that_is_interrupted_says_how_to_go_on(ray_instance, tmp_path, monkeypatch, number):
    process = start(tmp_path, DEMO, *QUICK)
    wait_for_epochs(tmp_path, process, 3)
    process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    begin, *middle, last = [line for line in output.splitlines() if line]
    assert begin == "demo: 6 trials, starting Ray and MLflow; Ctrl-C stops, --resume goes on"
    stopping = "stopping: each trial ends with the epoch it is at. Ctrl-C again stops at once, and costs these epochs"
    assert [line for line in middle if not re.match(r"\[\d/6\] ", line)] == [stopping]  # and no word of Ray's
    go_on = f"uv run run_search.py {shlex.join([DEMO, *QUICK])} --resume"
    assert last == f"interrupted; what was done is kept. Go on with:  {go_on}"
    parent, trials, _ = children(tmp_path, "demo")
    assert parent.info.status == "KILLED"
    assert INTERRUPTED in {run.data.tags.get("stop_reason") for run in trials}
    assert "RUNNING" not in {run.info.status for run in trials}
    monkeypatch.chdir(tmp_path)
    assert search(DEMO, *QUICK, "--resume").exit_code == 0
    check_resumed(tmp_path)


@pytest.mark.slow
def test_ctrl_c_a_second_time_stops_at_once(ray_instance, tmp_path, monkeypatch):
    """Within an epoch that would take ten minutes; none of Ray's processes stays."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    process = start(tmp_path, own("Endless", tmp_path), f"dataset.marker={tmp_path / 'reading'}")
    wait_for(process, (tmp_path / "reading").exists)
    process.send_signal(signal.SIGINT)
    first = process.stdout.readline()
    while "stopping" not in first:
        first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert output.strip() == (
        "stopped at once; what was done is kept. --resume goes on with a search, the same command with a confirmation"
    )
    wait_for(None, lambda: not alive(int((tmp_path / "reading").read_text())))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reading").write_text("over")
    resumed = search(own("Endless", tmp_path), f"dataset.marker={tmp_path / 'reading'}", "--resume")
    assert resumed.exit_code == 0, resumed.output
    _, trials, _ = children(tmp_path, "own")
    assert [run.info.status for run in trials] == ["FINISHED"] * 4


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_another_package_called_datasets_is_named(tmp_path):
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").touch()
    code = (
        "import sys, runpy\n"
        f"sys.path[:0] = [{str(tmp_path)!r}]\n"
        "import datasets\n"
        f"runpy.run_path({str(ROOT / 'run_search.py')!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"the package `datasets` is found at {tmp_path}" in done.stderr
