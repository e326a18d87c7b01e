"""A checkpoint may come from anyone: what it names is imported only if the caller trusts it."""

from __future__ import annotations

import math
import sys
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from ogmge import checkpoint, inference
from ogmge.checkpoint import CheckpointError
from ogmge.config import ConfigError, Modulation, TrialConfig
from ogmge.factories import custom_factories
from ogmge.model import build_model
from tests.support.tells import tells

SHAPES = {"left": (1, 8, 8), "right": (1, 8, 8)}
OWN = """\
from pathlib import Path
from torch import nn
Path("imported").touch()
import os, subprocess
def net(shape):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(4))
class Head(nn.Module):
    def __init__(self, dims, classes):
        super().__init__()
        self.linear = nn.Linear(sum(dims.values()), classes)
    def forward(self, features):
        import torch
        return self.linear(torch.cat(list(features.values()), dim=1))
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Working folder with a module that leaves a file when it is imported."""
    (tmp_path / "strange.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("strange", None)


def save(encoder: Any = "small_conv", fusion: str = "concat", shapes: Any = SHAPES, **weights: Any) -> Path:
    """Write a checkpoint as another user may have made it."""
    config = TrialConfig(encoder=encoder, fusion=fusion, modulation=Modulation(method="none"))
    state = {"config": asdict(config), "shapes": shapes, "classes": ["a", "b"], "model": weights, "metrics": {}}
    checkpoint.save(state, Path("best.pt"))
    return Path("best.pt")


@pytest.mark.parametrize("parts", [{"encoder": "strange:net"}, {"encoder": {"left": "strange:net", "right": "mlp"}}])
@pytest.mark.parametrize("fusion", ["concat", "strange:Head"])
def test_custom_code_is_not_imported_unless_it_is_trusted(here, parts, fusion):
    names = ["strange:net", *(["strange:Head"] if fusion != "concat" else [])]
    with pytest.raises(CheckpointError) as error:
        inference.load(save(**parts, fusion=fusion))
    tells(error.value, "best.pt", *names, *(f"--trust {name}" for name in names))
    with pytest.raises(CheckpointError):
        inference.load(Path("best.pt"), trusted=names[1:])
    assert not (here / "imported").exists()
    model = build_model(TrialConfig(**parts, fusion=fusion, modulation=Modulation(method="none")), SHAPES, 2)
    loaded = inference.load(save(**parts, fusion=fusion, **model.state_dict()), trusted=names)
    assert loaded.names == ("left", "right")


COMMAND = "touch ran"


@pytest.mark.parametrize("name", ["subprocess:getoutput", "os:system", "strange:os.system", "strange:subprocess.run"])
def test_the_standard_library_is_never_called(here, name):
    with pytest.raises(CheckpointError):
        inference.load(save(encoder={"left": name, "right": "mlp"}), trusted=[name])
    with pytest.raises(ConfigError) as error:
        build_model(TrialConfig(encoder=name, modulation=Modulation(method="none")), {"left": (1, 8, 8)}, 2)
    tells(error.value, name, "standard library")
    with pytest.raises(ConfigError) as error:
        build_model(TrialConfig(fusion=name, encoder="mlp", modulation=Modulation(method="none")), SHAPES, 2)
    tells(error.value, name, "standard library")


@pytest.mark.parametrize("shape", [[COMMAND], "touch", [0, 8, 8], [-1], [1.5], [True], [None], [[1]]])
def test_a_shape_is_positive_whole_numbers(here, shape):
    with pytest.raises(CheckpointError) as error:
        inference.load(save(encoder="mlp", shapes={"left": shape, "right": (1, 8, 8)}))
    tells(error.value, "shape", "positive whole numbers")
    assert not (here / "ran").exists()


@pytest.mark.parametrize(
    ("encoder", "fusion", "names"),
    [
        ("resnet18", "gated", []),
        ("torchvision:resnet50", "film", []),
        ({"a": "mlp", "b": "mine:net"}, "concat", ["mine:net"]),
        ("mine:net", "mine:net", ["mine:net"]),
        ("mine:net", "package.module:Head", ["mine:net", "package.module:Head"]),
    ],
)
def test_what_is_built_in_needs_no_trust(encoder, fusion, names):
    assert custom_factories(TrialConfig(encoder=encoder, fusion=fusion)) == names


ARGUMENTS = """\
from torch import nn
def net(shape, width: "no such type" = 4):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width))
"""


@pytest.mark.parametrize("by_modality", [True, False])
def test_a_checkpoint_has_the_arguments_of_its_factories(here, by_modality):
    (here / "strange.py").write_text(ARGUMENTS)
    net = {"name": "strange:net", "width": 7}
    encoder = {"left": net, "right": "mlp"} if by_modality else net
    config = TrialConfig(encoder=encoder, modulation=Modulation(method="none"))
    assert custom_factories(config) == ["strange:net"]
    weights = build_model(config, SHAPES, 2).state_dict()
    with pytest.raises(CheckpointError):
        inference.load(save(encoder, **weights))
    loaded = inference.load(Path("best.pt"), trusted=["strange:net"])
    assert loaded.config == config
    assert loaded.model.encoders["left"][1].out_features == 7


@pytest.mark.parametrize(
    "odd", [torch.zeros(2), {1, 2}, OrderedDict(a=1), {3: 1}, math.nan, [b"x"], {"a": {"b": torch.float32}}], ids=repr
)
def test_arguments_in_a_checkpoint_that_no_file_can_hold_are_refused(here, odd):
    with pytest.raises(ConfigError) as error:
        TrialConfig(encoder={"name": "strange:net", "width": odd})
    tells(error.value, "`encoder`", "width is not")
    config = asdict(TrialConfig()) | {"encoder": {"name": "strange:net", "width": odd}}
    checkpoint.save({"config": config, "shapes": SHAPES, "classes": ["a"], "model": {}, "metrics": {}}, Path("best.pt"))
    with pytest.raises(CheckpointError) as error:
        inference.load(Path("best.pt"), trusted=["strange:net"])
    tells(error.value, "best.pt")
    assert not (here / "imported").exists()


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [({"wdth": 3}, ["'wdth'"]), ({"shape": 3}, ["'shape'"]), ({"width": 3, "depth": 1}, ["'depth'"])],
)
def test_arguments_that_a_factory_does_not_take_are_told_with_those_that_it_does(here, arguments, facts):
    (here / "strange.py").write_text(ARGUMENTS)
    config = TrialConfig(encoder={"name": "strange:net", **arguments}, modulation=Modulation(method="none"))
    with pytest.raises(ConfigError) as error:
        build_model(config, SHAPES, 2)
    tells(error.value, *facts, "strange:net accepts width: 'no such type' = 4")


def test_a_head_without_an_argument_that_it_needs_is_told_which_it_takes(here):
    (here / "strange.py").write_text("def head(dims, classes, hidden, *, drop=0.0): ...")
    with pytest.raises(ConfigError) as error:
        build_model(TrialConfig(fusion="strange:head", encoder="mlp"), SHAPES, 2)
    tells(error.value, "`fusion`", "'hidden'", "strange:head accepts hidden, drop=0.0")
