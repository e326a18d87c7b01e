"""Commands that are printed in another folder than the clone start there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.start_commands import OTHER, SEARCH
from tests.support.tells import tells

TABLE = "name: own\ndataset: {name: table, source: clips.csv, store: store, audio: sound, validation_fraction: 0.5}\n"
FILE = "name: own\ndataset: {name: digits}\nspace: {optimizer.lr: [1e-3, 1e-2]}\n"


def run(line: str, here: Path) -> subprocess.CompletedProcess[str]:
    """Run a command line in a shell, with this Python in the place of `uv run`, which would look for packages."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    found = re.sub(r"\buv run --project \S+ (python )?", f"{shlex.quote(sys.executable)} ", line)
    return subprocess.run(found, shell=True, cwd=here, capture_output=True, text=True, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "code", "printed"),
    [
        (f"{OTHER} check own.yaml", 0, f"{SEARCH} own.yaml"),
        (f"{OTHER} check table.yaml", 1, f"{OTHER} prepare table.yaml"),
        (f"{OTHER} report own.yaml", 2, f"{SEARCH} own.yaml"),
        (f"{OTHER} evaluate own.yaml", 2, f"{OTHER} train own.yaml"),
        (f"{SEARCH} own.yaml search.trials=0", 2, None),
    ],
)
def test_a_printed_command_starts_in_another_folder(tmp_path, typed, code, printed):
    (tmp_path / "own.yaml").write_text(FILE)
    (tmp_path / "table.yaml").write_text(TABLE)
    (tmp_path / "clips.csv").write_text("sound,label,split\na.wav,cat,train\nb.wav,dog,train\n")
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).touch()
    ended = run(typed, tmp_path)
    assert ended.returncode == code, ended.stderr
    if printed:
        tells(ended.stdout + ended.stderr, printed)
        assert "No module" not in run(f"{printed} --help", tmp_path).stderr


def test_where_the_programs_are_commands_are_short(tmp_path):
    (tmp_path / "own.yaml").write_text(FILE)
    for name in ("run_search.py", "search"):
        (tmp_path / name).symlink_to(ROOT / name)
    tells(run(f"{OTHER} report own.yaml", tmp_path).stderr, "`uv run run_search.py own.yaml`")
    tells(run(f"{OTHER} report experiments/demo.yaml", ROOT).stderr, "`uv run run_search.py experiments/demo.yaml`")
