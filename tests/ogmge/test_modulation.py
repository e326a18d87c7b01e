"""Scores, ratios, coefficients, and which gradients OGM changes in which epochs."""

from __future__ import annotations

import copy
import math
import warnings
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ogmge import Modulation, Modulator, unimodal_logits
from ogmge.fusion import Concat
from ogmge.model import MultimodalClassifier
from ogmge.modulation import coefficient, discrepancy_ratio, score
from tests.support.tells import tells

INF = math.inf


def plain_score(logits: list[list[float]], y: list[int]) -> float:
    total = 0.0
    for row, label in zip(logits, y, strict=True):
        highest = max(row)
        total += math.exp(row[label] - highest) / sum(math.exp(v - highest) for v in row)
    return total


def plain_ratio(scores: list[float]) -> list[float]:
    def over(a: float, b: float) -> float:
        return a / b if b else (INF if a else 1.0)

    others = len(scores) - 1
    return [sum(over(s, t) for j, t in enumerate(scores) if j != i) / others for i, s in enumerate(scores)]


def plain_coefficient(ratio: float, alpha: float) -> float:
    return 1 - math.tanh(alpha * ratio) if ratio > 1 and alpha > 0 else 1.0


@st.composite
def batches(draw):
    modalities, batch, classes = draw(st.integers(2, 5)), draw(st.integers(1, 5)), draw(st.integers(2, 4))
    row = st.lists(st.floats(-20, 20, width=32), min_size=classes, max_size=classes)
    rows = st.lists(row, min_size=batch, max_size=batch)
    y = draw(st.lists(st.integers(0, classes - 1), min_size=batch, max_size=batch))
    return draw(st.lists(rows, min_size=modalities, max_size=modalities)), y


@settings(deadline=None)
@given(batches())
def test_a_score_is_the_sum_of_the_probabilities_of_the_right_class(batch):
    logits, y = batch
    found = score([torch.tensor(rows) for rows in logits], torch.tensor(y))
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx([plain_score(rows, y) for rows in logits], rel=1e-5, abs=1e-12)


def test_scores_of_half_precision_logits_are_single_precision():
    logits = torch.randn(2, 64, 10).bfloat16()
    y = torch.randint(0, 10, (64,))
    found = score(list(logits), y)
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx([plain_score(rows.tolist(), y.tolist()) for rows in logits], rel=1e-5)


@settings(deadline=None)
@given(st.lists(st.just(0.0) | st.floats(2**-10, 2**10, width=32), min_size=2, max_size=5))
def test_the_ratio_is_the_mean_over_the_others(scores):
    assert discrepancy_ratio(torch.tensor(scores)).tolist() == pytest.approx(plain_ratio(scores), rel=1e-5)


@pytest.mark.parametrize(
    ("scores", "ratios"),
    [
        ([5.0], [1.0]),
        ([0.0], [1.0]),
        ([3.0, 2.0], [1.5, 2 / 3]),
        ([3.0, 0.0], [INF, 0.0]),
        ([0.0, 0.0], [1.0, 1.0]),
        ([4.0, 2.0, 1.0], [3.0, 1.25, 0.375]),
        ([0.0, 0.0, 1.0], [0.5, 0.5, INF]),
    ],
)
def test_ratios_at_the_edges(scores, ratios):
    assert discrepancy_ratio(torch.tensor(scores)).tolist() == pytest.approx(ratios)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 1.0, INF]) | st.floats(0, 4, width=32), min_size=2, max_size=5),
    st.just(0.0) | st.floats(2**-20, 8),
)
def test_a_coefficient_falls_with_a_ratio_above_one(ratios, alpha):
    found = coefficient(torch.tensor(ratios), alpha)
    assert found.tolist() == pytest.approx([plain_coefficient(r, alpha) for r in ratios], rel=1e-5, abs=1e-6)


