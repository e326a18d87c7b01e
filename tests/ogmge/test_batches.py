"""Batches of any number type, and batches too small for a batch norm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from ogmge import checkpoint, fit
from ogmge.batches import to_device
from ogmge.config import Modulation, Optimizer, TrialConfig
from ogmge.distributed import Ranks
from ogmge.model import build_model
from ogmge.trainer import Trainer
from tests.support.two_processes import TwoProcesses

CPU = torch.device("cpu")
HERE = "tests.ogmge.test_batches"
SMALL, LARGE, FRAMES = (1, 8, 8), (1, 32, 32), (3, 1, 8, 8)  # small_conv leaves one value of SMALL, 16 of LARGE


class Normed(nn.Sequential):
    """Encoder with batch norm over single values."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(nn.Flatten(), nn.Linear(torch.Size(shape).numel(), 8), nn.BatchNorm1d(8))


class Frozen(Normed):
    """Encoder whose batch norm stays in evaluation mode."""

    def train(self, mode: bool = True) -> Frozen:
        super().train(mode)
        self[2].train(False)
        return self


class NormedHead(nn.Module):
    """Head with batch norm."""

    def __init__(self, dims: dict[str, int], classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.BatchNorm1d(sum(dims.values())), nn.Linear(sum(dims.values()), classes))

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        return self.layers(torch.cat([*features.values()], dim=1))


CONFIG = TrialConfig(
    epochs=2,
    batch_size=8,
    encoder="small_conv",
    modulation=Modulation(method="ogm_ge", alpha=0.5),
    optimizer=Optimizer(lr=0.01),
)
NORMED = replace(CONFIG, encoder=f"{HERE}:Normed", modulation=replace(CONFIG.modulation, parameters="all"))


def trainer(config: TrialConfig = CONFIG, shape: tuple[int, ...] = SMALL) -> Trainer:
    return Trainer(build_model(config, {"a": shape, "b": shape}, 3), config, CPU)


def batch(size: int, shape: tuple[int, ...] = SMALL, seed: int = 0) -> tuple[dict[str, Tensor], Tensor]:
    generator = torch.Generator().manual_seed(100 * size + seed)
    y = torch.randint(0, 3, (size,), generator=generator)
    return {name: torch.randn(size, *shape, generator=generator) for name in "ab"}, y


def same_weights(one: nn.Module, two: nn.Module) -> None:
    for (name, a), b in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


# ---- number types ----


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "int32", "int64", "bool"])
def test_labels_of_any_integer_type_train_as_int64_does(dtype):
    x, y = batch(8)
    y = y % 2
    one, two = trainer(), trainer()
    assert one.train_epoch([(x, y)], 0) == two.train_epoch([(x, y.to(getattr(torch, dtype)))], 0)
    assert one.evaluate([(x, y)])[0] == two.evaluate([(x, y.to(getattr(torch, dtype)))])[0]
    same_weights(one.model, two.model)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "int64", "float16", "bfloat16", "float64"])
def test_samples_of_any_type_train_as_the_same_numbers_in_float32_do(dtype):
    x, y = batch(8)
    x = {name: (value * 20 + 100).clamp(0, 255).round() for name, value in x.items()}
    given = {name: value.to(getattr(torch, dtype)) for name, value in x.items()}
    one, two = trainer(), trainer()
    assert one.train_epoch([(x, y)], 0) == two.train_epoch([(given, y)], 0)
    assert one.evaluate([(x, y)])[0] == two.evaluate([(given, y)])[0]


def test_a_batch_that_has_the_types_of_a_model_is_not_copied():
    x, y = batch(8)
    there, ids = to_device((x, y), CPU)
    assert ids is y
    assert all(there[name] is value for name, value in x.items())


def test_labels_that_are_no_integers_are_not_rounded():
    x, y = batch(8)
    with pytest.raises(RuntimeError):
        trainer().train_epoch([(x, y / 2)], 0)


# ---- the smallest batch ----


