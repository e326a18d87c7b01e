"""The fusion heads, and what each modality says alone through them."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ogmge import unimodal_logits
from ogmge.fusion import FUSIONS, Concat, Film, Gated, Sum
from tests.support.tells import tells

CLASSES = 3
NAMES = ("audio", "visual", "text", "flow")


def curved(features: dict[str, Tensor]) -> Tensor:
    """A user's head: no module, not linear, every modality multiplies every other."""
    joint = math.prod(1.0 + x.mean(dim=1).tanh() for x in features.values())
    return torch.stack([joint.sin(), 2 * joint, joint.exp()], dim=1)


def make(kind: str, modalities: int, batch: int, seed: int):
    """A head and its features, in float64, of different widths."""
    torch.manual_seed(seed)
    dims = {name: 2 + i for i, name in enumerate(NAMES[:modalities])}
    head = curved if kind == "callable" else FUSIONS[kind](dims, CLASSES).double()
    return head, {name: torch.randn(batch, dim, dtype=torch.float64) for name, dim in dims.items()}


def affine(layer: nn.Linear, x: list[float], first: int = 0, bias: bool = True) -> list[float]:
    """W[:, first : first + len(x)] x + b, in plain Python."""
    w, b = layer.weight.tolist(), layer.bias.tolist()
    return [sum(row[first + j] * v for j, v in enumerate(x)) + (b[i] if bias else 0.0) for i, row in enumerate(w)]


@settings(deadline=None)
@given(
    st.sampled_from([*FUSIONS, "callable"]), st.integers(2, 4), st.integers(2, 6), st.integers(0, 2**16), st.randoms()
)
def test_a_modality_alone_does_not_change_when_the_others_are_shuffled(kind, modalities, batch, seed, random):
    head, features = make(kind, modalities, batch, seed)
    alone = unimodal_logits(head, features)
    for name in features:
        order = random.sample(range(batch), batch)
        shuffled = {other: x if other == name else x[order] for other, x in features.items()}
        assert torch.equal(unimodal_logits(head, shuffled)[name], alone[name])


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([*FUSIONS, "callable"]), st.integers(2, 4), st.integers(0, 2**16))
def test_a_modality_alone_is_the_head_on_it_less_its_share_of_the_head_on_nothing(kind, modalities, seed):
    head, features = make(kind, modalities, 3, seed)
    nothing = {name: torch.zeros_like(x) for name, x in features.items()}
    alone = unimodal_logits(head, features)
    assert list(alone) == list(features)
    for name, x in features.items():
        expected = head({**nothing, name: x}) - (1 - 1 / modalities) * head(nothing)
        assert torch.allclose(alone[name], expected, rtol=1e-12, atol=1e-12)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(["sum", "concat"]), st.integers(1, 4), st.integers(0, 2**16))
def test_additive_heads_give_the_papers_formula_and_add_up_to_the_fused_logits(kind, modalities, seed):
    head, features = make(kind, modalities, 2, seed)
    alone = unimodal_logits(head, features)
    layers = list(head.linear.values()) if kind == "sum" else [head.linear]
    bias = [sum(values) / modalities for values in zip(*(layer.bias.tolist() for layer in layers), strict=True)]
    first = 0
    for u, (name, x) in enumerate(features.items()):
        layer, at = (layers[u], 0) if kind == "sum" else (layers[0], first)
        for sample, row in enumerate(x.tolist()):
            expected = [v + b for v, b in zip(affine(layer, row, at, bias=False), bias, strict=True)]
            assert alone[name][sample].tolist() == pytest.approx(expected, abs=1e-9)
        first += x.shape[1]
    assert torch.allclose(sum(alone.values()), head(features), atol=1e-9)


@pytest.mark.parametrize("kind", ["sum", "concat"])
def test_one_modality_alone_is_the_fused_logits(kind):
    head, features = make(kind, 1, 4, 0)
    assert torch.equal(unimodal_logits(head, features)["audio"], head(features))


def plain_film(head: Film, x: list[list[float]]) -> list[float]:
    first, *others = x
    joined = [v for other in others for v in other]
    film = affine(head.film, first)
    return affine(head.linear, [film[i] * v + film[len(joined) + i] for i, v in enumerate(joined)])


def plain_gated(head: Gated, x: list[list[float]]) -> list[float]:
    hidden = [affine(layer, v) for layer, v in zip(head.hidden.values(), x, strict=True)]
    gate = [1 / (1 + math.exp(-v)) for v in hidden[0]]
    return affine(head.linear, [g * v for other in hidden[1:] for g, v in zip(gate, other, strict=True)])


def plain_concat(head: Concat, x: list[list[float]]) -> list[float]:
    return affine(head.linear, [v for part in x for v in part])


def plain_sum(head: Sum, x: list[list[float]]) -> list[float]:
    parts = [affine(layer, v) for layer, v in zip(head.linear.values(), x, strict=True)]
    return [sum(values) for values in zip(*parts, strict=True)]


PLAIN = {"concat": plain_concat, "sum": plain_sum, "film": plain_film, "gated": plain_gated}


