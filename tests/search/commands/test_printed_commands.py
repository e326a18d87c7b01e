"""Every command that a command prints works where it is printed, with code and data beside the experiment file."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import mlflow
import pytest
import torch
from click.testing import Result

from tests.support.searches import command, search

MODULE = """
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from layers_beside import body
from datasets import InMemory, Split


@dataclass(frozen=True)
class Clips:
    root: Path
    split_seed: int = 0

    def _split(self, seed: int) -> Split:
        y = torch.load(self.root / "labels.pt", weights_only=True)
        noise = torch.Generator().manual_seed(seed)
        return Split({name: torch.randn(len(y), 6, generator=noise) + torch.eye(3, 6)[y] for name in ("a", "b")}, y)

    def open(self) -> InMemory:
        splits = self._split(self.split_seed), self._split(100 + self.split_seed)
        return InMemory(("x", "y", "z"), *splits, make_test=lambda: self._split(7), fingerprint=str(self.split_seed))


def net(shape):
    return body(shape)


class Sum(nn.Module):
    def __init__(self, dims, classes):
        super().__init__()
        self.parts = nn.ModuleDict({name: nn.Linear(dim, classes) for name, dim in dims.items()})

    def forward(self, features):
        return sum(self.parts[name](feature) for name, feature in features.items())
"""
BESIDE = """
from torch import nn


def body(shape):
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.ReLU())
"""
FILE = """
name: x
dataset: {name: 'beside:Clips', root: data}
trial:
  epochs: 1
  batch_size: 32
  encoder: beside:net
  fusion: beside:Sum
  modulation: {method: ogm, parameters: all, end: 0}
space: {optimizer.lr: [1e-3, 1e-2]}
search: {trials: 2, scheduler: {name: none}, resources: {cpu: 2, gpu: 0}}
"""
PROGRAMS = {("run_search.py",): search, ("python", "-m", "search"): command}
MODULES = ("beside", "layers_beside")


def run(words: list[str], path: list[str]) -> Result:
    """Run a printed command as a new process would: without what earlier ones have imported."""
    sys.path[:] = path
    for name in MODULES:
        sys.modules.pop(name, None)
    start, program = next((start, each) for start, each in PROGRAMS.items() if tuple(words[: len(start)]) == start)
    return program(*words[len(start) :])


def printed(result: Result) -> list[str]:
    """Return the commands in what was printed, each once."""
    return list(dict.fromkeys(re.findall(r"^.*?\buv run (\S.*)$", result.output, re.MULTILINE)))


@pytest.mark.slow
@pytest.mark.longer
def test_every_printed_command_works_from_another_folder_than_that_of_the_code(ray_instance, tmp_path, monkeypatch):
    beside, here = tmp_path / "project" / "exp", tmp_path / "project" / "here"
    (beside / "data").mkdir(parents=True)
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = list(sys.path)
    for name, text in {"beside.py": MODULE, "layers_beside.py": BESIDE, "mine.yaml": FILE}.items():
        (beside / name).write_text(text)
    torch.save(torch.arange(60) % 3, beside / "data" / "labels.pt")
    (here / "beside.py").write_text("raise RuntimeError('not this one')")

    waiting = [
        "python -m search check ../exp/mine.yaml",
        "run_search.py ../exp/mine.yaml --dry-run",
        "run_search.py ../exp/mine.yaml",
        "run_search.py ../exp/mine.yaml --resume",
        "python -m search confirm x --seeds 2",
        "python -m search confirm x --seeds 2 --test",
        "python -m search export x",
        "python -m search report x",
        "python -m search probe runs/x/tune/0000/best.pt --unimodal",
        "python -m search probe x --curve",
    ]
    followed: list[str] = []
    while waiting:
        followed.append(waiting.pop(0))
        words = shlex.split(followed[-1])
        if " search train " in followed[-1]:
            words.append(f"name=trained-{len(followed)}")  # the file's name may be taken by an earlier training
        result = run(words, path)
        assert result.exit_code == 0, (followed, result.output, result.exception)
        new = [line for line in printed(result) if line not in (*followed, *waiting)]
        waiting += [line for line in new if " search ui " not in line]  # serves a page until it is stopped
    assert {words[3] for words in map(shlex.split, followed) if words[0] == "python"} >= {
        "evaluate",
        "train",
        "confirm",
    }

    text = (here / "runs" / "x" / "best.yaml").read_text()
    assert str(beside) in text  # above the working folder
    client = mlflow.MlflowClient(f"sqlite:///{here}/runs/mlflow.db")
    registered = {model.name for model in client.search_registered_models()}
    assert registered == {path.name for path in Path("runs").glob("trained-*")} != set()
