"""Confirmations in separate processes, interrupted and killed: each training counts exactly once."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from search.run.journal import Journal
from search.run.trials import TrialRecord
from search.tracking.client import INTERRUPTED
from tests.search.commands.test_confirm import journal_of, verdict_in
from tests.support import ROOT
from tests.support.searches import ONE_WORKER, children, command, own, search, start, wait_for
from tests.support.start_commands import OTHER, SEARCH
from tests.support.tells import tells

pytestmark = pytest.mark.slow

CONFIRM = ["confirm", "own", "--seeds", "3"]
EPOCHS = 4
SEARCHED = ["own.yaml", "search.trials=2", f"trial.epochs={EPOCHS}", "dataset.seconds=0.2", ONE_WORKER]


def wait_for_trainings(folder: Path, process: subprocess.Popen[str], ended: int, epochs: int) -> None:
    """Wait until some trainings have ended and some further epochs are trained."""

    def there() -> bool:
        text = journal_of(folder).read_text() if journal_of(folder).exists() else ""
        done = [match.end() for match in re.finditer('"event": "ended"', text)]
        return len(done) >= ended and text.count('"reported"', done[ended - 1]) >= epochs

    wait_for(process, there)


def trainings(folder: Path) -> list[TrialRecord]:
    return list(Journal(journal_of(folder)).replay())


def epochs_read(folder: Path) -> Counter[tuple[int, int]]:
    """Return how often each epoch of each fresh seed was trained."""
    lines = [tuple(map(int, line.split())) for line in (folder / "read.txt").read_text().splitlines()]
    return Counter((seed, epoch) for seed, epoch in lines if seed)


@pytest.fixture(scope="module")
def searched(ray_instance: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searched")
    own("Logged", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert search(*SEARCHED).exit_code == 0
    return folder


@pytest.fixture(scope="module")
def whole(searched: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The search, confirmed without interruption."""
    folder = tmp_path_factory.mktemp("whole") / "copy"
    shutil.copytree(searched, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert command(*CONFIRM).exit_code == 0
    return folder


@pytest.fixture
def here(searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(searched, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def check_confirmed(folder: Path, whole: Path, before: list[TrialRecord]) -> None:
    """Assert that the result is complete and equals that of an uninterrupted run, and that no training was repeated."""
    assert verdict_in(folder) == verdict_in(whole)
    now = trainings(folder)
    assert [(t.arm, t.internal, t.changes) for t in now] == [(t.arm, t.internal, t.changes) for t in trainings(whole)]
    for trial in before:
        assert now[trial.number].epochs[: len(trial.epochs)] == trial.epochs
    events = [json.loads(line) for line in journal_of(folder).read_text().splitlines()]
    told = Counter((e["number"], e["metrics"]["epoch"]) for e in events if e["event"] == "reported")
    assert told == Counter((t.number, epoch) for t in now for epoch in range(EPOCHS))
    parent, runs, client = children(folder, "own")
    assert (parent.info.status, parent.data.tags["verdict"]) == ("FINISHED", verdict_in(whole)["word"])
    own = [run for run in runs if run.data.tags["kind"] == "confirmation"]
    assert Counter(run.data.tags["trial"] for run in own) == Counter(str(t.number) for t in now)
    for run in own:
        history = client.get_metric_history(run.info.run_id, "val/accuracy")
        assert sorted(m.step for m in history) == list(range(EPOCHS))
        assert run.info.status == "FINISHED"
        assert "stop_reason" not in run.data.tags


def test_one_that_is_interrupted_and_then_killed_trains_again_what_it_was_at_when_killed_and_nothing_else(here, whole):
    process = start(here, "-m", "search", *CONFIRM)
    wait_for_trainings(here, process, ended=1, epochs=2)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    *_, told, last = [line for line in output.splitlines() if line]
    tells(told, "interrupted", "Resume with:")
    assert last.strip() == f"{OTHER} {shlex.join(CONFIRM)}"
    interrupted = trainings(here)
    assert not all(trial.is_over for trial in interrupted)
    assert not (here / "runs" / "own" / "verdict.json").exists()
    parent, runs, _ = children(here, "own")
    assert parent.info.status == "KILLED"
    assert "RUNNING" not in {run.info.status for run in runs}
    assert INTERRUPTED in {run.data.tags.get("stop_reason") for run in runs}

    process = start(here, "-m", "search", *CONFIRM)
    wait_for_trainings(here, process, ended=3, epochs=1)
    process.kill()
    process.communicate()
    killed = trainings(here)
    running = [trial for trial in killed if not trial.is_over]
    assert running
    result = command(*CONFIRM)
    assert result.exit_code == 0, result.output
    for before in (interrupted, killed):
        check_confirmed(here, whole, before)
    again = epochs_read(here) - epochs_read(whole)
    at = Counter((t.changes["seed"], epoch) for t in running for epoch in range(len(t.epochs), EPOCHS))
    assert not again - at


@pytest.mark.longer
def test_one_at_the_end_of_a_search_goes_on_with_the_search_s_command(ray_instance, tmp_path, monkeypatch):
    """`confirm` continues it as well."""
    own("Logged", tmp_path)
    process = start(tmp_path, str(ROOT / "run_search.py"), *SEARCHED, "confirm.seeds=2")
    wait_for_trainings(tmp_path, process, ended=1, epochs=1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    go_on = f"{SEARCH} {shlex.join([*SEARCHED, 'confirm.seeds=2', '--resume'])}"
    *_, told, last = output.splitlines()
    tells(told, "interrupted", "Resume with:")
    assert last.strip() == go_on
    before = trainings(tmp_path)
    shutil.copytree(tmp_path, tmp_path / "other")
    monkeypatch.chdir(tmp_path / "other")
    assert command("confirm", "own").exit_code == 0
    monkeypatch.chdir(tmp_path)
    assert search(*SEARCHED, "confirm.seeds=2", "--resume").exit_code == 0
    check_confirmed(tmp_path, tmp_path / "other", before)
    assert epochs_read(tmp_path) == epochs_read(tmp_path / "other")