def test_alpha_zero_scales_nothing_even_where_the_ratio_is_infinite():
    assert coefficient(torch.tensor([INF, 0.0, 3.0]), 0.0).tolist() == [1.0, 1.0, 1.0]


def encoder(width: int) -> nn.Sequential:
    """Return a convolution (weight and bias), batch norm and a linear layer (weight and bias)."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(), nn.Linear(width * 9, 4)
    )


def network(seed: int = 0) -> MultimodalClassifier:
    torch.manual_seed(seed)
    return MultimodalClassifier(
        {"audio": encoder(2), "visual": encoder(3)}, Concat({"audio": 4, "visual": 4}, 3)
    ).eval()  # batch norm depends on the batch only in training mode


def batch(samples: int = 8) -> tuple[dict[str, Tensor], Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = {name: torch.randn(samples, 1, 5, 5, generator=generator) for name in ("audio", "visual")}
    return x, torch.randint(0, 3, (samples,), generator=generator)


def backward(net: MultimodalClassifier, x: dict[str, Tensor], y: Tensor, factor: float = 1.0) -> dict[str, Tensor]:
    """Run a backward pass; return the unimodal logits."""
    logits, features = net(x)
    (cross_entropy(logits, y) * factor).backward()
    return unimodal_logits(net.head, features)


def gradients(net: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in net.named_parameters()}


def modulator(net: MultimodalClassifier, **options) -> Modulator:
    return Modulator(dict(net.encoders.items()), Modulation(**options))


TOUCHED = {
    "conv": {"encoders.audio.0.weight", "encoders.visual.0.weight"},
    "all": {f"encoders.{name}.{layer}.weight" for name in ("audio", "visual") for layer in (0, 4)},
}


@pytest.mark.parametrize("parameters", TOUCHED)
def test_ogm_scales_the_chosen_weights_and_nothing_else(parameters):
    net = network()
    alone = backward(net, *(b := batch()))
    before = gradients(net)
    stats = modulator(net, method="ogm", alpha=0.5, parameters=parameters).modulate(alone, b[1], epoch=0)
    scores = [plain_score(alone[name].tolist(), b[1].tolist()) for name in ("audio", "visual")]
    k = [plain_coefficient(ratio, 0.5) for ratio in plain_ratio(scores)]
    assert min(k) < 1 == max(k)
    assert stats.score.tolist() == pytest.approx(scores, rel=1e-5)
    assert stats.ratio.tolist() == pytest.approx(plain_ratio(scores), rel=1e-5)
    assert stats.coefficient.tolist() == pytest.approx(k, rel=1e-5)
    for name, gradient in gradients(net).items():
        factor = stats.coefficient[int("visual" in name)] if name in TOUCHED[parameters] else torch.tensor(1.0)
        assert torch.equal(gradient, before[name] * factor), name


@pytest.mark.parametrize("parameters", TOUCHED)
def test_ogm_ge_adds_noise_to_the_chosen_weights_and_nothing_else(parameters):
    net = network()
    alone = backward(net, *(b := batch()))
    before = gradients(net)
    modulator(net, method="ogm_ge", alpha=0.0, parameters=parameters).modulate(alone, b[1], epoch=0)
    changed = {name for name, gradient in gradients(net).items() if not torch.equal(gradient, before[name])}
    assert changed == TOUCHED[parameters]


@pytest.mark.parametrize("method", ["ogm", "ogm_ge"])
def test_a_parameter_without_a_gradient_is_skipped(method):
    net = network()
    alone = backward(net, *(b := batch()))
    net.encoders["audio"][0].weight.grad = None
    before = net.encoders["visual"][0].weight.grad.clone()
    modulator(net, method=method, alpha=9.0).modulate({n: -z for n, z in alone.items()}, b[1], epoch=0)
    modulator(net, method=method, alpha=9.0).modulate(alone, b[1], epoch=0)
    assert net.encoders["audio"][0].weight.grad is None
    assert not torch.equal(net.encoders["visual"][0].weight.grad, before)


@pytest.mark.parametrize(
    ("method", "epoch", "inside"),
    [
        *((method, epoch, 2 <= epoch <= 4) for method in ("ogm", "ogm_ge") for epoch in range(1, 6)),
        ("none", 3, False),
    ],
)
def test_gradients_change_within_the_window_only_both_ends_included(method, epoch, inside):
    net = network()
    alone = backward(net, *(b := batch()))
    before = gradients(net)
    stats = modulator(net, method=method, alpha=0.5, start=2, end=4).modulate(alone, b[1], epoch=epoch)
    untouched = all(torch.equal(gradient, before[name]) for name, gradient in gradients(net).items())
    assert untouched is not inside
    assert (stats.coefficient.tolist() == [1.0, 1.0]) is not inside
    assert stats.ratio.tolist() != [1.0, 1.0]


@pytest.mark.parametrize("method", ["ogm", "ogm_ge"])
def test_four_micro_batches_are_one_batch(method):
    x, y = batch(8)
    whole, parts = network(), network()
    whole_stats = modulator(whole, method=method, alpha=0.5).modulate(backward(whole, x, y), y, epoch=0)
    m = modulator(parts, method=method, alpha=0.5)
    for index in torch.arange(8).split(2):
        m.observe(backward(parts, {name: v[index] for name, v in x.items()}, y[index], factor=0.25), y[index])
    stats = m.modulate(epoch=0)
    assert torch.allclose(stats.score, whole_stats.score, rtol=1e-5)
    assert torch.allclose(stats.coefficient, whole_stats.coefficient, rtol=1e-5)
    for name, gradient in gradients(parts).items():
        assert torch.allclose(gradient, gradients(whole)[name], rtol=1e-4, atol=1e-6), name


def test_what_was_observed_counts_for_one_step_only():
    net = network()
    alone = backward(net, *(b := batch()))
    m = modulator(net, method="ogm")
    first = m.modulate(alone, b[1], epoch=0)
    assert torch.equal(m.modulate(alone, b[1], epoch=0).score, first.score)


@pytest.mark.parametrize("method", ["ogm", "ogm_ge"])
def test_a_scaled_loss_gives_gradients_scaled_alike(method):
    """Scaling by a power of two is exact in floating point, so the gradients must be bit-identical."""
    plain, scaled = network(), network()
    x, y = batch()
    for net, factor in ((plain, 1.0), (scaled, 2.0**10)):
        modulator(net, method=method, alpha=0.5).modulate(backward(net, x, y, factor), y, epoch=0)
    for name, gradient in gradients(scaled).items():
        assert torch.equal(gradient, gradients(plain)[name] * 2.0**10), name


def test_the_order_of_the_logits_does_not_matter():
    net = network()
    alone = backward(net, *(b := batch()))
    turned = dict(reversed(alone.items()))
    for_one, for_other = (
        modulator(copy.deepcopy(net), method="ogm").modulate(z, b[1], epoch=0) for z in (alone, turned)
    )
    assert torch.equal(for_one.score, for_other.score)


def test_an_encoder_that_is_frozen_needs_nothing_to_modulate():
    frozen = nn.Linear(2, 2).requires_grad_(False)
    Modulator({"audio": frozen, "visual": nn.Conv2d(1, 1, 1)}, Modulation())


ALONE, Y = {"audio": torch.zeros(2, 3)}, torch.zeros(2, dtype=torch.int64)
WITH_ONE = Modulator({"audio": nn.Conv2d(1, 1, 1)}, Modulation())


@pytest.mark.parametrize(
    ("call", "facts"),
    [
        (partial(Modulator, {}, Modulation()), ["`encoders`"]),
        (partial(Modulator, {"audio": nn.Linear(2, 2)}, Modulation()), ["'audio'", "'conv'", "4-D", "'all'"]),
        (
            partial(Modulator, {"audio": nn.BatchNorm1d(2)}, Modulation(parameters="all")),
            ["'audio'", "`parameters` = 'all'", "weight matrix"],
        ),
        (
            partial(Modulator, {"audio": nn.Conv2d(1, 1, 1)}, Modulation(apply="update")),
            ["`apply: update`", "`optimizer=`"],
        ),
        (partial(WITH_ONE.observe, {"smell": torch.zeros(2, 3)}, Y), ["`logits`", "['audio']", "['smell']"]),
        (partial(WITH_ONE.modulate, ALONE, epoch=0), ["`logits`", "`y`", "both"]),
        (partial(WITH_ONE.modulate, y=Y, epoch=0), ["`logits`", "`y`", "both"]),
        (partial(WITH_ONE.modulate, epoch=0), ["`logits`", "`y`", "observed"]),
        (partial(WITH_ONE.observe, ALONE, Y.float()), ["`y`", "[2]", "torch.float32"]),
        (partial(WITH_ONE.observe, ALONE, Y.bool()), ["`y`", "[2]", "torch.bool"]),
        (partial(WITH_ONE.observe, ALONE, Y.to(torch.complex64)), ["`y`", "[2]", "torch.complex64"]),
        (partial(WITH_ONE.observe, ALONE, torch.eye(3)[Y]), ["`y`", "[2]", "[2, 3]", "`y.argmax(dim=1)`"]),
        (partial(WITH_ONE.modulate, ALONE, Y[:, None], epoch=0), ["`y`", "[2]", "[2, 1]"]),
        (partial(WITH_ONE.modulate, ALONE, Y[:1], epoch=0), ["`y`", "[2]", "[1]"]),
        (partial(WITH_ONE.observe, ALONE, [0, 0]), ["`y`", "[2]", "list"]),
    ],
)
def test_what_is_wrong_is_named(call, facts):
    with pytest.raises(ValueError) as error:  # noqa: PT011, the facts identify it
        call()
    tells(error.value, *facts)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_class_ids_of_any_integer_type_count(dtype):
    y = torch.tensor([0, 2])
    logits = {"audio": torch.randn(2, 3)}
    found = WITH_ONE.modulate(logits, y.to(dtype), epoch=0)
    assert torch.equal(found.score, WITH_ONE.modulate(logits, y, epoch=0).score)


class Transformer(nn.Module):
    """Vision transformer: its only convolution, the patch embedding, holds 0.8 % of the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 32, 4, 4)
        self.blocks = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 896, batch_first=True), 1)


def half() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 1, bias=False), nn.Linear(2, 2))  # four weights each


@pytest.mark.parametrize(
    ("encoders", "options", "facts"),
    [
        ({"visual": Transformer()}, {}, ["0.83 %", "'visual'", "'conv'", "'all'"]),
        ({"audio": Transformer(), "visual": encoder(2)}, {}, ["'audio'", "20 %", "'visual'"]),
        ({"audio": half(), "visual": half()}, {}, []),
        ({"visual": Transformer()}, {"parameters": "all"}, []),
        ({"visual": Transformer()}, {"method": "none"}, []),
        ({"visual": Transformer().requires_grad_(False)}, {}, []),
    ],
)
def test_an_encoder_mostly_without_convolutions_is_warned_of_once(encoders, options, facts):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        Modulator(encoders, Modulation(**options))
    assert [w.filename for w in seen] == [__file__] * bool(facts)
    for warning in seen:
        tells(warning.message, *facts)


def test_only_weights_that_are_trained_count():
    frozen = Transformer()
    frozen.blocks.requires_grad_(False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Modulator({"visual": frozen}, Modulation())


def test_the_method_none_takes_encoders_with_nothing_to_modulate():
    Modulator({"audio": nn.Linear(2, 2)}, Modulation(method="none"))
