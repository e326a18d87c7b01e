"""The main path without the calls that Linux alone has, as on macOS."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.datasets.test_single_pictures import table
from tests.support import ROOT
from tests.support.searches import DEMO, ONE_WORKER

WITHOUT = ROOT / "tests" / "support" / "without_linux"
PREPARE = """
import os, sys
from pathlib import Path
from datasets.publishers.table import Table
from datasets.store.prepare import prepare
if __name__ == "__main__":
    assert not hasattr(os, "sched_getaffinity")
    options = Table(source=sys.argv[1], store="store", visual="photo", frames=1, stored_frames=1)
    print(prepare("table", options.index(), options.settings(), Path("store")).clips, "clips")
"""
SHORT = (
    "trial.epochs=2",
    "trial.schedule={name: constant}",
    "trial.modulation.end=1",
    "space={fusion: [sum], modulation.alpha: [0.1, 1]}",
    "search.trials=2",
    "search.scheduler={name: none}",
    "confirm=null",
    ONE_WORKER,
)


def run(folder: Path, *words: str) -> str:
    """Run Python without what Linux alone has; return what it printed."""
    paths = os.pathsep.join(map(str, (WITHOUT, ROOT)))
    environment = {**os.environ, "PYTHONPATH": paths, "PROJECT_ROOT": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_stand_in_takes_away_what_linux_alone_has(tmp_path):
    (tmp_path / "own.py").write_text("import os\nprint(hasattr(os, 'sched_getaffinity'))\nopen('/proc/self/stat')\n")
    environment = {**os.environ, "PYTHONPATH": str(WITHOUT), "PROJECT_ROOT": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "own.py")], env=environment, text=True, capture_output=True, check=False
    )
    assert done.stdout == "False\n"
    assert "FileNotFoundError" in done.stderr


@pytest.mark.slow
def test_data_are_prepared_without_what_linux_alone_has(tmp_path):
    (tmp_path / "prepare.py").write_text(PREPARE)
    assert "12 clips" in run(tmp_path, "prepare.py", str(table(tmp_path, ["png"], sound=False)))


@pytest.mark.slow
@pytest.mark.longer
def test_the_demo_is_searched_and_trained_without_what_linux_alone_has(tmp_path):
    run(tmp_path, str(ROOT / "run_search.py"), DEMO, *SHORT)
    run(tmp_path, "-m", "search", "train", "runs/demo/best.yaml", "name=again")
    assert (tmp_path / "runs" / "again" / "best.pt").is_file()
