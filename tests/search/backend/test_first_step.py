"""The step that the models of an experiment are trained for before the first worker starts."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from datasets import InMemory, Split
from datasets.registry import DatasetError
from search.backend.preflight import check_models
from search.experiment.load import check
from search.experiment.schema import Experiment, ExperimentError
from search.experiment.yaml_source import override, parse
from tests.support import ROOT
from tests.support.own_data import Vectors
from tests.support.tells import tells

HERE = "tests.search.backend.test_first_step"
FILE = """
name: e
dataset: {name: digits}
trial: {encoder: mlp, batch_size: 8, modulation: {parameters: all}}
space: {optimizer.lr: [1e-3, 1e-2]}
"""


class Features(nn.Linear):
    """Encoder that works on zeros, on which models are built."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape[0], 8)


class Fussy(Features):
    def forward(self, x: Tensor) -> Tensor:
        if bool((x > 0).any()):
            raise ValueError("expected values up to 0")
        return super().forward(x)


class Undefined(Features):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.where(x.abs().sum() > 0, torch.nan, 0.0)


class OnlyForward(Features):
    """Encoder that cannot be trained."""

    def forward(self, x: Tensor) -> Tensor:
        return _OnlyForward.apply(super().forward(x))


class _OnlyForward(torch.autograd.Function):
    @staticmethod
    def forward(_context: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(_context: object, _gradient: Tensor) -> Tensor:
        raise NotImplementedError("no gradient of this kernel")


class Normed(nn.Sequential):
    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(nn.Linear(shape[0], 8), nn.BatchNorm1d(8))


class FussyHead(nn.Module):
    def __init__(self, dims: dict[str, int], classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(sum(dims.values()), classes)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        if any(bool(value.any()) for value in features.values()):
            raise KeyError("mask")
        return self.linear(torch.cat([*features.values()], dim=1))


def memory(samples: int = 24) -> InMemory:
    split = Split(*Vectors(samples)._split(0))
    return InMemory(Vectors.classes, split, Split(*Vectors()._split(1)), "")


def experiment(*assignments: str) -> Experiment:
    document = parse(FILE, "e.yaml")
    override(document, assignments)
    return check(document)


@pytest.mark.parametrize("data", [memory(), Vectors()], ids=["memory", "own"])
@pytest.mark.parametrize(
    ("assignments", "told"),
    [
        (
            (f"trial.encoder={HERE}:Fussy",),
            [("Fussy", "left [2, 6], right [2, 4]", "ValueError: expected values up to 0")],
        ),
        ((f"trial.encoder={{left: mlp, right: '{HERE}:Undefined'}}",), [("Undefined", "NaN", "features of right are")]),
        ((f"trial.encoder={HERE}:OnlyForward",), [("training samples", "no gradient of this kernel")]),
        ((f"trial.fusion={HERE}:FussyHead",), [("FussyHead", "KeyError", "mask", "test_first_step.py")]),
        (
            (f"space.encoder=[mlp,'{HERE}:Fussy','{HERE}:Undefined']",),
            [("Fussy", "expected values up to 0"), ("Undefined", "left, right")],
        ),
        ((f"search.first=[{{encoder: '{HERE}:Fussy'}}]",), [("Fussy",)]),
        (
            (f"trial.encoder={HERE}:Normed", "trial.batch_size=1"),
            [("`trial.batch_size`", "at least 2", "batch norm", "got 1")],
        ),
        ((f"trial.encoder={HERE}:Normed", "space.batch_size=[8,1]"), [("`space.batch_size`", "at least 2", "got 1")]),
        (
            (f"space.encoder=[mlp,'{HERE}:Normed']", "space.batch_size={low: 1, high: 8}"),
            [("`space.batch_size.low`", "at least 2", "got 1")],
        ),
        (
            (f"trial.encoder={HERE}:Normed", "search.first=[{batch_size: 1}]"),
            [("`search.first[0].batch_size`", "at least 2", "got 1")],
        ),
    ],
)
def test_a_model_that_fails_on_real_samples_is_told_before_the_first_trial(assignments, told, data):
    with pytest.raises(ExperimentError) as error:
        check_models(experiment(*assignments), data)
    for sentence, facts in zip(error.value.sentences, told, strict=True):
        tells(sentence, *facts)


@pytest.mark.parametrize(
    "assignments",
    [
        ("trial.batch_size=1",),
        (f"trial.encoder={HERE}:Normed", "trial.batch_size=2", "trial.accumulate=2"),
        (f"trial.encoder={HERE}:Normed", "space.batch_size=[2,8]"),
        ("trial.optimizer.lr=1e30",),
        ("trial.precision=fp16",),
        ("trial.precision=bf16", "trial.modulation.start=5", "space={optimizer.lr: [1e-3, 1e-2], encoder: [mlp]}"),
    ],
)
def test_a_model_that_can_be_trained_is_let_through_without_a_word(assignments):
    assert check_models(experiment(*assignments), memory()) == []


def test_training_data_too_few_for_a_batch_norm_are_told():
    with pytest.raises(ExperimentError) as error:
        check_models(experiment(f"trial.encoder={HERE}:Normed"), memory(1))
    tells(error.value.sentences[0], "Normed", "2 samples per batch", "has 1")
    assert check_models(experiment(), memory(1)) == []


@dataclass(frozen=True)
class Unprepared(Vectors):
    def validation(self, *, batch_size):
        raise DatasetError("the store is gone")


def test_an_error_of_a_data_set_of_ours_stays_as_it_is():
    with pytest.raises(DatasetError, match="the store is gone"):
        check_models(experiment(), Unprepared())


@dataclass(frozen=True)
class Drawing(Vectors):
    """Draws from the generators of all libraries."""

    def validation(self, *, batch_size):
        torch.rand(1), np.random.rand(), random.random()
        yield from super().validation(batch_size=batch_size)


def test_the_step_leaves_no_traces(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate(), torch.get_num_threads()
    check_models(experiment(), Drawing())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1].tolist(), random.getstate(), torch.get_num_threads()) == states[1:]
    assert not list(tmp_path.iterdir())


MINE = """\
import torch
from torch import nn
from datasets import InMemory, Split
class Clips:
    def open(self):
        y = torch.arange(16, dtype=torch.int32) % 2
        x = {"a": torch.randint(0, 255, (16, 4), dtype=torch.uint8), "b": torch.rand(16, 4, dtype=torch.float64)}
        return InMemory(("p", "q"), Split(x, y), Split(x, y), "f")
class Fussy(nn.Linear):
    def __init__(self, shape):
        super().__init__(4, 8)
    def forward(self, x):
        assert x.max() <= 1, "expected values up to 1"
        return super().forward(x)
"""
OWN = """\
name: e
dataset: {name: 'mine:Clips'}
trial: {encoder: mlp, epochs: 1, batch_size: 8, modulation: {parameters: all}}
space: {optimizer.lr: [1e-3, 1e-2]}
search: {trials: 2}
"""
SEARCH, CHECK, TRAIN = [f"{ROOT}/run_search.py"], ["-m", "search", "check"], ["-m", "search", "train"]


@pytest.fixture
def here(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "e.yaml").write_text(OWN)
    return tmp_path


def command(folder, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, env=environment)


@pytest.mark.slow
@pytest.mark.longer
@pytest.mark.parametrize(
    "words", [SEARCH, [*SEARCH, "--dry-run"], CHECK, TRAIN], ids=["search", "dry", "check", "train"]
)
def test_every_command_tells_of_a_model_that_fails_on_real_samples(here, words):
    ended = command(here, *words, "e.yaml", "trial.encoder=mine:Fussy")
    assert ended.returncode == 2, ended.stderr
    tells(ended.stderr, "mine:Fussy", "a [2, 4], b [2, 4]", "AssertionError: expected values up to 1", "mine.py")
    assert "Traceback" not in ended.stderr
    assert not (here / "runs" / "e").exists()


@pytest.mark.slow
@pytest.mark.longer
def test_a_training_takes_labels_in_int32_and_samples_in_uint8_and_float64(here):
    ended = command(here, *TRAIN, "e.yaml", "--no-test")
    assert ended.returncode == 0, ended.stderr
    assert (here / "runs" / "e" / "best.pt").exists()
