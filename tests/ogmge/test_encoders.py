"""Encoders by name: accepted samples, initial weights, and the errors if they cannot be built."""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import pytest
import torch
import torchvision
from torch import nn

from ogmge.config import ENCODER_NAMES, FUSION_NAMES, ConfigError, Modulation, TrialConfig
from ogmge.encoders import ENCODERS, build_encoder
from ogmge.fusion import FUSIONS
from ogmge.model import build_model
from tests.support.tells import tells

FACTORIES = """
import torch
from torch import nn

def linear(shape):
    return nn.Sequential(nn.Flatten(), nn.Linear(torch.Size(shape).numel(), 5))

def flat(shape):
    return nn.Flatten(0)

def number(shape):
    return 3

def broken(shape):
    raise KeyError("broken within")

class Head(nn.Module):
    def __init__(self, dims, classes):
        super().__init__()
        self.layer = nn.Linear(sum(dims.values()), classes)
    def forward(self, features):
        return self.layer(torch.cat(list(features.values()), 1)).tanh()

def wrong_head(dims, classes):
    return Head(dims, classes + 1)

def broken_head(dims, classes):
    raise KeyError("broken within")
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "parts.py").write_text(FACTORIES)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("mine", "mine.parts"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("channels", [1, 2, 3, 10])
@pytest.mark.parametrize(
    ("name", "width"), [("resnet18", 512), ("small_conv", 1024), ("torchvision:mobilenet_v3_small", 1024)]
)
def test_an_encoder_takes_any_number_of_channels(name, width, channels):
    encoder, found = build_encoder(name, (channels, 64, 64))
    assert found == width
    assert encoder.eval()(torch.randn(3, channels, 64, 64)).shape == (3, width)


def test_an_mlp_takes_vectors():
    encoder, width = build_encoder("mlp", (7,))
    assert encoder(torch.randn(3, 7)).shape == (3, width) == (3, 256)


@pytest.mark.parametrize("name", ["resnet18", "small_conv", "torchvision:mobilenet_v3_small"])
def test_convolutions_are_channels_last_from_a_checkpoint_too(name):
    encoder, _ = build_encoder(name, (3, 32, 32))
    saved = {key: value.contiguous() for key, value in encoder.state_dict().items()}
    encoder.load_state_dict(saved)
    filters = [p for p in encoder.parameters() if p.ndim == 4]
    assert filters
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in filters)


@pytest.mark.parametrize("name", ["resnet18", "small_conv", "torchvision:mobilenet_v3_small"])
def test_frames_are_the_mean_of_their_features(name):
    encoder, width = build_encoder(name, (4, 3, 32, 32))
    clips = torch.randn(2, 4, 3, 32, 32)
    encoder.eval()
    with torch.no_grad():
        found, each = encoder(clips), torch.stack([encoder(clips[:, t]) for t in range(4)])
    assert found.shape == (2, width)
    assert torch.dist(found, each.sum(dim=0) / 4) < 1e-4 * found.norm()
    assert torch.dist(each[0], each[1]) > 1e-2 * found.norm()


def config(**options) -> TrialConfig:
    return replace(TrialConfig(encoder="small_conv"), **options)


SHAPES = {"audio": (1, 16, 16), "visual": (3, 16, 16)}


def test_a_factory_is_found_by_its_import_path(mine):
    model = build_model(config(encoder="mine.parts:linear", fusion="mine.parts:Head"), SHAPES, 4)
    assert model.encoders["visual"][1].in_features == 3 * 16 * 16
    assert model.head.training
    logits, features = model({name: torch.randn(2, *shape) for name, shape in SHAPES.items()})
    assert logits.shape == (2, 4)
    assert {name: f.shape for name, f in features.items()} == dict.fromkeys(SHAPES, (2, 5))


def test_each_modality_may_have_an_encoder_of_its_own(mine):
    model = build_model(config(encoder={"visual": "small_conv", "audio": "mine.parts:linear"}), SHAPES, 4)
    assert list(model.encoders) == ["audio", "visual"]
    widths = {name: model.encoders[name](torch.randn(2, *shape)).shape[1] for name, shape in SHAPES.items()}
    assert widths == {"audio": 5, "visual": 64 * 4}


def test_weights_come_from_a_file_whatever_its_number_of_classes(tmp_path):
    other = torchvision.models.resnet18(num_classes=7)
    torch.save(other.state_dict(), tmp_path / "resnet.pt")
    encoder, width = build_encoder("resnet18", (3, 32, 32), str(tmp_path / "resnet.pt"))
    loaded = encoder.encoder.state_dict()
    assert width == 512
    assert all(torch.equal(value, loaded[name]) for name, value in other.state_dict().items() if "fc." not in name)


@pytest.mark.parametrize("channels", [1, 10])
def test_loaded_filters_are_averaged_over_rgb_and_shared_out(tmp_path, channels):
    """A grey image, the same in every channel, must give the same output as in RGB."""
    torch.save(torchvision.models.resnet18(num_classes=7).state_dict(), tmp_path / "resnet.pt")
    grey = torch.randn(2, 1, 32, 32)
    rgb, some = (build_encoder("resnet18", (c, 32, 32), str(tmp_path / "resnet.pt"))[0].eval() for c in (3, channels))
    assert torch.allclose(rgb(grey.expand(2, 3, 32, 32)), some(grey.expand(2, channels, 32, 32)), atol=1e-4)


def test_each_modality_may_have_weights_of_its_own(tmp_path):
    saved = build_encoder("small_conv", (1, 16, 16))[0].state_dict()
    torch.save(saved, tmp_path / "audio.pt")
    model = build_model(config(weights={"audio": str(tmp_path / "audio.pt"), "visual": None}), SHAPES, 4)
    loaded = model.encoders["audio"].state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in saved.items())


@pytest.mark.parametrize("name", ["resnet18", "small_conv", "mlp"])
def test_a_fresh_encoder_starts_as_the_authors_does(name):
    torch.manual_seed(0)
    encoder, _ = build_encoder(name, (3, 32, 32))
    layers = [m for m in encoder.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.BatchNorm2d)]
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            expected = math.sqrt(2 / (layer.out_channels * math.prod(layer.kernel_size)))  # Kaiming, fan-out
        elif isinstance(layer, nn.Linear):
            expected = math.sqrt(2 / (layer.in_features + layer.out_features))  # Xavier
        else:
            expected = 0.0
            assert torch.equal(layer.weight, torch.ones_like(layer.weight))
        spread = 5 / math.sqrt(2 * layer.weight.numel())  # five standard deviations of the estimate
        assert float(layer.weight.detach().std()) == pytest.approx(expected, rel=spread, abs=1e-9)
        assert layer.bias is None or not layer.bias.any()


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_fresh_head_starts_as_the_authors_does(fusion):
    head = build_model(config(encoder="resnet18", fusion=fusion), {"a": (1, 8, 8), "b": (1, 8, 8)}, 30).head
    for layer in (m for m in head.modules() if isinstance(m, nn.Linear)):
        expected = math.sqrt(2 / (layer.in_features + layer.out_features))
        assert float(layer.weight.detach().std()) == pytest.approx(expected, rel=0.05)
        assert not layer.bias.any()


def test_one_seed_gives_the_same_encoders_whatever_the_fusion():
    models = {fusion: build_model(config(fusion=fusion), SHAPES, 4) for fusion in FUSIONS}
    first = models.pop("concat").encoders.state_dict()
    for model in models.values():
        assert all(torch.equal(value, first[name]) for name, value in model.encoders.state_dict().items())
    other = build_model(config(seed=1), SHAPES, 4).encoders.state_dict()
    assert not any(torch.equal(first[name], other[name]) for name in first if name.endswith("encoder.0.weight"))


def test_two_modalities_do_not_start_alike():
    model = build_model(config(), {"audio": (1, 16, 16), "visual": (1, 16, 16)}, 4)
    weights = [encoder.encoder[0].weight for encoder in model.encoders.values()]
    assert not torch.equal(*weights)


def test_building_leaves_the_global_generator_as_it_was():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    build_model(config(), SHAPES, 4)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_encoder_is_built_in_training_mode_with_untouched_statistics():
    encoder, _ = build_encoder("small_conv", (1, 16, 16))
    assert all(m.training for m in encoder.modules())
    assert not any(int(m.num_batches_tracked) for m in encoder.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize(
    ("name", "shape", "facts"),
    [
        ("torchvision:resnet19", (3, 32, 32), ["'resnet19'"]),
        ("torchvision:squeezenet1_0", (3, 64, 64), ["linear layer"]),
        ("torchvision:vit_b_16", (3, 64, 64), [224, 64]),
        ("resnet18", (7,), ["resnet18 takes", "[C, H, W]", "[T, C, H, W]", "[7]", "`mlp`"]),
        ("small_conv", (1, 2, 3, 4, 5), ["[C, H, W]", "[T, C, H, W]", "[1, 2, 3, 4, 5]", "`mlp`"]),
        ("mine.parts:absent", (3, 4, 4), ["'mine.parts'", "'absent'"]),
        ("mine.nowhere:make", (3, 4, 4), ["'mine.nowhere'"]),
        ("mine.parts:number", (3, 4, 4), ["torch.nn.Module", "int"]),
        ("mine.parts:broken", (3, 4, 4), ["broken within"]),
        ("mine.parts:flat", (3, 4, 4), ["[B, D]", "[96]"]),
    ],
)
def test_an_encoder_that_cannot_be_built_is_named(mine, name, shape, facts):
    with pytest.raises(ConfigError) as error:
        build_encoder(name, shape)
    [problem] = error.value.problems
    assert problem.path == "encoder"
    tells(problem.got, name)
    tells(problem, *facts)


@pytest.mark.parametrize("name", ["resnet18", "small_conv"])
@pytest.mark.parametrize(
    "write",
    [
        None,
        lambda path: path.write_bytes(b"hello there"),
        lambda path: path.write_bytes(b""),
        lambda path: torch.save(nn.Linear(2, 2), path),
    ],
)
def test_weights_that_cannot_be_read_are_named(tmp_path, name, write):
    if write is not None:
        write(tmp_path / "w.pt")
    path = str(tmp_path / "w.pt") if write is not None else "NOWHERE"
    with pytest.raises(ConfigError) as error:
        build_encoder(name, (3, 32, 32), path)
    assert [(problem.path, problem.got) for problem in error.value.problems] == [("weights", path)]
    tells(error.value, path)


@pytest.mark.parametrize(("name", "missing"), [("resnet18", "conv1.weight"), ("small_conv", "encoder.0.weight")])
def test_weights_of_another_model_are_refused_with_the_keys_that_differ(tmp_path, name, missing):
    torch.save({"x": torch.zeros(1)}, tmp_path / "w.pt")
    with pytest.raises(ConfigError) as error:
        build_encoder(name, (3, 32, 32), str(tmp_path / "w.pt"))
    tells(error.value, tmp_path / "w.pt", missing, 1, "(x)")


ALONE = {"modalities": ("audio",), "modulation": Modulation(method="none")}
ONE, TWO = "one modality", ["two", "`modulation.method` none", "['audio']"]


@pytest.mark.parametrize(
    ("options", "shapes", "path", "facts"),
    [
        ({"encoder": {"audio": "mlp"}}, SHAPES, "encoder", ["audio, visual", {"audio": "mlp"}]),
        ({"weights": {"audio": None, "smell": None}}, SHAPES, "weights", ["audio, visual", "'smell': None"]),
        ({"fusion": "film", **ALONE}, SHAPES, "fusion", ["concat", "sum", ONE, "'film'"]),
        ({"fusion": "gated", **ALONE}, SHAPES, "fusion", ["concat", "sum", ONE, "'gated'"]),
        ({}, {"audio": (1, 16, 16)}, "modalities", TWO),
        ({"modalities": ("audio",)}, SHAPES, "modalities", TWO),
        ({"modalities": ("audio", "smell")}, SHAPES, "modalities", ["audio, visual", ["audio", "smell"]]),
        ({"fusion": "mix"}, SHAPES, "fusion", [*FUSION_NAMES, "package.module:factory", "'mix'"]),
        ({"fusion": "mine.parts:wrong_head"}, SHAPES, "fusion", ["[B, 4]", "'mine.parts:wrong_head: [2, 5]'"]),
        ({"fusion": "mine.parts:broken_head"}, SHAPES, "fusion", ["broken within", "'mine.parts:broken_head'"]),
        ({"fusion": "mine.parts:absent"}, SHAPES, "fusion", ["'absent'", "'mine.parts:absent'"]),
    ],
)
def test_a_model_that_cannot_be_built_is_named(mine, options, shapes, path, facts):
    with pytest.raises(ConfigError) as error:
        build_model(config(**options), shapes, 4)
    [problem] = error.value.problems
    assert problem.path == path
    tells(problem, f"`{path}`", *facts)


@pytest.mark.parametrize(
    ("path", "value", "choices"),
    [
        ("encoder", "resnet", [*ENCODER_NAMES, "torchvision:NAME", "package.module:factory"]),
        ("encoder", {"audio": "mlp", "visual": "cnn"}, [*ENCODER_NAMES, "torchvision:NAME", "package.module:factory"]),
        ("modalities", (), ["null"]),
        ("modalities", ("a", "a"), ["null", "once"]),
        ("fusion", "konkat", [*FUSION_NAMES, "package.module:factory"]),
    ],
)
def test_an_unknown_name_is_refused_and_the_choices_are_listed(path, value, choices):
    with pytest.raises(ConfigError) as error:
        TrialConfig(**{path: value})
    [problem] = error.value.problems
    wrong = ("encoder.visual", "cnn") if isinstance(value, dict) else (path, value)
    assert (problem.path, problem.got) == wrong
    tells(problem.expected, *choices)
    tells(error.value, f"`{wrong[0]}`", repr(problem.got))


def test_every_name_that_a_config_takes_is_there():
    assert set(FUSION_NAMES) == set(FUSIONS)
    assert {*ENCODERS, "resnet18"} == set(ENCODER_NAMES)
