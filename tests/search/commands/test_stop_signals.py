"""Signals at every moment of a real search, to it alone, to its process group, or to all of its processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from search.run.journal import read
from tests.support import ROOT
from tests.support.searches import ONE_WORKER, own, search, wait_for
from tests.support.tells import tells

WORDS = ["own.yaml", "dataset.seconds=0.2", "search.trials=2", ONE_WORKER]


@dataclass
class Search:
    """A search in a process group of its own, with a folder of its own for temporary files."""

    folder: Path
    process: subprocess.Popen[str]
    temporary: Path

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text()

    @property
    def epochs(self) -> int:
        return sum(len(trial.epochs) for trial in read(self.folder / "runs" / "own" / "tune" / "journal.jsonl"))

    @property
    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def has_process(self, name: str) -> bool:
        with suppress(psutil.NoSuchProcess):
            return any(child.name().startswith(name) for child in self.family)
        return False

    def has_handler(self) -> bool:
        """Return whether it handles SIGTERM."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
        return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Search]]:
    temporary = Path(tempfile.mkdtemp(prefix="s-", dir="/tmp"))  # short, for sockets

    def start(*words: str) -> Search:
        own("Logged", tmp_path)
        with (tmp_path / "output").open("w") as out:
            process = subprocess.Popen(
                [sys.executable, str(ROOT / "run_search.py"), *WORDS, *words],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)},
                text=True,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # the tests may run under `nohup`
            )
        return Search(tmp_path, process, temporary)

    yield start
    shutil.rmtree(temporary, ignore_errors=True)


def to_one(search: Search, number: int) -> None:
    search.process.send_signal(number)


def to_group(search: Search, number: int) -> None:
    os.killpg(search.process.pid, number)


def to_all(search: Search, number: int) -> None:
    """As Slurm and systemd do."""
    for process in [*search.family, psutil.Process(search.process.pid)]:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def trial_ends(number: int) -> Callable[[Search], bool]:
    return lambda search: f"[{number}/2]" in search.output


MOMENTS: dict[str, Callable[[Search], bool]] = {
    "imports": Search.has_handler,
    "checks": lambda search: (search.folder / "runs").exists(),
    "before Ray": lambda search: "starting Ray" in search.output,
    "gcs": lambda search: search.has_process("gcs_server"),
    "raylet": lambda search: search.has_process("raylet"),
    "worker": lambda search: search.has_process("ray::"),
    "first epoch": lambda search: search.epochs >= 1,
    "first trial": trial_ends(1),
    "last trial": trial_ends(2),
    "report": lambda search: (search.folder / "runs" / "own" / "report.html").exists(),
}
SLOW = pytest.mark.slow
LONGER = (pytest.mark.slow, pytest.mark.longer)
IN_SLOW = {("gcs", to_one)}


@pytest.mark.parametrize(
    ("moment", "send"),
    [
        pytest.param(moment, send, marks=() if moment == "imports" else SLOW if (moment, send) in IN_SLOW else LONGER)
        for moment in MOMENTS
        for send in (to_one, to_group, to_all)
    ],
)
def test_a_search_that_is_stopped_at_any_moment_ends_with_a_sentence_that_is_true(begin, moment, send):
    search = begin()
    wait_for(None, lambda: MOMENTS[moment](search) or search.process.poll() is not None)
    family = search.family
    send(search, signal.SIGTERM)
    code = search.process.wait(60)
    assert "Traceback" not in search.output
    assert "***" not in search.output  # Ray's dump of a stack
    psutil.wait_procs(family, timeout=30)
    assert [child for child in family if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []
    assert list(search.temporary.glob("ogmge-*")) == []
    if code == 0:  # the signal came after the last line
        assert moment == "report"
        assert "next:" in search.output
        return
    assert code == 130, search.output
    _, _, last = search.output.rpartition("interrupted")
    assert last, search.output
    kept = (search.folder / "runs" / "own" / "experiment.yaml").exists()
    assert ("--resume" in last) is kept, search.output
    assert ("nothing was" in last) is not kept


@pytest.mark.slow
def test_after_a_signal_to_its_group_trials_end_their_epoch_and_the_search_resumes(ray_instance, begin, monkeypatch):
    """As `timeout`, a shell or a lost connection sends it."""
    slowly = "dataset.seconds=0.6"  # the signal must arrive before the search has ended
    stopped = begin(slowly)
    wait_for(stopped.process, lambda: stopped.epochs >= 1)
    to_group(stopped, signal.SIGHUP)
    assert stopped.process.wait(60) == 130, stopped.output
    tells(stopped.output, "stopping", "Resume with:")
    monkeypatch.chdir(stopped.folder)
    resumed = search(*WORDS, slowly, "--resume")
    assert resumed.exit_code == 0, resumed.output
    for trial in read(stopped.folder / "runs" / "own" / "tune" / "journal.jsonl"):
        assert [epoch["epoch"] for epoch in trial.epochs] == [0, 1, 2]
