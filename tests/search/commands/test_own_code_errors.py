"""Errors that a user's own code raises: a sentence and the lines of the user's own files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.tells import tells

MINE = """\
class Clips:
    shapes = {"audio": (6,), "visual": (4,)}
    classes = ("cat", "dog")
    def open(self):
        return find_clip(17)
def find_clip(number):
    return {}[number]
class Found(Clips):
    def open(self):
        return self
    def validation(self, **how):
        import torch
        yield {"audio": torch.zeros(2, 6), "visual": torch.zeros(2, 4)}, torch.tensor([0, 1])
    train = validation
def net(shape):
    return find_clip(17)
def head(dims, classes):
    return find_clip(17)
class Named:
    def __init__(self, name): ...
    def open(self): ...
"""
MODULES = {"mine": MINE, "unwritten": "class Clips:\n    def open(:\n", "unlucky": "LABELS = {}['first']\n"}


def run(here: Path, name: str, more: str = "") -> subprocess.CompletedProcess[str]:
    """Dry-run a search on a class of the modules, in their folder."""
    for module, text in MODULES.items():
        (here / f"{module}.py").write_text(text)
    space = "space: {optimizer.lr: [1e-3, 1e-2]}"
    (here / "e.yaml").write_text(f"name: e\ndataset: {{name: '{name}'}}\n{space}\n{more}\n")
    words = [sys.executable, ROOT / "run_search.py", "e.yaml", "--dry-run"]
    return subprocess.run(words, cwd=here, capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"})


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("mine:Clips", ("KeyError: 17", 'mine.py", line 5, in open', 'mine.py", line 7, in find_clip')),
        ("unwritten:Clips", ("dataset.name", "SyntaxError", 'unwritten.py", line 2', "e.yaml, line 2")),
        ("unlucky:Clips", ("dataset.name", "KeyError: 'first'", 'unlucky.py", line 1', "e.yaml, line 2")),
        ("mine:Named", ("dataset.name", "`name`", "rename", "e.yaml, line 2")),
    ],
)
def test_an_error_in_the_users_code_shows_the_users_lines_alone(tmp_path, name, facts):
    ended = run(tmp_path, name)
    assert ended.returncode == 2, ended.stderr
    tells(ended.stderr, *facts)
    assert "Traceback" not in ended.stderr
    assert str(ROOT / "search") not in ended.stderr


@pytest.mark.parametrize(("key", "name"), [("encoder", "net"), ("fusion", "head")])
def test_an_error_in_a_factory_shows_the_users_lines_alone(tmp_path, key, name):
    encoder = "" if key == "encoder" else "encoder: mlp, "
    ended = run(tmp_path, "mine:Found", f"trial: {{{encoder}{key}: 'mine:{name}', modulation: {{parameters: all}}}}")
    assert ended.returncode == 2, ended.stderr
    tells(ended.stderr, f"trial.{key}", "KeyError: 17", f"in {name}", 'mine.py", line 7, in find_clip')
    assert "Traceback" not in ended.stderr
    assert str(ROOT / "ogmge") not in ended.stderr


WORKER = """\
import torch
class Clips:
    shapes = {"audio": (6,), "visual": (4,)}
    classes = ("cat", "dog")
    def open(self):
        return self
    def train(self, *, batch_size, seed, epoch):
        if epoch:
            find_clip(17)
        yield {name: torch.ones(4, *shape) for name, shape in self.shapes.items()}, torch.tensor([0, 1, 0, 1])
    def validation(self, *, batch_size):
        yield from self.train(batch_size=4, seed=0, epoch=0)
def find_clip(number):
    return {}[number]
"""
IN_A_WORKER = """\
name: e
dataset: {name: 'worker:Clips'}
trial: {epochs: 2, encoder: mlp, modulation: {end: 1, parameters: all}}
space: {optimizer.lr: [1e-3, 1e-2]}
search: {trials: 2, resources: {cpu: 1}}
"""


@pytest.mark.slow
@pytest.mark.longer
@pytest.mark.parametrize(
    "words",
    [["run_search.py", "e.yaml"], ["-m", "search", "train", "e.yaml", "--workers", "2"]],
    ids=["search", "train"],
)
def test_an_error_in_a_worker_shows_the_users_lines_alone(tmp_path, words):
    (tmp_path / "worker.py").write_text(WORKER)
    (tmp_path / "e.yaml").write_text(IN_A_WORKER)
    program = [str(ROOT / word) if word == "run_search.py" else word for word in words]
    environment = {**os.environ, "COLUMNS": "200", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, *program], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert ended.returncode == 1, ended.stderr
    tells(ended.stderr, "KeyError: 17", 'worker.py", line 9, in train', 'worker.py", line 14, in find_clip')
    assert "Traceback" not in ended.stderr
    assert str(ROOT / "search") not in ended.stderr
    assert ended.stdout.count("find_clip(17)") == 0  # a trial's line stays one line
