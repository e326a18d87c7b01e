"""Streams as shells, cron and daemons leave them, and signals that they send."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from search.backend.interrupt import Interrupt, stop_signals
from tests.support import ROOT
from tests.support.searches import command
from tests.support.tells import tells

SEARCH = f"PYTHONPATH={shlex.quote(str(ROOT))} {shlex.quote(sys.executable)} -m search"


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("closed", ["<&-", "1>&-", "2>&-", "<&- 1>&- 2>&-"])
def test_a_command_works_without_standard_streams(tmp_path, closed):
    """A file that it opens does not take the number of a closed stream, and so no message is written into it."""
    done = shell(f"{SEARCH} export nothing {closed}", tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    code = "import search.cli.main, sys; file = open('file', 'w'); print('out'); print('err', file=sys.stderr)"
    words = f"PYTHONPATH={shlex.quote(str(ROOT))} {shlex.quote(sys.executable)} -c {shlex.quote(code)}"
    assert shell(f"{words} {closed}", tmp_path).returncode == 0
    assert (tmp_path / "file").read_text() == ""


def test_a_reader_that_has_gone_ends_a_command_without_a_message(tmp_path):
    check = f"{SEARCH} check {shlex.quote(str(ROOT / 'experiments/demo.yaml'))}"
    done = shell(f"{check} | true; exit ${{PIPESTATUS[0]}}", tmp_path)
    assert done.returncode == 141
    assert (done.stdout, done.stderr) == ("", "")


def test_a_lost_connection_stops_as_ctrl_c_does_unless_it_is_ignored():
    before = signal.getsignal(signal.SIGHUP)
    try:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        assert stop_signals() == [signal.SIGTERM, signal.SIGHUP]
        interrupt = Interrupt()
        with interrupt.handle_signals():
            interrupt.listen()
            assert signal.getsignal(signal.SIGHUP) == interrupt
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
        assert stop_signals() == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("name", ["mlflow.db", "mlflow.db-wal", "mlartifacts", "sheets"])
def test_a_name_that_runs_needs_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text(f"name: {name}\ndataset: {{name: digits}}\n")
    result = command("check", "x.yaml")
    assert result.exit_code == 2
    tells(result.output, "`name`", name, "reserved", "runs/")
