"""Linear probes: the classifier against scikit-learn's, features against plain loops, and frozen encoders."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn.functional import cross_entropy

from datasets.loader.in_memory import InMemory, Split
from ogmge import inference, linear_probe
from ogmge.config import Modulation, Optimizer, TrialConfig
from ogmge.fit import train
from ogmge.inference import TrainedModel
from ogmge.linear_probe import WEIGHT_DECAYS, extract_features, fit, logistic_regression, right
from tests.support.tells import tells

CPU = torch.device("cpu")
CONFIG = TrialConfig(
    epochs=1, batch_size=8, encoder="small_conv", modulation=Modulation(alpha=0.5), optimizer=Optimizer(lr=0.01)
)


def made(samples: int, width: int, classes: int, signal: float) -> tuple[Tensor, Tensor]:
    """Return features [N, D] and class ids [N]; some features are informative, and all have different scales."""
    generator = torch.Generator().manual_seed(samples + width)
    y = torch.randint(0, classes, (samples,), generator=generator)
    centres = signal * torch.randn(classes, width, generator=generator)
    x = (torch.randn(samples, width, generator=generator) + centres[y]) * torch.logspace(-1, 1, width) + 3
    return x, y


@pytest.mark.parametrize(("classes", "weight_decay"), [(3, 1.0), (3, 1e-1), (5, 1e-2), (5, 1e-3)])
def test_the_classifier_is_scikit_learns(classes, weight_decay):
    x, y = made(120, 6, classes, 0.5)
    x = (x.double() - x.double().mean(0)) / x.double().std(0)
    found = logistic_regression(x, y, classes, weight_decay)
    theirs = LogisticRegression(C=1 / (len(x) * weight_decay), tol=1e-10, max_iter=10_000).fit(x.numpy(), y.numpy())
    assert found.converged
    assert torch.allclose(found.weight, torch.from_numpy(theirs.coef_), atol=2e-3)
    assert torch.allclose(found.bias, torch.from_numpy(theirs.intercept_), atol=2e-3)


def test_where_the_search_begins_makes_no_difference():
    x, y = made(60, 5, 3, 0.3)
    begun = logistic_regression(x.double(), y, 3, 1e-3)
    again = logistic_regression(x.double(), y, 3, 1e-1, begun)
    afresh = logistic_regression(x.double(), y, 3, 1e-1)
    assert torch.allclose(again.weight, afresh.weight, atol=1e-3)


def test_a_fit_that_ends_too_early_says_so(monkeypatch):
    x, y = made(60, 5, 3, 0.3)
    monkeypatch.setattr(linear_probe, "ITERATIONS", 2)
    assert not logistic_regression(x.double(), y, 3, 1e-3).converged


def held_out(y: Tensor, seed: int) -> Tensor:
    """Return the samples that `fit` holds out to choose the weight decay: bool [N]; a sample's feature is its index."""
    fitted = []

    def noted(x: Tensor, *arguments):
        fitted.append(x)
        return logistic_regression(x, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear_probe, "logistic_regression", noted)
        found = fit(torch.arange(float(len(y)))[:, None], y, 3, weight_decays=[1.0], seed=seed)
    rest, everything = ((x[:, 0] * found.scale + found.mean).round().long() for x in fitted)
    assert torch.equal(everything, torch.arange(len(y)))
    held = torch.ones(len(y), dtype=torch.bool)
    held[rest] = False
    return held


@pytest.mark.parametrize("samples", [5, 99, 200])
def test_a_fifth_of_each_class_is_held_out_by_the_seed(samples):
    _, y = made(samples, 2, 3, 1)
    held = held_out(y, 0)
    assert int(held.sum()) == samples // 5
    for c in range(3):
        assert abs(int(held[y == c].sum()) - int((y == c).sum()) / 5) < 1
    assert torch.equal(held, held_out(y, 0))
    assert samples == 5 or not torch.equal(held, held_out(y, 1))


@pytest.mark.parametrize(("signal", "least", "most"), [(0.0, 10.0, 10.0), (0.25, 1e-2, 1.0), (3.0, 1e-5, 1e-4)])
def test_the_weight_decay_is_lowered_as_long_as_that_helps_samples_held_out(signal, least, most):
    x, y = made(150, 12, 3, signal)
    found = fit(x, y, 3)
    assert least <= found.weight_decay <= most
    held = held_out(y, 0)
    z = (x.double() - x.double().mean(0)) / x.double().std(0, correction=0)
    losses = {}
    for decay in WEIGHT_DECAYS:
        one = logistic_regression(z[~held], y[~held], 3, decay)
        losses[decay] = float(cross_entropy(z[held] @ one.weight.T + one.bias, y[held]))
    best = WEIGHT_DECAYS.index(found.weight_decay)
    path = [losses[decay] for decay in WEIGHT_DECAYS[: best + 1]]
    assert path == sorted(path, reverse=True)
    assert best + 1 == len(WEIGHT_DECAYS) or losses[WEIGHT_DECAYS[best + 1]] > path[-1]
    whole = logistic_regression(z, y, 3, found.weight_decay)
    assert torch.allclose(found.logits(x), z @ whole.weight.T + whole.bias, atol=1e-9)


def test_a_feature_that_never_changes_is_no_trouble_nor_is_a_class_without_a_sample():
    x, y = made(50, 4, 3, 2)
    dead = torch.cat([x, torch.full((50, 1), 7.0)], dim=1)
    with_it, without = fit(dead, y, 5), fit(x, y, 5)
    assert with_it.fit.converged
    assert torch.allclose(with_it.logits(dead), without.logits(x), atol=1e-3)
    assert set(with_it.logits(dead).argmax(dim=1).tolist()) <= {0, 1, 2}


