"""A whole trial: stopping and resuming, its reports, its best epoch, its corrupt files."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from datasets.loader.in_memory import InMemory, Split
from ogmge import checkpoint
from ogmge.config import Modulation, Optimizer, Schedule, TrialConfig
from ogmge.fit import NonFiniteMetric, Objective, train
from ogmge.model import build_model
from ogmge.trainer import NonFiniteLoss, Trainer
from tests.support.states import same, without
from tests.support.tells import tells

CONFIG = TrialConfig(
    epochs=4,
    batch_size=8,
    encoder="small_conv",
    modulation=Modulation(method="ogm_ge", alpha=0.5, end=2),
    optimizer=Optimizer(lr=0.01),
)


class Stopped(Exception):
    pass


def split(samples: int, seed: int) -> Split:
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 3, (samples,), generator=generator)
    audio, visual = torch.randn(2, samples, 1, 8, 8, generator=generator)
    return Split({"audio": audio + y.view(-1, 1, 1, 1), "visual": visual}, y)


DATA = InMemory(["a", "b", "c"], split(24, 0), split(10, 1), "")


def run(config: TrialConfig, folder: Path, stop_after: int | None = None, data=DATA, **options):
    """Return the reported metrics without `seconds`."""
    reports: list[dict[str, float]] = []

    def report(metrics: dict[str, float]) -> None:
        reports.extend(without([metrics]))
        if metrics["epoch"] == stop_after:
            raise Stopped

    try:
        train(config, data, report, folder=folder, **options)
    except Stopped:
        assert stop_after is not None
    return reports


STEP, COSINE = Schedule("step", (2,)), Schedule("cosine")
RUNS = [  # pairwise coverage: every pair of values occurs at least once
    ("sgd", STEP, "fp32", "ogm", "gated"),
    ("sgd", COSINE, "bf16", "ogm_ge", "concat"),
    ("adam", STEP, "bf16", "ogm_ge", "gated"),
    ("adam", COSINE, "fp32", "ogm_ge", "concat"),
    ("adam", COSINE, "bf16", "ogm", "film"),
]


@pytest.mark.parametrize(("optimizer", "schedule", "precision", "method", "fusion"), RUNS)
def test_a_run_stopped_and_started_again_is_the_uninterrupted_one(
    tmp_path, optimizer, schedule, precision, method, fusion
):
    config = replace(
        CONFIG,
        fusion=fusion,
        optimizer=Optimizer(optimizer, lr=0.01),
        schedule=schedule,
        precision=precision,
        modulation=Modulation(method=method, alpha=0.5, end=2, apply="gradient" if optimizer == "sgd" else "update"),
    )
    whole = run(config, tmp_path / "whole")
    assert min(metrics[f"coefficient/{name}"] for metrics in whole for name in DATA.shapes) < 1
    parts = [run(config, tmp_path / "parts", stop_after=epoch) for epoch in (0, 2, None)]
    assert [len(part) for part in parts] == [1, 3, 4]
    assert all(part == whole[: len(part)] for part in parts)
    for name in ("last.pt", "best.pt"):
        assert same(*(checkpoint.load(tmp_path / folder / name) for folder in ("whole", "parts")))


DROPOUT = """
from torch import nn
from tests.support.states import same, without
def make(shape):
    return nn.Sequential(nn.Conv2d(shape[0], 4, 3), nn.Flatten(), nn.Dropout(0.5))
