"""What a user's own data set may have and yield, and what is said of the rest."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import ClassVar

import pytest
import torch

from datasets import InMemory, Split
from search.run.batch_check import check_batches
from search.run.member_check import DataError, check_members
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


class Failing(Lazy):
    def train(self, *, batch_size, seed, epoch):
        raise OSError("clip 17 is damaged")
        yield

    def validation(self, *, batch_size):
        return self.train(batch_size=batch_size, seed=0, epoch=0)


class NotIterable(Lazy):
    def train(self, *, batch_size, seed, epoch):
        return 3


class WithoutBatchSize(Lazy):
    def __init__(self):
        super().__init__(({"a": torch.zeros(3, 4)}, Y[:3]))

    def validation(self):
        return self.batches


def test_right_data_are_accepted():
    check_batches(data(), 4)
    check_batches(data(torch.zeros(12, 4, dtype=torch.int64), Y.to(torch.uint8)), 4)  # tokens, for example
    for x, y in (("uint8", "uint16"), ("float64", "bool"), ("float16", "int32"), ("uint16", "int8")):
        check_batches(data(torch.ones(12, 4, dtype=getattr(torch, x)), (Y % 2).to(getattr(torch, y))), 4)
    check_batches(Lazy([{"a": torch.zeros(3, 4), "more": Y}, Y[:3]]), 4)
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
        (data(y=Y.double()), ("float64 [12]", "`y.long()`")),
        (data(y=Y[:, None]), ("int64 [12, 1]", "`y.squeeze(1)`")),
        (data(y=torch.eye(3)[Y]), ("`y.argmax(dim=1)`",)),
        (data(y=Y.to(torch.complex64)), ("class ids", "complex64 [12]")),
        (data(y=(Y + 1).to(torch.uint16)), ("0 to 2", "3 classes", "1 to 3", "subtract 1")),
        (data(y=Y - 1), ("0 to 2", "-1 to 1")),
        (data(torch.zeros(12, 4).numpy()), ("training data, a", "numpy", "torch.from_numpy")),
        (data(torch.zeros(9, 4)), ("9 samples", "12 labels")),
        (data(torch.zeros(0, 4), Y[:0]), ("expected samples",)),
        (data(torch.full((12, 4), 1e300, dtype=torch.float64)), ("12 of 12 samples", "too large for float32")),
        (data(torch.full((12, 4), 2**40)), ("16,777,216", "float32", "1,099,511,627,776")),
        (data(torch.zeros(12, 4).to_sparse()), ("a tensor of numbers", "sparse_coo")),
        (data(torch.zeros(12, 4, dtype=torch.complex64)), ("a tensor of numbers", "complex64")),
        (data(torch.zeros(12, 4, device="meta")), ("a tensor of numbers", "without data")),
        (data(HOLED), ("2 of 12 samples", "NaN", "index 5")),
        (Lazy(), ("training data", "validation data", "no batch")),
        (Lazy({"a": Y}), ("({modality: tensor}, class ids)", "dict")),
        (Lazy(None), ("({modality: tensor}, class ids)", "no batch")),
        (Lazy((Y, {"a": Y})), ("({modality: tensor}, class ids)", "tuple (Tensor, dict)")),
        (Lazy(({"a": Y}, Y, Y)), ("({modality: tensor}, class ids)", "tuple (dict, Tensor, Tensor)")),
        (Lazy(({"a": torch.zeros(0, 4)}, Y[:0])), ("expected samples",)),
        (Failing(), ("`train()` must yield batches", "OSError: clip 17", "test_batch_check.py", "`validation()`")),
        (NotIterable(), ("`train()` must yield batches", "'int' object")),
        (WithoutBatchSize(), ("`validation()` must yield batches", "batch_size")),
        (Lazy(({"a": torch.zeros(3, 5)}, Y[:3])), ("[4]", "[5]")),
        (Lazy(({}, Y[:3])), ("data, a", "missing")),
    ],
)
def test_wrong_data_are_told_with_what_was_expected(wrong, facts):
    with pytest.raises(DataError) as error:
        check_batches(wrong, 4)
    tells(error.value, *facts)


def test_only_the_first_batch_of_a_split_is_read_and_its_reader_is_closed():
    events: list[str] = []

    class Counted(Lazy):
        def train(self, *, batch_size, seed, epoch):
            try:
                for batch in self.batches:
                    events.append(f"read {batch_size}")
                    yield batch
            finally:
                events.append("closed")

    check_batches(Counted(*[({"a": torch.zeros(3, 4)}, Y[:3])] * 3), 64)
    assert events == ["read 8", "closed"]


def memory(x: object, **others: object) -> InMemory:
    return InMemory(
        **{"classes": ("p", "q", "r"), "training": Split(x, Y), "held_out": Split(x, Y), "fingerprint": "", **others}
    )


def lazy(**members: object) -> Lazy:
    found = Lazy(({"a": torch.zeros(3, 4)}, Y[:3]))
    for name, value in members.items():
        setattr(found, name, value)
    return found


A = torch.zeros(12, 4)


@pytest.mark.parametrize(
    "right",
    [memory({"a": A}), memory({"a": A.numpy()}), lazy(), lazy(shapes={"a": [4]}), lazy(shapes={"a": A[0].shape})],
)
def test_right_members_are_accepted(right):
    check_members(right)


@pytest.mark.parametrize(
    ("wrong", "facts"),
    [
        (memory({"a": A.tolist()}), ("training data, a", "validation data, a", "tensor", "list")),
        (memory({"a": torch.tensor(1.0)}), ("training data, a", "[N, D, ...]", "[]")),
        (memory({"a": A[:, 0]}), ("training data, a", "[N, D, ...]", "[12]", "`x.unsqueeze(1)`")),
        (memory(A), ("training data", "`Split`", "Tensor")),
        (memory(None), ("training data", "`Split`", "NoneType")),
        (memory({"a": A}, held_out=({"a": A}, Y)), ("validation data", "`Split`", "tuple")),
        (memory({}), ("`shapes`", "{}")),
        (memory({1: A}), ("names of modalities", "text", "1")),
        (memory({"a": A}, classes=3), ("`classes`", "list", "int 3")),
        (memory({"a": A}, classes="pqr"), ("`classes`", "list", "str 'pqr'")),
        (memory({"a": A}, classes={"p": 0, "q": 1}), ("`classes`", "list", "dict")),
        (memory({"a": A}, classes=(0, 1, 2)), ("`classes`", "text", "(0, 1, 2)")),
        (memory({"a": A}, classes=("p",)), ("`classes`", "two classes", "('p',)")),
        (lazy(shapes=None), ("`shapes`", "modality", "None")),
        (lazy(shapes=[(4,)]), ("`shapes`", "modality", "[(4,)]")),
        (lazy(shapes={"a": 4}), ("`shapes`", "whole numbers", "4")),
        (lazy(shapes={"a": (0,)}), ("`shapes`", "whole numbers", "(0,)")),
        (lazy(shapes={"a": (4.0,)}), ("`shapes`", "whole numbers", "(4.0,)")),
        (lazy(train=[]), ("`train`", "method", "list")),
    ],
)
def test_wrong_members_are_told_with_what_was_expected(wrong, facts):
    with pytest.raises(DataError) as error:
        check_members(wrong)
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