@pytest.mark.parametrize("modalities", [2, 3, 4])
@pytest.mark.parametrize("kind", FUSIONS)
def test_a_head_computes_the_papers_equation(kind, modalities):
    head, features = make(kind, modalities, 3, 1)
    logits = head(features)
    for sample in range(3):
        expected = PLAIN[kind](head, [x[sample].tolist() for x in features.values()])
        assert logits[sample].tolist() == pytest.approx(expected, abs=1e-9)


class Restless(nn.Module):
    """A head with all that a forward pass could disturb."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = Concat({"audio": 2, "visual": 3}, CLASSES)
        self.norm, self.frozen, self.dropout = nn.BatchNorm1d(CLASSES), nn.BatchNorm1d(CLASSES), nn.Dropout(0.5)
        self.frozen.eval()
        self.broken = False

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        torch.rand(3)  # draws in eval mode too
        if self.broken:
            raise RuntimeError("broken")
        return self.dropout(self.frozen(self.norm(self.linear(features))))


def state_of(head: nn.Module):
    return (
        {name: module.training for name, module in head.named_modules()},
        {name: value.tolist() for name, value in head.state_dict().items()},
        torch.get_rng_state().tolist(),
    )


@pytest.mark.parametrize("what", ["module", "bound method"])
def test_the_head_runs_in_eval_mode_and_is_left_as_it_was(what):
    head, features = Restless(), {"audio": torch.randn(4, 2), "visual": torch.randn(4, 3)}
    before = state_of(head)
    assert before[0]["norm"]
    assert not before[0]["frozen"]
    alone = unimodal_logits(head if what == "module" else head.forward, features)
    assert state_of(head) == before
    head.eval()
    expected = head({"audio": features["audio"], "visual": torch.zeros(4, 3)})
    expected = expected - 0.5 * head({"audio": torch.zeros(4, 2), "visual": torch.zeros(4, 3)})
    assert torch.allclose(alone["audio"], expected, atol=1e-6)


def test_a_head_that_raises_is_left_as_it_was():
    head, features = Restless(), {"audio": torch.randn(4, 2), "visual": torch.randn(4, 3)}
    head.broken = True
    before = state_of(head)
    with pytest.raises(RuntimeError, match="broken"):
        unimodal_logits(head, features)
    assert state_of(head) == before


def test_a_callable_that_draws_random_numbers_leaves_the_generator_as_it_was():
    before = torch.get_rng_state()
    unimodal_logits(lambda x: torch.randn(2, CLASSES), {"audio": torch.zeros(2, 1), "visual": torch.zeros(2, 1)})
    assert torch.equal(torch.get_rng_state(), before)


def test_features_in_half_precision_meet_a_head_in_single_precision():
    head = Concat({"audio": 2, "visual": 3}, CLASSES)
    features = {"audio": torch.randn(4, 2).bfloat16(), "visual": torch.randn(4, 3).bfloat16()}
    alone = unimodal_logits(head, features)
    whole = unimodal_logits(head, {name: x.float() for name, x in features.items()})
    for name in features:
        assert torch.equal(alone[name], whole[name])


def test_within_autocast_the_head_still_learns_when_it_runs_after_its_modalities():
    """Autocast caches casts of the weights, and one made without gradients would be of no use to the head."""
    head, features = Concat({"audio": 2}, CLASSES), {"audio": torch.randn(4, 2, requires_grad=True)}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        unimodal_logits(head, features)
        head(features).sum().backward()
    assert head.linear.weight.grad is not None


def test_the_graph_of_the_features_is_not_touched():
    head, leaves = Concat({"audio": 2, "visual": 3}, CLASSES), [torch.randn(4, 2), torch.randn(4, 3)]
    grads = []
    for looked_at in (False, True):
        x = [leaf.clone().requires_grad_() for leaf in leaves]
        features = {"audio": x[0] * 2, "visual": x[1] * 3}
        if looked_at:
            alone = unimodal_logits(head, features)
            assert not any(z.requires_grad for z in alone.values())
        head(features).square().sum().backward()
        grads.append([leaf.grad for leaf in x])
        head.zero_grad()
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


@pytest.mark.parametrize("stand_in", [torch.tensor([1.0, -2.0, 0.5]), torch.randn(4, 3), torch.tensor(7.0)])
def test_a_stand_in_takes_the_place_of_an_absent_modality(stand_in):
    head = Film({"audio": 2, "visual": 3}, CLASSES)
    features = {"audio": torch.randn(4, 2), "visual": torch.randn(4, 3)}
    alone = unimodal_logits(head, features, absent={"visual": stand_in})
    absent = {"audio": torch.zeros(4, 2), "visual": stand_in.expand(4, 3)}
    for name in features:
        expected = head({**absent, name: features[name]}) - 0.5 * head(absent)
        assert torch.allclose(alone[name], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "facts"),
    [
        (partial(unimodal_logits, curved, {}), ["`features`"]),
        (
            partial(unimodal_logits, curved, {"audio": torch.ones(1, 1)}, absent={"smell": torch.ones(1)}),
            ["`absent`", "['smell']", "['audio']"],
        ),
    ],
)
def test_what_is_wrong_is_named(call, facts):
    with pytest.raises(ValueError) as error:  # noqa: PT011, its facts say which
        call()
    tells(error.value, *facts)