"""


def test_random_numbers_go_on_where_they_were(tmp_path, monkeypatch):
    (tmp_path / "dropping.py").write_text(DROPOUT)
    monkeypatch.syspath_prepend(tmp_path)
    config = replace(CONFIG, encoder="dropping:make", precision="fp16")
    whole = run(config, tmp_path / "whole")
    run(config, tmp_path / "parts", stop_after=1)
    torch.manual_seed(99)
    assert run(config, tmp_path / "parts") == whole
    assert same(*(checkpoint.load(tmp_path / folder / "last.pt") for folder in ("whole", "parts")))
    sys.modules.pop("dropping")


def test_a_finished_run_is_reported_again_and_not_trained_further(tmp_path):
    whole = run(CONFIG, tmp_path)
    written = (tmp_path / "last.pt").read_bytes()
    assert run(CONFIG, tmp_path) == whole
    assert (tmp_path / "last.pt").read_bytes() == written


@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: b"not a checkpoint"])
def test_a_damaged_checkpoint_starts_the_trial_again_and_says_so(tmp_path, caplog, damage):
    whole = run(CONFIG, tmp_path)
    last = tmp_path / "last.pt"
    last.write_bytes(damage(last.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert run(CONFIG, tmp_path) == whole
    [warning] = caplog.messages
    tells(warning, last)


def another_trials(path: Path) -> None:
    run(replace(CONFIG, optimizer=Optimizer(lr=0.02)), path.parent / "other", 1)
    (path.parent / "other" / "last.pt").replace(path)


def not_a_state(path: Path) -> None:
    checkpoint.save({"trainer": {}, "history": None}, path)


def its_best(path: Path) -> None:
    path.with_name("best.pt").replace(path)


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("put", [another_trials, not_a_state, its_best, a_pipe])
def test_a_file_that_is_not_the_state_of_this_trial_starts_it_again(tmp_path, caplog, put):
    """Without a check, the other trial's results would count as this one's."""
    expected = run(CONFIG, tmp_path / "whole")
    run(CONFIG, tmp_path / "trial", 1)
    path = tmp_path / "trial" / "last.pt"
    put(path)
    with caplog.at_level(logging.WARNING):
        assert run(CONFIG, tmp_path / "trial") == expected
    [told] = caplog.messages
    tells(told, path, "restarts from epoch 0")
    weights = [checkpoint.load(tmp_path / name / "best.pt") for name in ("whole", "trial")]
    assert same(weights[0]["model"], weights[1]["model"])


def test_a_state_of_an_older_version_continues(tmp_path, caplog):
    """It has no settings, or lacks some of today's."""
    run(CONFIG, tmp_path, 1)
    state = checkpoint.load(tmp_path / "last.pt")
    del state["config"]["optimizer"]["lr"]
    checkpoint.save(state, tmp_path / "last.pt")
    assert not caplog.messages
    assert len(run(CONFIG, tmp_path)) == CONFIG.epochs
    del state["config"]
    checkpoint.save(state, tmp_path / "last.pt")
    assert len(run(CONFIG, tmp_path)) == CONFIG.epochs
    assert not caplog.messages


@pytest.mark.parametrize(
    ("objective", "best"),
    [
        (Objective("learning_rate", "max"), 0),  # the rates are 1, 1, 0.1, 0.1 times the initial one
        (Objective("learning_rate", "min"), 2),
        (Objective("train/loss", "max"), None),
    ],
)
def test_the_best_checkpoint_holds_the_first_of_the_best_epochs(tmp_path, objective, best):
    config = replace(CONFIG, schedule=Schedule("step", (2,)))
    reports = run(config, tmp_path, objective=objective)
    name, mode = objective.metric, objective.mode
    values = [metrics[name] for metrics in reports]
    expected = values.index(max(values) if mode == "max" else min(values))
    assert best in (None, expected)
    state = checkpoint.load(tmp_path / "best.pt")
    assert state["metrics"]["epoch"] == expected
    assert [m["best"] for m in reports] == [
        max(values[: i + 1]) if mode == "max" else min(values[: i + 1]) for i in range(len(values))
    ]

    trainer = Trainer(build_model(config, DATA.shapes, 3), config, torch.device("cpu"))
    trainer.model.load_state_dict(state["model"])
    metrics, (correct, targets) = trainer.evaluate(DATA.validation(batch_size=config.batch_size))
    assert metrics == {name: value for name, value in reports[expected].items() if name.startswith("val/")}
    assert torch.equal(state["correct"], correct)
    assert torch.equal(state["targets"].to(targets.dtype), targets)
    assert (state["shapes"], state["classes"]) == ({"audio": [1, 8, 8], "visual": [1, 8, 8]}, ["a", "b", "c"])


def test_training_that_diverges_says_at_which_epoch_and_step(tmp_path):
    class Poisoned(InMemory):
        def train(self, *, batch_size, seed, epoch):
            for step, (x, y) in enumerate(super().train(batch_size=batch_size, seed=seed, epoch=epoch)):
                yield {name: v * (torch.nan if (epoch, step) == (1, 2) else 1) for name, v in x.items()}, y

    poisoned = Poisoned(DATA.classes, DATA.training, DATA.held_out, "")
    with pytest.raises(NonFiniteLoss, match="epoch 1, step 2") as error:
        run(CONFIG, tmp_path, data=poisoned)
    assert (error.value.epoch, error.value.step) == (1, 2)
    assert len(checkpoint.load(tmp_path / "last.pt")["history"]) == 1


def test_a_metric_that_is_not_finite_ends_the_run(tmp_path):
    held_out = Split({**DATA.held_out.x, "visual": DATA.held_out.x["visual"] * torch.inf}, DATA.held_out.y)
    with pytest.raises(NonFiniteMetric, match="val/loss is nan at epoch 0"):
        run(CONFIG, tmp_path, data=InMemory(DATA.classes, DATA.training, held_out, ""))
