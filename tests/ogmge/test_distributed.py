"""Two real processes: equal replicas, and with OGM the same training as one process with the whole batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from ogmge import Modulation, Modulator, unimodal_logits
from ogmge.fusion import Concat
from ogmge.model import MultimodalClassifier
from tests.support.two_processes import TwoProcesses

METHODS = ("ogm", "ogm_ge")
STEPS, BATCH, RANKS = 5, 8, 2


def network() -> MultimodalClassifier:
    torch.manual_seed(0)
    encoders = {name: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten()) for name in ("audio", "visual")}
    return MultimodalClassifier(encoders, Concat({"audio": 36, "visual": 36}, 3))


def batch(step: int) -> tuple[dict[str, Tensor], Tensor]:
    """The audio of a class is much alike, so that it leads; the visual is noise."""
    generator = torch.Generator().manual_seed(step)
    y = torch.randint(0, 3, (BATCH,), generator=generator)
    visual, audio = torch.randn(2, BATCH, 1, 5, 5, generator=generator)
    return {"audio": audio * 0.1 + y[:, None, None, None], "visual": visual}, y


def run(method: str, rank: int = 0, ranks: int = 1) -> dict[str, Tensor]:
    """The weights after five steps, and each step's coefficients."""
    net = network()
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
        stats = modulator.modulate(unimodal_logits(net.head, features), y, epoch=0)
        coefficients.append(stats.coefficient)
        optimizer.step()
    return {**net.state_dict(), "coefficients": torch.stack(coefficients)}


def worker(rank: int, folder: Path) -> None:
    torch.save({method: run(method, rank, RANKS) for method in METHODS}, folder / f"{rank}.pt")


@pytest.fixture(scope="module")
def ranks(two_processes: TwoProcesses, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Tensor]]]:
    folder = tmp_path_factory.mktemp("ranks")
    two_processes(worker, folder)
    return [torch.load(folder / f"{rank}.pt") for rank in range(RANKS)]


@pytest.mark.parametrize("method", METHODS)
def test_replicas_stay_equal_to_the_bit(ranks, method):
    first, second = (rank[method] for rank in ranks)
    assert float(first["coefficients"].min()) < 1
    assert not torch.equal(first["encoders.audio.0.weight"], network().encoders["audio"][0].weight)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_with_ogm_two_processes_are_the_one_with_the_whole_batch(ranks):
    alone = run("ogm")
    for name, value in ranks[0]["ogm"].items():
        assert torch.allclose(value, alone[name], rtol=1e-4, atol=1e-6), name
