"""Searches in separate processes, each with its own Ray: killed, interrupted, stopped immediately."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from search.run.journal import read
from search.tracking.client import INTERRUPTED
from tests.support import ROOT
from tests.support.searches import ONE_WORKER, STOPPING, children, own, search, start, wait_for
from tests.support.start_commands import SEARCH
from tests.support.tells import tells

RUN = str(ROOT / "run_search.py")
SLOW = ["own.yaml", *STOPPING, "dataset.seconds=0.2", ONE_WORKER]
SLOWER = ["own.yaml", *STOPPING, "dataset.seconds=1", ONE_WORKER]  # outlasts several looks at Ray's processes


@pytest.fixture
def here(ray_instance: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder with an experiment whose epochs take a moment."""
    own("Logged", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def epochs_in(folder: Path) -> int:
    return sum(len(trial.epochs) for trial in read(folder / "runs" / "own" / "tune" / "journal.jsonl"))


def wait_for_epochs(folder: Path, process: subprocess.Popen[str], epochs: int) -> None:
    wait_for(process, lambda: epochs_in(folder) >= epochs)


def check_resumed(folder: Path) -> None:
    """Assert that the search is complete, with each epoch of each trial once."""
    parent, trials, client = children(folder, "own")
    assert parent.info.status == "FINISHED"
    assert len(trials) == 6
    for run in trials:
        steps = [m.step for m in client.get_metric_history(run.info.run_id, "val/loss")]
        assert steps == list(range(len(steps)))
        assert run.info.status in ("FINISHED", "KILLED")
        assert run.data.tags.get("stop_reason") != INTERRUPTED


@pytest.mark.slow
@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, *(pytest.param(each, marks=pytest.mark.longer) for each in (signal.SIGTERM, signal.SIGHUP))],
)
def test_a_search_that_is_interrupted_says_how_to_go_on_and_does_even_where_that_is_killed(here, number):
    process = start(here, RUN, *SLOW)
    wait_for_epochs(here, process, 3)
    process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    begin, *middle, told, last = [line for line in output.splitlines() if line]
    tells(begin, "own", "6 trials")
    (stopping,) = [line for line in middle if not re.match(r"\[\d/6\] ", line)]  # and no output of Ray
    tells(stopping, "stopping", "Ctrl-C")
    tells(told, "interrupted", "Resume with:")
    assert last.strip() == f"{SEARCH} {shlex.join(SLOW)} --resume"
    parent, trials, _ = children(here, "own")
    assert parent.info.status == "KILLED"
    assert INTERRUPTED in {run.data.tags.get("stop_reason") for run in trials}
    assert "RUNNING" not in {run.info.status for run in trials}

    trained = epochs_in(here)
    process = start(here, RUN, *SLOW, "--resume")
    wait_for_epochs(here, process, trained + 3)
    process.kill()
    process.wait()
    assert epochs_in(here) >= trained + 3
    resumed = search(*SLOW, "--resume")
    assert resumed.exit_code == 0, resumed.output
    check_resumed(here)


@pytest.mark.slow
def test_ctrl_c_a_second_time_stops_at_once(here):
    """It stops within an epoch that would take ten minutes, and none of Ray's processes remains."""
    words = [own("Endless", here), f"dataset.marker={here / 'reading'}", ONE_WORKER]
    process = start(here, RUN, *words)
    wait_for(process, (here / "reading").exists)
    process.send_signal(signal.SIGINT)
    first = process.stdout.readline()
    while "stopping" not in first:
        first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    (line,) = output.strip().splitlines()
    tells(line, "stopped at once", "--resume")
    wait_for(None, lambda: not alive(int((here / "reading").read_text())))
    (here / "reading").write_text("over")
    resumed = search(*words, "--resume")
    assert resumed.exit_code == 0, resumed.output
    _, trials, _ = children(here, "own")
    assert [run.info.status for run in trials] == ["FINISHED"] * 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["raylet", pytest.param("gcs_server", marks=pytest.mark.longer)])
def test_a_search_whose_ray_dies_ends_with_a_sentence_and_is_resumed(here, name):
    process = start(here, RUN, *SLOWER)
    wait_for_epochs(here, process, 3)
    family = psutil.Process(process.pid).children(recursive=True)
    next(child for child in family if child.name() == name).kill()
    output, _ = process.communicate(timeout=60)  # it would wait forever
    assert process.returncode == 1
    last = output.splitlines()[-1]
    tells(last, "Ray has stopped working", f"`{name}`", "--resume")
    psutil.wait_procs(family, timeout=30)
    assert [child for child in family if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []
    resumed = search(*SLOWER, "--resume")
    assert resumed.exit_code == 0, resumed.output
    check_resumed(here)


SHORT = ["own.yaml", "dataset.seconds=0.2", "search.resources={cpu: 1, gpu: 0}"]


@pytest.mark.slow
@pytest.mark.longer
def test_a_trial_whose_worker_is_stopped_waits_and_is_repeated_once_that_is_killed(here):
    """The other trials go on, and end before."""
    process = start(here, RUN, *SHORT)
    wait_for_epochs(here, process, 2)
    family = psutil.Process(process.pid).children(recursive=True)
    stopped, *_ = [child for child in family if child.name().startswith("ray::ImplicitFunc")]
    stopped.suspend()
    journal = here / "runs" / "own" / "tune" / "journal.jsonl"
    wait_for(process, lambda: read(journal).over_count == 3)
    stopped.kill()
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert [trial.status for trial in read(journal)] == ["finished"] * 4
    for trial in read(journal):
        assert [epoch["epoch"] for epoch in trial.epochs] == [0, 1, 2]


@pytest.mark.slow
@pytest.mark.longer
def test_a_trial_whose_folder_is_deleted_goes_on_and_begins_again_if_that_happens_before_a_resume(here):
    tune = here / "runs" / "own" / "tune"
    process = start(here, RUN, *SLOW)
    wait_for_epochs(here, process, 2)
    shutil.rmtree(tune / "0000")
    wait_for_epochs(here, process, 6)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    for trial in read(tune / "journal.jsonl"):
        if not trial.is_over:
            shutil.rmtree(tune / f"{trial.number:04d}", ignore_errors=True)
    resumed = search(*SLOW, "--resume")
    assert resumed.exit_code == 0, resumed.output
    check_resumed(here)


@pytest.mark.slow
def test_a_search_whose_folder_is_deleted_ends_with_a_sentence_and_can_begin_again(here):
    process = start(here, RUN, *SLOW)
    wait_for_epochs(here, process, 2)
    shutil.rmtree(here / "runs" / "own", ignore_errors=True)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2, output
    tells(output.splitlines()[-1], "runs/own was deleted", "without --resume")
    assert not (here / "runs" / "own").exists()


@pytest.mark.slow
@pytest.mark.longer
def test_a_search_that_is_resumed_with_other_code_says_what_has_changed(here):
    (here / "mine.py").write_text("from tests.support.own_data import Vectors as Clips\n")
    words = ["own.yaml", "dataset={name: 'mine:Clips'}", ONE_WORKER]
    outputs = []
    for trials in (2, 3, 4):
        resumed = [] if trials == 2 else ["--resume"]
        process = start(here, RUN, *words, f"search.trials={trials}", *resumed)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
        outputs.append("the code has changed" in output)
        if trials == 2:
            with (here / "mine.py").open("a") as module:
                module.write("CHANGED = True\n")
        else:
            assert ("your module mine." in output) is (trials == 3)
    assert outputs == [False, True, False]


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
    tells(done.stderr, "`datasets`", tmp_path, ROOT / "datasets")