@pytest.mark.parametrize(
    ("changes", "shape", "smallest"),
    [
        ({}, SMALL, 2),
        ({}, LARGE, 1),
        ({}, FRAMES, 1),
        ({"encoder": "mlp"}, SMALL, 1),
        ({"encoder": {"a": "mlp", "b": "small_conv"}}, SMALL, 2),
        ({"encoder": f"{HERE}:Normed"}, SMALL, 2),
        ({"encoder": f"{HERE}:Frozen"}, SMALL, 1),
        ({"encoder": "mlp", "fusion": f"{HERE}:NormedHead"}, SMALL, 2),
        ({"encoder": "resnet18"}, (3, 32, 32), 2),
        ({"encoder": "resnet18"}, (3, 64, 64), 1),
    ],
)
def test_a_model_needs_two_samples_if_a_batch_norm_sees_one_value_per_sample(changes, shape, smallest):
    found = trainer(replace(CONFIG, modulation=Modulation(method="none"), **changes), shape)
    assert found.smallest_batch == smallest
    if smallest == 1:
        assert found.train_epoch([batch(1, shape)], 0)
    else:
        with pytest.raises(ValueError, match="no batch of 2 samples"):
            found.train_epoch([batch(1, shape)], 0)


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("config", [CONFIG, NORMED])
def test_a_batch_of_one_sample_is_skipped_and_changes_nothing(config, accumulate):
    config = replace(config, accumulate=accumulate)
    one, two = trainer(config), trainer(config)
    whole = [batch(8), batch(8, seed=1)]
    assert one.train_epoch(whole, 0) == two.train_epoch([batch(1), *whole[:1], batch(1), *whole[1:], batch(1)], 0)
    same_weights(one.model, two.model)


@pytest.mark.parametrize(
    ("size", "accumulate", "parts"), [(5, 3, [3, 2]), (5, 5, [3, 2]), (3, 2, [3]), (8, 3, [3, 3, 2])]
)
def test_micro_batches_have_two_samples_if_the_model_needs_them(size, accumulate, parts):
    seen: list[int] = []
    found = trainer(replace(NORMED, accumulate=accumulate))
    found.model.encoders["a"].register_forward_hook(lambda _module, _x, y: seen.append(len(y)))
    alike = trainer(replace(NORMED, accumulate=len(parts)))
    assert found.train_epoch([batch(size)], 0) == alike.train_epoch([batch(size)], 0)
    assert seen == parts
    same_weights(found.model, alike.model)


def test_micro_batches_of_one_sample_remain_where_a_model_can_be_trained_on_them():
    seen: list[int] = []
    found = trainer(replace(CONFIG, accumulate=8), LARGE)
    found.model.encoders["a"].register_forward_hook(lambda _module, _x, y: seen.append(len(y)))
    found.train_epoch([batch(8, LARGE)], 0)
    assert seen == [1] * 8


@dataclass(frozen=True)
class WithRest:
    """Training batches, the last of which are small."""

    rest: tuple[int, ...] = ()
    classes = ("p", "q", "r")
    shapes: ClassVar = {"a": SMALL, "b": SMALL}

    def train(self, *, batch_size: int, seed: int, epoch: int) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        for size in (batch_size, batch_size, *self.rest):
            yield batch(size, seed=epoch)

    def validation(self, *, batch_size: int) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        yield batch(7)
        yield batch(1)


def run(folder: Path, rest: tuple[int, ...], ranks: Ranks = fit.ALONE, **options: int) -> None:
    fit.train(NORMED, WithRest(rest), lambda _metrics: None, folder=folder, ranks=ranks, **options)


def last(folder: Path) -> dict[str, Tensor]:
    return checkpoint.load(folder / "last.pt")["trainer"]["model"]


def all_equal(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_resumed_run_skips_the_same_batches(tmp_path):
    run(tmp_path / "whole", (1,))
    run(tmp_path / "resumed", (1,), epochs=1)
    run(tmp_path / "resumed", (1,))
    run(tmp_path / "without", ())
    assert all_equal(last(tmp_path / "whole"), last(tmp_path / "resumed"))
    assert all_equal(last(tmp_path / "whole"), last(tmp_path / "without"))


def in_two(rank: int, folder: Path) -> None:
    for name, rest in (("without", ()), ("with", (3, 2, 1)), ("enough", (4,))):  # 3 = 2 + 1
        run(folder / f"{name}-{rank}", rest, Ranks(rank, 2))


def test_processes_skip_a_batch_of_which_one_of_them_would_get_a_single_sample(two_processes: TwoProcesses, tmp_path):
    two_processes(in_two, tmp_path)
    without, with_rest, enough = (last(tmp_path / f"{name}-0") for name in ("without", "with", "enough"))
    assert all_equal(without, with_rest)
    assert not all_equal(without, enough)
