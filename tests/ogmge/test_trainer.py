"""The trainer: micro-batches, losses that are not finite, learning rates, half precision."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from ogmge.batches import Batch
from ogmge.config import Modulation, Optimizer, Schedule, TrialConfig
from ogmge.fit import train
from ogmge.model import build_model
from ogmge.trainer import NonFiniteLoss, Trainer
from tests.support.own_data import Vectors
from tests.support.tells import tells

CPU = torch.device("cpu")
SHAPES = {"audio": (1, 8, 8), "visual": (2, 8, 8)}
CONFIG = TrialConfig(
    epochs=3,
    batch_size=8,
    encoder="small_conv",
    modulation=Modulation(method="ogm_ge", alpha=0.5),
    optimizer=Optimizer(lr=0.01),
)


def trainer(config: TrialConfig = CONFIG, shapes=SHAPES) -> Trainer:
    return Trainer(build_model(config, shapes, 3), config, CPU)


def batches(count: int, size: int = 8, shapes=SHAPES) -> list[tuple[dict[str, Tensor], Tensor]]:
    generator = torch.Generator().manual_seed(1)
    made = []
    for _ in range(count):
        y = torch.randint(0, 3, (size,), generator=generator)
        x = {name: torch.randn(size, *shape, generator=generator) for name, shape in shapes.items()}
        x["audio"] += y.view(-1, *[1] * len(shapes["audio"]))
        made.append((x, y))
    return made


@pytest.mark.parametrize("fusion", ["concat", "film", "gated"])
@pytest.mark.parametrize("method", ["ogm", "ogm_ge"])
def test_accumulation_over_four_micro_batches_is_the_one_batch(method, fusion):
    """This holds for encoders without batch norm."""
    shapes = {"audio": (5,), "visual": (7,)}
    modulation = Modulation(method=method, alpha=0.5, parameters="all")
    whole = trainer(replace(CONFIG, encoder="mlp", fusion=fusion, modulation=modulation), shapes)
    parts = trainer(replace(whole.config, accumulate=4), shapes)
    metrics = [t.train_epoch(batches(3, 10, shapes), 0) for t in (whole, parts)]  # 10 = 3 + 3 + 2 + 2
    assert metrics[0] == pytest.approx(metrics[1], rel=1e-4)
    assert min(metrics[0][f"coefficient/{name}"] for name in shapes) < 1
    for (name, a), b in zip(whole.model.named_parameters(), parts.model.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-6), name


def test_a_last_batch_smaller_than_the_number_of_micro_batches_is_no_failure():
    shapes = {"audio": (5,), "visual": (7,)}
    small = batches(1, 3, shapes)
    modulation = Modulation(method="ogm", parameters="all")
    whole = trainer(replace(CONFIG, encoder="mlp", modulation=modulation), shapes)
    parts = trainer(replace(whole.config, accumulate=4), shapes)
    assert parts.train_epoch(small, 0) == pytest.approx(whole.train_epoch(small, 0), rel=1e-5)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(("value", "first", "last"), [(torch.nan, 2, 2), (torch.inf, 1, 3), (torch.nan, 0, 3)])
def test_a_loss_that_is_not_finite_is_reported_with_its_epoch_and_step(value, first, last, accumulate):
    data = batches(4)
    for step in {first, last}:
        data[step][0]["visual"][0] = value
    found = trainer(replace(CONFIG, accumulate=accumulate))
    found.train_epoch(batches(4), 0)
    with pytest.raises(NonFiniteLoss) as error:
        found.train_epoch(data, 1)
    assert (error.value.epoch, error.value.step) == (1, first)
    tells(error.value, "epoch 1", f"step {first}", "learning rate 0.01")


def test_an_epoch_without_a_batch_is_an_error():
    with pytest.raises(ValueError) as error:  # noqa: PT011, the facts identify it
        trainer().train_epoch([], 0)
    tells(error.value, "batch", "train")


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        (Schedule(), [1.0, 1.0, 1.0, 1.0]),
        (Schedule("step", (2,)), [1.0, 1.0, 0.1, 0.1]),
        (Schedule("step", (1, 3), gamma=0.5), [1.0, 0.5, 0.5, 0.25]),
        (Schedule("cosine"), [1.0, 0.8535533906, 0.5, 0.1464466094]),
    ],
)
def test_a_schedule_sets_the_rate_of_each_epoch(schedule, rates):
    config = replace(CONFIG, epochs=4, schedule=schedule, optimizer=Optimizer(lr=0.2))
    found = trainer(config)
    for epoch, rate in enumerate(rates):
        assert found.train_epoch(batches(1), epoch)["learning_rate"] == pytest.approx(0.2 * rate)
        assert found.optimizer.param_groups[0]["lr"] == pytest.approx(0.2 * rate)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_model_learns_in_every_precision(precision):
    found = trainer(replace(CONFIG, precision=precision, modulation=Modulation("ogm", alpha=0.1)))
    losses = [found.train_epoch(batches(4), epoch)["train/loss"] for epoch in range(8)]
    assert losses[-1] < 0.7 * losses[0]
    assert found.scaler.is_enabled() is (precision == "fp16")
    assert all(p.dtype == torch.float32 for p in found.model.parameters())


def test_the_gradient_scalers_factor_does_not_change_a_run():
    runs = []
    for factor in (2.0**4, 2.0**10):
        found = trainer(replace(CONFIG, precision="fp16"))
        found.scaler = torch.amp.GradScaler("cpu", init_scale=factor)
        runs.append((found.train_epoch(batches(3), 0), found.model.state_dict()))
    (first, weights), (second, others) = runs
    assert first == pytest.approx(second, rel=1e-2)
    assert all(torch.allclose(weights[name].float(), others[name].float(), atol=1e-2) for name in weights)


def test_evaluation_counts_each_sample_once_and_changes_nothing():
    found = trainer()
    found.train_epoch(batches(2), 0)
    before = {name: value.clone() for name, value in found.model.state_dict().items()}
    data = batches(2) + batches(1, 3)
    metrics, (correct, _) = found.evaluate(data)
    assert all(torch.equal(value, before[name]) for name, value in found.model.state_dict().items())
    found.model.eval()
    right, loss = [], 0.0
    for x, y in data:
        logits = found.model(x)[0].detach()
        right += [int(row.argmax()) == int(label) for row, label in zip(logits, y, strict=True)]
        loss += sum(float(row.exp().sum().log() - row[label]) for row, label in zip(logits, y, strict=True))
    assert correct.tolist() == right
    assert metrics["val/accuracy"] == pytest.approx(sum(right) / 19)
    assert metrics["val/loss"] == pytest.approx(loss / 19, rel=1e-5)


class Watched(Vectors):
    """Encoder that records whether PyTorch is set to deterministic algorithms."""

    told: ClassVar[list[bool]] = []

    def train(self, *, batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
        self.told.append(torch.are_deterministic_algorithms_enabled())
        yield from super().train(batch_size=batch_size, seed=seed, epoch=epoch)


def test_deterministic_algorithms_are_those_of_the_trial_that_asks_for_them(tmp_path, monkeypatch):
    """A worker process runs several trials in succession."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    for number, deterministic in enumerate([True, False]):
        config = TrialConfig(epochs=1, encoder="mlp", modulation=Modulation("none"), deterministic=deterministic)
        train(config, Watched(), lambda metrics: None, folder=tmp_path / str(number))
    assert Watched.told == [True, False]
    assert os.environ.pop("CUBLAS_WORKSPACE_CONFIG") == ":4096:8"  # required by cuBLAS
