"""A search over the arguments of a custom encoder and fusion, and the training of its best configuration."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest

from ogmge import inference
from search.experiment.load import load
from tests.support.searches import ONE_WORKER, children, command, own, said, search

MINE = """\
import math, torch
from torch import nn
def net(shape, width: int = 8):
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), width))
class Head(nn.Module):
    def __init__(self, dims, classes, hidden: int):
        super().__init__()
        self.hidden, self.linear = nn.Linear(sum(dims.values()), hidden), nn.Linear(hidden, classes)
    def forward(self, features):
        return self.linear(self.hidden(torch.cat(list(features.values()), dim=1)).relu())
"""
CHANGES = (
    "trial.encoder={left: {name: 'mine_args:net', width: 4}, right: mlp}",
    "trial.fusion={name: 'mine_args:Head', hidden: 8}",
    "space={encoder.left.width: [4, 6], fusion.hidden: {low: 8, high: 16}, modulation.alpha: [0.1, 1]}",
    "trial.epochs=2",
    ONE_WORKER,
)


@pytest.mark.slow
def test_arguments_are_searched_exported_tracked_and_trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("mine_args.py").write_text(MINE)
    result = search(own("Vectors", tmp_path), *CHANGES)
    assert result.exit_code == 0, result.output
    run = tmp_path / "runs" / "own"
    rows = list(csv.DictReader((run / "trials.csv").open()))
    best = load(run / "best.yaml")
    chosen = next(row for row in rows if row["trial"] == str(best.origin.trial))
    width, hidden = int(chosen["encoder.left.width"]), int(chosen["fusion.hidden"])
    assert best.trial.encoder == {"left": {"name": "mine_args:net", "width": width}, "right": "mlp"}
    assert best.trial.fusion == {"name": "mine_args:Head", "hidden": hidden}

    _, trials, _ = children(tmp_path, "own")
    params = trials[best.origin.trial].data
    assert (params.params["encoder.left.width"], params.params["fusion.hidden"]) == (str(width), str(hidden))
    assert params.tags["fusion"] == "mine_args:Head"

    result = command("train", str(run / "best.yaml"), "name=again")
    assert result.exit_code == 0, said(result)
    trusted = ["mine_args:net", "mine_args:Head"]
    model = inference.load(tmp_path / "runs" / "again" / "best.pt", trusted=trusted).model
    assert (model.encoders["left"][1].out_features, model.head.hidden.out_features) == (width, hidden)
    result = command("report", "own")
    assert result.exit_code == 0, said(result)
