"""Files of other people: no command runs what a checkpoint, a run of another user, or a data set's name asks for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from dataclasses import asdict
from pathlib import Path

import pytest

from ogmge import checkpoint
from ogmge.config import Modulation, TrialConfig
from ogmge.model import build_model
from search.experiment.load import load
from tests.support import ROOT
from tests.support.searches import command, search
from tests.support.tells import tells

STRANGE = """\
from pathlib import Path
from torch import nn
Path("imported").touch()
def net(shape):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(4))
class Clips:
    def open(self):
        raise RuntimeError("opened")
"""
SHAPES = {"left": (6,), "right": (4,)}
KNOWN = """\
name: known
dataset: {name: tests.support.own_data:WithTest, samples: 90}
trial: {encoder: ENCODER, epochs: 1, batch_size: 16, modulation: {method: none}}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working folder with a module that leaves a file when it is imported, and a checkpoint that names it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "strange.py").write_text(STRANGE)
    sys.modules.pop("strange", None)
    config = TrialConfig(encoder="strange:net", modulation=Modulation(method="none"))
    weights = build_model(config, SHAPES, 3).state_dict()
    metrics = {"epoch": 0, "val/accuracy": 0.5}
    state = {"config": asdict(config), "shapes": SHAPES, "classes": ["a", "b", "c"], "model": weights}
    (tmp_path / "theirs").mkdir()
    checkpoint.save({**state, "metrics": metrics}, tmp_path / "theirs" / "best.pt")
    sys.modules.pop("strange")
    (tmp_path / "imported").unlink()
    return tmp_path


def write_experiment(path: Path, encoder: str = "mlp", **replaced: str) -> Path:
    text = KNOWN.replace("ENCODER", encoder)
    for old, new in replaced.items():
        text = text.replace(old, new)
    path.write_text(text)
    return path


COMMANDS = [["evaluate", "--split", "validation"], ["probe"]]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_a_checkpoints_code_is_imported_only_by_the_users_word(here, words):
    name, *options = words
    asked = [name, "theirs/best.pt", *options, "--data"]
    result = command(*asked, str(write_experiment(here / "data.yaml")))
    assert result.exit_code == 2
    tells(result.output, "theirs/best.pt", "strange:net", "--trust strange:net")
    assert not (here / "imported").exists()
    for more in (["data.yaml", "--trust", "strange:net"], [str(write_experiment(here / "own.yaml", "'strange:net'"))]):
        result = command(*asked, *more)  # the flag, or the user's own experiment file
        assert result.exit_code == 0, result.output
        sys.modules.pop("strange")
        (here / "imported").unlink()


OTHER_USER = os.geteuid() + 1


@pytest.fixture
def of_another_user(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run whose files belong to another user than that of this process."""
    run = here / "runs" / "theirs"
    run.mkdir(parents=True)
    (run / "best.pt").write_bytes((here / "theirs" / "best.pt").read_bytes())
    write_experiment(run / "experiment.yaml", "'strange:net'")
    monkeypatch.setattr("search.experiment.own_code.ROOT_USER", -1)
    monkeypatch.setattr("os.geteuid", lambda: OTHER_USER)
    return run


@pytest.mark.parametrize("words", [*COMMANDS, ["report"], ["confirm"], ["export"]], ids=lambda words: words[0])
def test_the_code_of_another_users_run_is_not_imported(here, of_another_user, words):
    name, *options = words
    result = command(name, "theirs", *options)
    assert result.exit_code == 2
    tells(result.output, "strange:net")
    assert re.search(r"runs/theirs/(experiment.yaml belongs to another user|best.pt names code)", result.output)
    assert not (here / "imported").exists()


def test_nothing_is_imported_from_the_folder_of_another_users_run(here, of_another_user):
    write_experiment(of_another_user / "experiment.yaml", "small_conv")
    (of_another_user / "strange_too.py").write_text(STRANGE)
    command("report", "theirs")
    assert str(of_another_user.resolve()) not in sys.path


EVIL = "modules: [{there}]\n"


@pytest.fixture
def evil(here: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stranger's file, whose `modules` names a folder with a module that leaves a file when it is imported."""
    there = tmp_path_factory.mktemp("evil")
    (there / "evil.py").write_text(STRANGE)
    (here / "best.yaml").write_text(KNOWN.replace("ENCODER", "'evil:net'") + EVIL.format(there=there))
    monkeypatch.setattr("search.experiment.own_code.ROOT_USER", -1)
    monkeypatch.setattr("os.geteuid", lambda: OTHER_USER)
    return there


@pytest.mark.parametrize("words", [["train", "best.yaml"], ["check", "best.yaml"]], ids=lambda words: words[0])
def test_a_strangers_file_does_not_say_where_modules_are(here, evil, words):
    result = command(*words)
    assert result.exit_code == 2
    tells(result.output, "best.yaml belongs to another user", "evil:net")
    assert not (here / "imported").exists()
    assert str(evil) not in sys.path


def test_a_strangers_folder_is_not_searched_for_the_users_modules(here, evil):
    path = here / "best.yaml"
    digits = re.sub("dataset: .*", "dataset: {name: digits}", path.read_text())
    path.write_text(digits.replace("'evil:net'", "small_conv"))
    result = command("train", "best.yaml", "trial.encoder=evil:net")
    assert result.exit_code == 2
    tells(result.output, "evil:net", "No module named 'evil'")
    assert load(path).modules == ()
    assert not (here / "imported").exists()
    assert str(evil) not in sys.path


def test_a_file_of_ones_own_says_where_modules_are(here, evil, monkeypatch):
    monkeypatch.undo()
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", list(sys.path))
    result = command("train", "best.yaml", "--no-test")
    assert result.exit_code == 0, result.output
    assert (here / "imported").exists()
    sys.modules.pop("evil")


def test_a_run_of_ones_own_names_what_it_trusts(here):
    write_experiment(here / "theirs" / "experiment.yaml", "'strange:net'")
    result = command("evaluate", "theirs", "--split", "validation")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    "dataset",
    [
        "{name: 'zipfile:ZipFile', file: full.zip, mode: w}",
        "{name: 'subprocess:Popen', args: [touch, imported]}",
        "{name: 'pathlib:Path'}",
        "{name: 'tests.support.own_data:SPLITS'}",
    ],
)
def test_a_data_set_is_a_class_that_can_be_opened(here, dataset):
    with zipfile.ZipFile("full.zip", "w") as archive:
        archive.writestr("kept", "kept")
    name = dataset.partition("'")[2].partition("'")[0]
    (here / "mine.yaml").write_text(f"name: mine\ndataset: {dataset}\nspace: {{fusion: [concat, sum]}}\n")
    result = search("mine.yaml")
    assert result.exit_code == 2
    tells(result.output, "`dataset.name`", name)
    assert zipfile.ZipFile("full.zip").namelist() == ["kept"]
    assert not (here / "imported").exists()


def test_a_checkpoint_of_the_standard_library_runs_no_program(here):
    config = TrialConfig(encoder={"left": "subprocess:getoutput", "right": "mlp"}, modulation=Modulation(method="none"))
    state = {"config": asdict(config), "shapes": {"left": ["touch imported"], "right": [8]}, "classes": ["a", "b"]}
    checkpoint.save({**state, "model": {}, "metrics": {}}, here / "evil.pt")
    words = ["evaluate", "evil.pt", "--data", str(write_experiment(here / "data.yaml"))]
    for more in ([], ["--trust", "subprocess:getoutput"]):
        done = subprocess.run(
            [sys.executable, "-m", "search", *words, *more],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert not (here / "imported").exists()
