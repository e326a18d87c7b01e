"""Two real processes: equal replicas, and with OGM the same training as one process on the whole batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from ogmge import Modulation, Modulator
from ogmge.fusion import FUSIONS
from ogmge.model import MultimodalClassifier
from tests.support.two_processes import TwoProcesses

RUNS = (("ogm", "concat"), ("ogm_ge", "concat"), ("ogm", "gated"), ("ogm", "film"))
STEPS, BATCH, RANKS = 5, 8, 2


def network(fusion: str) -> MultimodalClassifier:
    torch.manual_seed(0)
    encoders = {name: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten()) for name in ("audio", "visual")}
    return MultimodalClassifier(encoders, FUSIONS[fusion]({"audio": 36, "visual": 36}, 3))


def batch(step: int) -> tuple[dict[str, Tensor], Tensor]:
    """Return a batch in which audio identifies the class and therefore leads; visual is noise."""
    generator = torch.Generator().manual_seed(step)
    y = torch.randint(0, 3, (BATCH,), generator=generator)
    visual, audio = torch.randn(2, BATCH, 1, 5, 5, generator=generator)
    return {"audio": audio * 0.1 + y[:, None, None, None], "visual": visual}, y


def run(method: str, fusion: str, rank: int = 0, ranks: int = 1) -> dict[str, Tensor]:
    """Return the weights after five steps, and the coefficients of each step."""
    net = network(fusion)
    wrapped = DistributedDataParallel(net) if ranks > 1 else net
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    modulator = Modulator(dict(net.encoders.items()), Modulation(method=method, alpha=0.5), seed=3)
    coefficients = []
    for step in range(STEPS):
        x, y = batch(step)
        x, y = {name: value[rank::ranks] for name, value in x.items()}, y[rank::ranks]
        optimizer.zero_grad()
        logits, features = wrapped(x)
        cross_entropy(logits, y).backward()
        stats = modulator.modulate(net.unimodal_logits(features), y, epoch=0)
        coefficients.append(stats.coefficient)
        optimizer.step()
    return {**net.state_dict(), "coefficients": torch.stack(coefficients)}


def worker(rank: int, folder: Path) -> None:
    torch.save({which: run(*which, rank, RANKS) for which in RUNS}, folder / f"{rank}.pt")


@pytest.fixture(scope="module")
def ranks(
    two_processes: TwoProcesses, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[tuple[str, str], dict[str, Tensor]]]:
    folder = tmp_path_factory.mktemp("ranks")
    two_processes(worker, folder)
    return [torch.load(folder / f"{rank}.pt") for rank in range(RANKS)]


@pytest.mark.parametrize("which", RUNS)
def test_replicas_stay_equal_to_the_bit(ranks, which):
    first, second = (rank[which] for rank in ranks)
    assert float(first["coefficients"].min()) < 1
    assert not torch.equal(first["encoders.audio.0.weight"], network(which[1]).encoders["audio"][0].weight)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("fusion", ["concat", "gated", "film"])
def test_with_ogm_two_processes_are_the_one_with_the_whole_batch(ranks, fusion):
    """The running means of the features must be those of the whole batch, too."""
    alone = run("ogm", fusion)
    assert set(alone) == set(ranks[0]["ogm", fusion])
    for name, value in ranks[0]["ogm", fusion].items():
        assert torch.allclose(value, alone[name], rtol=1e-4, atol=1e-6), name
