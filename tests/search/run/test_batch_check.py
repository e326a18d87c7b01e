"""What a user's own data set may yield, and what is said of the rest."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import ClassVar

import pytest
import torch

from datasets import InMemory, Split
from search.run.batch_check import DataError, check_batches, check_members
from tests.support import ROOT
from tests.support.tells import tells

Y = torch.arange(12) % 3


def data(x: object = None, y: object = Y) -> InMemory:
    good = {"a": torch.zeros(12, 4), "b": torch.zeros(12, 1, 3, 3)}
    return InMemory(("p", "q", "r"), Split({**good, **({"a": x} if x is not None else {})}, y), Split(good, Y), "f")


class Lazy:
    """Data that are no `InMemory`."""

    shapes: ClassVar = {"a": (4,)}
    classes = ("p", "q", "r")

    def __init__(self, *batches: object) -> None:
        self.batches = batches

    def train(self, *, batch_size, seed, epoch):
        yield from self.batches

    def validation(self, *, batch_size):
        return list(self.batches)


def test_right_data_are_accepted():
    check_batches(data(), 4)
    check_batches(data(torch.zeros(12, 4, dtype=torch.int64), Y.to(torch.uint8)), 4)  # tokens, for example
    check_batches(Lazy(({"a": torch.zeros(3, 4)}, Y[:3])), 4)


HOLED = torch.zeros(12, 4)
HOLED[5:7, 2] = torch.nan


@pytest.mark.parametrize(
    ("wrong", "facts"),
    [
        (data(y=Y.float()), ("training data", "class ids", "float32 [12]")),
        (data(y=torch.eye(3)[Y]), ("class ids", "float32 [12, 3]")),
        (data(y=Y.numpy()), ("class ids", "numpy", "torch.from_numpy")),
        (data(y=Y.tolist()), ("class ids", "list")),
        (data(y=Y + 1), ("0 to 2", "3 classes", "1 to 3")),
        (data(y=Y - 1), ("0 to 2", "-1 to 1")),
        (data(torch.zeros(12, 4).numpy()), ("training data, a", "numpy", "torch.from_numpy")),
        (data(torch.zeros(9, 4)), ("9 samples", "12 labels")),
        (data(torch.zeros(0, 4), Y[:0]), ("expected samples",)),
        (data(HOLED), ("2 of 12 samples", "NaN", "index 5")),
        (Lazy(), ("training data", "validation data", "no batch")),
        (Lazy({"a": Y}), ("({modality: tensor}, class ids)", "dict")),
        (Lazy(({"a": torch.zeros(3, 5)}, Y[:3])), ("[4]", "[5]")),
        (Lazy(({}, Y[:3])), ("data, a", "NoneType")),
    ],
)
def test_wrong_data_are_told_with_what_was_expected(wrong, facts):
    with pytest.raises(DataError) as error:
        check_batches(wrong, 4)
    tells(error.value, *facts)


def test_what_is_no_data_set_is_told():
    with pytest.raises(DataError) as error:
        check_members(None)
    tells(error.value, "`open()`", "InMemory", "NoneType", "shapes, classes, train, validation")


MINE = """\
import torch
from datasets import InMemory, Split
class Clips:
    def open(self):
        x, y = {"a": torch.zeros(8, 4).numpy(), "b": torch.zeros(8, 4)}, torch.arange(8) / 2
        return InMemory(("p", "q"), Split(x, y), Split(x, y), "f")
"""
FILE = "name: e\ndataset: {name: 'mine:Clips'}\ntrial: {encoder: mlp}\nspace: {optimizer.lr: [1e-3, 1e-2]}\n"


@pytest.mark.slow
@pytest.mark.parametrize("words", [["-m", "search", "check", "e.yaml"], [f"{ROOT}/run_search.py", "e.yaml"]])
def test_a_command_lists_all_that_is_wrong_and_ends(tmp_path, words):
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "e.yaml").write_text(FILE)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert ended.returncode == 2, ended.stderr
    tells(ended.stderr, "4 errors", "training data", "validation data", "numpy", "float32 [8]")
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "runs").exists()
