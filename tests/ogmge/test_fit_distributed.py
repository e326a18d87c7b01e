"""Two real processes, each on its part of every batch, train the same model as one process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from ogmge import checkpoint, distributed, fit
from ogmge.config import Modulation, Optimizer, TrialConfig
from ogmge.distributed import Part, Ranks, part_of
from ogmge.trainer import NonFiniteLoss
from tests.support.two_processes import TwoProcesses

SHAPES = {"left": (6,), "right": (4,)}
CONFIG = TrialConfig(
    epochs=3,
    batch_size=9,  # odd: one of the two parts is larger
    encoder="mlp",  # an encoder without batch norm
    modulation=Modulation(method="ogm_ge", alpha=0.5, start=0, end=1, parameters="all"),
    optimizer=Optimizer(lr=0.05),
)
CONFIGS = {
    "ogm_ge": CONFIG,
    "none": replace(CONFIG, modulation=Modulation(method="none")),
    "accumulated": replace(CONFIG, accumulate=2, modulation=replace(CONFIG.modulation, method="ogm")),
    "gated": replace(
        CONFIG, accumulate=2, fusion="gated", modulation=replace(CONFIG.modulation, method="ogm", parameters="all")
    ),
    "update": replace(CONFIG, modulation=replace(CONFIG.modulation, apply="update"), optimizer=Optimizer(name="adam")),
}


@dataclass(frozen=True)
class Vectors:
    """Data with two modalities, each the class plus noise; the last validation batch has one sample."""

    bad: int = -1  # a NaN sample
    shapes = SHAPES
    classes = ("a", "b", "c")

    def _samples(self, count: int, seed: int) -> tuple[dict[str, Tensor], Tensor]:
        generator = torch.Generator().manual_seed(seed)
        y = torch.randint(0, 3, (count,), generator=generator)
        x = {n: torch.randn(count, w, generator=generator) + torch.eye(3, w)[y] for n, (w,) in SHAPES.items()}
        return x, y

    def train(self, *, batch_size: int, seed: int, epoch: int) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        x, y = self._samples(54, 0)
        if self.bad >= 0 and epoch == 1:
            x["left"][self.bad] = torch.nan
        for index in torch.arange(54).split(batch_size):
            yield {name: value[index] for name, value in x.items()}, y[index]

    def validation(self, *, batch_size: int) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        x, y = self._samples(28, 1)
        for index in torch.arange(28).split(batch_size):
            yield {name: value[index] for name, value in x.items()}, y[index]


def trained(folder: Path, config: TrialConfig, place: Ranks = fit.ALONE, **options) -> list[dict[str, float]]:
    history: list[dict[str, float]] = []
    fit.train(config, options.pop("data", Vectors()), history.append, folder=folder, ranks=place, **options)
    return history


def worker(rank: int, folder: Path) -> None:
    place = Ranks(rank, 2)
    for name, config in CONFIGS.items():
        # the second process has its own, empty folder
        torch.save(trained(folder / f"{name}-{rank}", config, place), folder / f"{name}-{rank}.history")
    torch.save(trained(folder / f"resumed-{rank}", CONFIG, place), folder / f"resumed-{rank}.history")
    torch.save(trained(folder / f"blind-{rank}", CONFIG, place, objective=None), folder / f"blind-{rank}.history")
    try:
        trained(folder / f"bad-{rank}", CONFIG, place, data=Vectors(bad=13))  # in the second process's part
    except NonFiniteLoss as error:
        torch.save([error.epoch, error.step], folder / f"bad-{rank}.history")
    dist.barrier()


@pytest.fixture(scope="module")
def runs(two_processes: TwoProcesses, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    for name, config in CONFIGS.items():
        trained(folder / name, config)
    trained(folder / "resumed-0", replace(CONFIG, epochs=1))  # one process trains first, two resume
    trained(folder / "blind", CONFIG, objective=None)
    two_processes(worker, folder)
    return folder


def history(runs: Path, name: str) -> list[dict[str, float]]:
    return torch.load(runs / f"{name}.history", weights_only=True)


def alike(one: list[dict[str, float]], two: list[dict[str, float]]) -> None:
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        assert {k: v for k, v in a.items() if k != "seconds"} == pytest.approx(
            {k: v for k, v in b.items() if k != "seconds"}, rel=1e-4, abs=1e-6
        )


@pytest.mark.parametrize("name", CONFIGS)
def test_two_processes_train_what_one_does(runs, name):
    one = checkpoint.load(runs / name / "last.pt")
    two = checkpoint.load(runs / f"{name}-0" / "last.pt")
    alike(one["history"], two["history"])
    assert name == "none" or min(m["coefficient/left"] for m in one["history"]) < 1
    weights = [state["trainer"]["model"] for state in (one, two)]
    for key, value in weights[0].items():
        assert torch.allclose(value, weights[1][key], rtol=1e-3, atol=1e-5), key


@pytest.mark.parametrize("name", CONFIGS)
def test_all_processes_know_the_same_and_the_first_one_writes(runs, name):
    first, second = history(runs, f"{name}-0"), history(runs, f"{name}-1")
    assert [{k: v for k, v in m.items() if k != "seconds"} for m in first] == [
        {k: v for k, v in m.items() if k != "seconds"} for m in second
    ]
    assert not (runs / f"{name}-1").exists()


def test_answers_are_kept_in_the_order_of_the_samples(runs):
    one, two = (checkpoint.load(runs / name / "best.pt") for name in ("none", "none-0"))
    for of in ("correct", "targets"):
        assert one[of].tolist() == two[of].tolist()
        assert len(one[of]) == 28


def test_what_one_process_began_two_go_on_with_though_one_of_them_sees_no_file(runs):
    alike(history(runs, "ogm_ge-1"), history(runs, "resumed-1"))
    rngs = checkpoint.load(runs / "resumed-0" / "last.pt")["trainer"]["rng"]
    assert len(rngs) == 2


def test_without_validation_the_last_epoch_is_kept_and_nothing_is_called_the_best(runs):
    for name in ("blind", "blind-0"):
        best = checkpoint.load(runs / name / "best.pt")
        assert best["metrics"]["epoch"] == 2
        assert not {key for key in best["metrics"] if key.startswith("val/") or key == "best"}
        last = checkpoint.load(runs / name / "last.pt")["trainer"]["model"]
        assert all(value.equal(best["model"][key]) for key, value in last.items())
    alike(checkpoint.load(runs / "blind" / "last.pt")["history"], history(runs, "blind-0"))


def test_a_loss_that_is_not_finite_in_one_process_ends_all_of_them(runs):
    assert history(runs, "bad-0") == history(runs, "bad-1") == [1, 1]


@pytest.mark.parametrize(("samples", "world"), [(7, 3), (1, 2), (8, 4), (0, 2), (5, 1)])
def test_parts_are_those_of_tensor_split(samples, world):
    whole = torch.arange(samples)
    parts = [whole[part_of(samples, Ranks(rank, world))].tolist() for rank in range(world)]
    assert parts == [part.tolist() for part in whole.tensor_split(world)]


def test_data_that_can_make_a_part_are_asked_for_it():
    class Divisible(Vectors):
        def part(self, rank: int, world: int) -> tuple[int, int]:
            return rank, world

    assert distributed.part(Divisible(), Ranks(1, 3)) == (1, 3)
    assert isinstance(distributed.part(Vectors(), Ranks(1, 3)), Part)
    data = Vectors()
    assert distributed.part(data, Ranks()) is data
