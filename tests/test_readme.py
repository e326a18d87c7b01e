"""What the README shows is what the program does."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ogmge.fusion import FUSIONS
from search import document
from search.cli import main
from search.experiment import check

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def test_every_command_is_named_and_every_name_is_a_command():
    named = set(re.findall(r"python -m search (\w+)", TEXT))
    assert named == set(main.commands)


def test_every_file_that_it_names_is_there():
    for path in re.findall(r"(?:experiments|tests|ogmge)/\w+\.(?:yaml|py)", TEXT):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"\]\(([\w./]+)\)", TEXT):
        assert (ROOT / path).exists(), path


def test_the_plug_in_trains():
    [code] = blocks("python")
    torch.manual_seed(0)
    encoders = {u: nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.LazyLinear(8)) for u in ("audio", "visual")}
    net = SimpleNamespace(**encoders, encoders=encoders)
    head = FUSIONS["gated"]({"audio": 8, "visual": 8}, 3)
    x = {u: torch.randn(6, 1, 5, 5) for u in encoders}
    for name, encoder in encoders.items():
        encoder(x[name])
    optimizer = torch.optim.SGD([p for m in (*encoders.values(), head) for p in m.parameters()], lr=0.1)
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    names = {
        "net": net,
        "head": head,
        "x": x,
        "y": y,
        "optimizer": optimizer,
        "epoch": 3,
        "cross_entropy": cross_entropy,
    }
    before = [p.detach().clone() for p in head.parameters()]
    exec(compile(code, "README.md", "exec"), names)
    assert names["stats"].coefficient.min() < 1  # the leading one was held back
    assert any(not torch.equal(a, b) for a, b in zip(before, head.parameters(), strict=True))


def test_the_experiment_is_a_valid_one():
    [code] = blocks("yaml")
    own = code.replace("my_package.my_module:MyDataset, root: ~/data/mine", "tests.own_data:Vectors")
    assert own != code
    experiment = check(document.parse(own, "README.md"))
    assert set(experiment.space) >= {"fusion", "optimizer.lr", "modulation.alpha"}