def test_too_few_samples_are_named():
    with pytest.raises(ValueError) as error:  # noqa: PT011, the facts identify it
        fit(torch.randn(4, 2), torch.tensor([0, 1, 0, 1]), 2)
    tells(error.value, 5, 4)


# ---- a trained model ----


def split(samples: int, seed: int) -> Split:
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 3, (samples,), generator=generator)
    audio, visual = torch.randn(2, samples, 1, 8, 8, generator=generator)
    return Split({"audio": audio + y.view(-1, 1, 1, 1), "visual": visual}, y)


DATA = InMemory(["a", "b", "c"], split(40, 0), split(21, 1), "")


@pytest.mark.parametrize(("products", "expected"), [(10**9, 1), (450, 2), (100, 4)])
def test_a_fit_takes_as_many_threads_as_there_is_work_for(monkeypatch, products, expected):
    x, y = made(60, 5, 3, 0.3)  # 900 multiplications
    seen, whole = [], linear_probe.logistic_regression

    def watched(*arguments):
        seen.append(torch.get_num_threads())
        return whole(*arguments)

    monkeypatch.setattr(linear_probe, "logistic_regression", watched)
    monkeypatch.setattr(linear_probe, "PRODUCTS", products)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        fit(x, y, 3)
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
    assert {*seen} == {expected}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[TrainedModel]:
    """Two models: one trained in full precision, and a unimodal one with another fusion, in half precision."""
    folder = tmp_path_factory.mktemp("models")
    half = replace(CONFIG, modalities=("visual",), modulation=Modulation(method="none"), precision="bf16")
    for name, config in (("full", CONFIG), ("half", half)):
        train(config, DATA, lambda metrics: None, folder=Path(folder, name))
    return [inference.load(folder / name / "best.pt") for name in ("full", "half")]


def state(model: TrainedModel) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.model.state_dict().items()}


def test_features_are_those_of_a_plain_loop_over_samples(models):
    found, y = extract_features(models, DATA.validation(batch_size=8), CPU)
    assert torch.equal(y, DATA.held_out.y)
    assert [list(features) for features in found] == [["audio", "visual"], ["visual"]]
    full, half = models
    for name, x in DATA.held_out.x.items():
        encoder = full.model.encoders[name]
        loop = torch.cat([encoder(sample[None]).detach() for sample in x])
        assert torch.allclose(found[0][name], loop, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loop = torch.cat([half.model.encoders["visual"](s[None]).detach() for s in DATA.held_out.x["visual"]])
    assert torch.allclose(found[1]["visual"], loop.float(), rtol=0.03, atol=0.03)
    assert not torch.allclose(found[1]["visual"], half.model.encoders["visual"](DATA.held_out.x["visual"]), atol=1e-6)
    assert all(f.dtype == torch.float32 and not f.requires_grad for features in found for f in features.values())


def test_probing_is_the_same_every_time_and_encoders_stay_frozen(models):
    before = [state(model) for model in models]
    answers = []
    for _ in range(2):
        training, y = extract_features(models, DATA.train(batch_size=8, seed=0, epoch=0), CPU)
        held, target = extract_features(models, DATA.validation(batch_size=8), CPU)
        probes = [{name: fit(value, y, 3) for name, value in features.items()} for features in training]
        logits = [probes[i][name].logits(value) for i in range(2) for name, value in held[i].items()]
        answers.append(logits + [right(*one, target).fused for one in zip(models, probes, held, strict=True)])
    assert all(torch.equal(a, b) for a, b in zip(*answers, strict=True))
    for model, old in zip(models, before, strict=True):
        assert all(torch.equal(value, old[name]) for name, value in state(model).items())
        assert all(p.grad is None for p in model.model.parameters())
        assert not any(module.training for module in model.model.modules())


def test_the_whole_model_and_its_head_are_as_right_as_in_training(models):
    model = models[0]
    held, y = extract_features([model], DATA.validation(batch_size=8), CPU)
    found = right(model, {}, held[0], y)
    assert float(found.fused.double().mean()) == model.metrics["val/accuracy"]
    for name, answers in found.unimodal.items():
        assert float(answers.double().mean()) == model.metrics[f"val/accuracy/{name}"]


def test_a_probe_reads_what_an_encoder_that_was_hardly_trained_tells(models):
    """Audio identifies the class, the image does not."""
    training, y = extract_features(models[:1], DATA.train(batch_size=8, seed=0, epoch=0), CPU)
    held, target = extract_features(models[:1], DATA.validation(batch_size=8), CPU)
    probes = {name: fit(value, y, 3) for name, value in training[0].items()}
    found = right(models[0], probes, held[0], target)
    assert float(found.probed["audio"].double().mean()) > 0.8
    assert float(found.probed["visual"].double().mean()) < 0.7


@pytest.mark.parametrize(("value", "fact"), [(math.nan, "audio"), (None, "no sample")])
def test_what_no_probe_can_be_made_of_is_named(models, value, fact):
    x = {name: torch.full((2, 1, 8, 8), value or 0.0) for name in DATA.shapes}
    batches = [] if value is None else [(x, torch.tensor([0, 1]))]
    with pytest.raises(ValueError) as error:  # noqa: PT011, the facts identify it
        extract_features(models, batches, CPU)
    tells(error.value, fact)
