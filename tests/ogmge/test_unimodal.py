"""Unimodal logits: compared with plain loops over their definition, and what they must not depend on."""

from __future__ import annotations

import gc
import itertools
import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ogmge import FeatureMeans, unimodal, unimodal_logits
from ogmge.fusion import FUSIONS, Concat, Film
from tests.support.tells import tells

CLASSES = 3
NAMES = ("audio", "visual", "text", "flow", "depth", "touch", "smell")


def curved(features: dict[str, Tensor]) -> Tensor:
    """Compute a custom head that is not a module and not linear: every modality multiplies every other."""
    joint = math.prod(1.0 + x.mean(dim=1).tanh() for x in features.values())
    return torch.stack([joint.sin(), 2 * joint, joint.exp()], dim=1)


class Product(nn.Module):
    """Custom head whose logits are constant as soon as one modality is zero."""

    def __init__(self, dims: dict[str, int]) -> None:
        super().__init__()
        self.linear = nn.ModuleDict({name: nn.Linear(dim, CLASSES, bias=False) for name, dim in dims.items()})

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        return math.prod(linear(features[name]) for name, linear in self.linear.items())


KINDS = [*FUSIONS, "product", "callable"]


def dims_of(modalities: int) -> dict[str, int]:
    return {name: 2 + i for i, name in enumerate(NAMES[:modalities])}


def make(kind: str, modalities: int, seed: int):
    """Return a head in float64."""
    torch.manual_seed(seed)
    dims = dims_of(modalities)
    if kind == "callable":
        return curved
    return (Product(dims) if kind == "product" else FUSIONS[kind](dims, CLASSES)).double()


def draw(modalities: int, batch: int, seed: int, shift: float = 0.5) -> dict[str, Tensor]:
    """Return features of different widths with a non-zero mean, in float64."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(batch, dim, dtype=torch.float64, generator=generator) + shift
        for name, dim in dims_of(modalities).items()
    }


def seen(*batches: dict[str, Tensor]) -> FeatureMeans:
    means = FeatureMeans()
    for batch in batches:
        means.update(batch)
    return means


def frozen(head):
    """Return the head in evaluation mode, in which its means do not change."""
    return head.eval() if isinstance(head, nn.Module) else head


def general(head):
    """Wrap a head to hide its own method `unimodal_logits`."""
    return lambda features: head(features)


# ---- the definition ----


def plain(head, features: dict[str, Tensor], means: dict[str, Tensor]) -> dict[str, Tensor]:
    """Compute z_u = f(x_u, m_others) - f(m) + f(0)/M + the mean over all orders of what u adds to those before it."""

    def at(present: set[str]) -> Tensor:
        return head({n: m[None] if n in present else torch.zeros_like(m)[None] for n, m in means.items()})[0]

    found, names = {}, list(features)
    for name in names:
        gains = []
        for order in itertools.permutations(names):
            before = set(order[: order.index(name)])
            gains.append(at(before | {name}) - at(before))
        share = at(set()) / len(names) + sum(gains) / len(gains)
        rows = []
        for sample in features[name]:
            x = {other: sample[None] if other == name else m[None] for other, m in means.items()}
            rows.append(head(x)[0] - at(set(names)) + share)
        found[name] = torch.stack(rows)
    return found


@settings(deadline=None)
@given(st.sampled_from(KINDS), st.integers(2, 4), st.integers(0, 2**16))
def test_it_is_the_main_effect_around_the_mean_with_the_shapley_share_of_the_mean(kind, modalities, seed):
    head, features, before = make(kind, modalities, seed), draw(modalities, 3, seed), draw(modalities, 5, seed + 1)
    means = {name: x.mean(dim=0) for name, x in before.items()}
    with torch.no_grad():
        alone = unimodal_logits(general(frozen(head)), features, seen(before))
        expected = plain(head, features, means)
    assert list(alone) == list(features)
    for name in features:
        assert torch.allclose(alone[name], expected[name], rtol=1e-9, atol=1e-9)


@settings(deadline=None)
@given(st.sampled_from(["sum", "concat"]), st.integers(1, 7), st.integers(0, 2**16))
def test_additive_heads_give_the_papers_formula_and_add_up_to_the_fused_logits(kind, modalities, seed):
    """This holds with and without the head's own method, and also if the Shapley orders are sampled."""
    head, features = make(kind, modalities, seed), draw(modalities, 3, seed)
    own, asked = unimodal_logits(head, features), unimodal_logits(general(head), features)
    if kind == "sum":
        paper = {name: x @ head.linear[name].weight.T + head.linear[name].bias for name, x in features.items()}
    else:
        weights = head.linear.weight.split([x.shape[1] for x in features.values()], dim=1)
        bias = head.linear.bias / modalities
        paper = {name: x @ w.T + bias for (name, x), w in zip(features.items(), weights, strict=True)}
    shared = sum(head.linear[name].bias for name in features) / modalities if kind == "sum" else None
    for name in features:
        assert torch.allclose(own[name], paper[name], atol=1e-9)
        equally = paper[name] if shared is None else paper[name] - head.linear[name].bias + shared
        assert torch.allclose(asked[name], equally, atol=1e-9)
    for alone in (own, asked):
        assert torch.allclose(sum(alone.values()), head(features), atol=1e-9)


def test_one_modality_alone_is_the_fused_logits():
    for kind in ("sum", "concat", "callable"):
        head, features = make(kind, 1, 0), draw(1, 4, 0)
        assert torch.equal(unimodal_logits(head, features)["audio"], head(features))


@pytest.mark.parametrize("modalities", [6, 7])
def test_for_many_modalities_the_shares_still_add_up(modalities):
    """For more than six modalities the orders are sampled; the gains add up in each order."""
    head, features = make("product", modalities, 0), draw(modalities, 2, 0)
    means = {name: x.mean(dim=0) for name, x in features.items()}
    with torch.no_grad():
        alone = unimodal_logits(head, {name: m[None] for name, m in means.items()}, seen(features))
        assert torch.allclose(sum(alone.values()), head({name: m[None] for name, m in means.items()}), atol=1e-9)


# ---- what they must and must not depend on ----


@settings(deadline=None)
@given(st.sampled_from(KINDS), st.integers(2, 4), st.integers(2, 6), st.integers(0, 2**16), st.randoms())
def test_nothing_of_another_modalitys_sample_is_in_it(kind, modalities, batch, seed, random):
    """Shuffling the others within the batch changes nothing, in the first training batch and at evaluation."""
    features = draw(modalities, batch, seed)
    for name in features:
        order = random.sample(range(batch), batch)
        shuffled = {other: x if other == name else x[order] for other, x in features.items()}
        first = [unimodal_logits(make(kind, modalities, seed), x, FeatureMeans())[name] for x in (features, shuffled)]
        assert torch.allclose(*first, rtol=1e-12, atol=1e-12)
        head, means = frozen(make(kind, modalities, seed)), seen(draw(modalities, 4, seed + 1))
        with torch.no_grad():
            later = [unimodal_logits(head, x, means)[name] for x in (features, shuffled)]
        assert torch.equal(*later)


@pytest.mark.parametrize("kind", [*FUSIONS, "product"])
def test_with_biases_at_zero_every_modality_says_something(kind):
    head, features = make(kind, 2, 0), draw(2, 64, 0)
    for name, parameter in head.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    for alone in unimodal_logits(head, features).values():
        assert (alone.std(dim=0) > 0.01).all()


@pytest.mark.parametrize("kind", KINDS)
def test_at_evaluation_the_samples_that_share_a_batch_do_not_matter(kind):
    head, features = frozen(make(kind, 2, 0)), draw(2, 6, 0)
    means = seen(draw(2, 16, 1))
    with torch.no_grad():
        whole = unimodal_logits(head, features, means)
        for row in range(6):
            one = unimodal_logits(head, {name: x[row : row + 1] for name, x in features.items()}, means)
            for name in features:
                assert torch.allclose(one[name][0], whole[name][row], rtol=1e-12, atol=1e-12)


# ---- the means ----


def test_the_first_batch_counts_in_full_and_each_further_one_with_a_tenth():
    batches = [draw(2, 5, seed) for seed in range(3)]
    means = seen(*batches)
    for name in batches[0]:
        first, second, third = (batch[name].mean(dim=0) for batch in batches)
        expected = 0.9 * (0.9 * first + 0.1 * second) + 0.1 * third
        assert torch.allclose(means.mean(name, batches[0][name]), expected, rtol=1e-12)


def test_training_batches_are_taken_into_the_means_and_no_others():
    head, means = make("gated", 2, 0), FeatureMeans()
    unimodal_logits(head, draw(2, 4, 0), means)
    assert means.batches == 1
    head.eval()
    unimodal_logits(head, draw(2, 4, 1), means)
    assert means.batches == 1
    with torch.no_grad():  # a callable has no mode: disabled gradients mean evaluation
        unimodal_logits(curved, draw(2, 4, 1), means)
    assert means.batches == 1
    unimodal_logits(curved, draw(2, 4, 1), means)
    assert means.batches == 2


def test_before_the_first_batch_the_others_are_taken_at_zero():
    head, features = frozen(make("gated", 2, 0)), draw(2, 3, 0)
    alone = unimodal_logits(head, features, FeatureMeans())
    nothing = {name: torch.zeros_like(x) for name, x in features.items()}
    for name, x in features.items():
        assert torch.allclose(alone[name], head({**nothing, name: x}) - 0.5 * head(nothing))


def test_a_head_without_means_of_its_own_is_remembered_for_as_long_as_it_lives():
    head, other, features = make("gated", 2, 0), make("gated", 2, 0), draw(2, 8, 0)
    trained = unimodal_logits(head, features)
    head.eval()
    again = unimodal_logits(head, {name: x[:1] for name, x in features.items()})
    for name in features:
        assert torch.allclose(again[name], trained[name][:1])
        assert not torch.allclose(unimodal_logits(other.eval(), features)[name], trained[name])
    before = len(unimodal._MEANS)
    del head
    gc.collect()
    assert len(unimodal._MEANS) == before - 1


def test_features_of_another_shape_begin_anew():
    means = seen(draw(2, 4, 0))
    other = {name: torch.ones(3, 9, dtype=torch.float64) for name in NAMES[:2]}
    means.update(other)
    assert means.batches == 1
    assert torch.equal(means.mean("audio", other["audio"]), torch.ones(9, dtype=torch.float64))


class Net(nn.Module):
    """Custom model that saves the means in its checkpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.means = FUSIONS["gated"](dims_of(2), CLASSES).double(), FeatureMeans()


def test_a_checkpoint_has_the_means_and_one_from_before_there_were_any_is_read():
    torch.manual_seed(0)
    net, again, features = Net(), Net(), draw(2, 4, 0)
    unimodal_logits(net.head, features, net.means)
    again.load_state_dict(net.state_dict())
    for one, two in zip(
        *(unimodal_logits(n.eval().head, features, n.means).values() for n in (net, again)), strict=True
    ):
        assert torch.equal(one, two)
    old = {key: value for key, value in net.state_dict().items() if not key.startswith("means.")}
    empty = Net()
    empty.load_state_dict(old)
    assert empty.means.batches == 0


# ---- the head does not change ----


class Restless(nn.Module):
    """Head with everything that a forward pass could disturb."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = Concat({"audio": 2, "visual": 3}, CLASSES)
        self.norm, self.frozen, self.dropout = nn.BatchNorm1d(CLASSES), nn.BatchNorm1d(CLASSES), nn.Dropout(0.5)
        self.frozen.eval()
        self.broken = False

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        torch.rand(3)  # draws random numbers in eval mode too
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
    expected = plain(head.eval(), features, {name: x.mean(dim=0) for name, x in features.items()})
    assert torch.allclose(alone["audio"], expected["audio"], atol=1e-6)


def test_a_head_that_raises_is_left_as_it_was():
    head, features = Restless(), {"audio": torch.randn(4, 2), "visual": torch.randn(4, 3)}
    head.broken = True
    before = state_of(head)
    with pytest.raises(RuntimeError, match="broken"):
        unimodal_logits(head, features)
    assert state_of(head) == before


def test_a_callable_that_draws_random_numbers_leaves_the_generator_as_it_was():
    before = torch.get_rng_state()
    features = {"audio": torch.zeros(2, 1), "visual": torch.zeros(2, 1)}
    unimodal_logits(lambda x: torch.randn(len(x["audio"]), CLASSES), features)
    assert torch.equal(torch.get_rng_state(), before)


def test_features_in_half_precision_meet_a_head_in_single_precision():
    head = Concat({"audio": 2, "visual": 3}, CLASSES)
    features = {"audio": torch.randn(4, 2).bfloat16(), "visual": torch.randn(4, 3).bfloat16()}
    alone = unimodal_logits(head, features)
    whole = unimodal_logits(head, {name: x.float() for name, x in features.items()})
    for name in features:
        assert torch.equal(alone[name], whole[name])


def test_within_autocast_the_head_still_learns_when_it_runs_after_its_modalities():
    """Autocast caches casts of the weights; a cast cached without gradients would stop the head from training."""
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


@pytest.mark.parametrize("stand_in", [torch.tensor([1.0, -2.0, 0.5]), torch.tensor(7.0)])
def test_a_stand_in_takes_the_place_of_no_features(stand_in):
    """Before the first batch the mean is zero, which leaves only the share of the stand-in."""
    head = Film({"audio": 2, "visual": 3}, CLASSES).eval()
    features = {"audio": torch.randn(4, 2), "visual": torch.randn(4, 3)}
    alone = unimodal_logits(head, features, FeatureMeans(), absent={"visual": stand_in})
    zero, there = {name: torch.zeros(1, x.shape[1]) for name, x in features.items()}, stand_in.expand(1, 3)
    nothing, full = head({**zero, "visual": there}), head(zero)
    share = {"audio": nothing / 2, "visual": nothing / 2 + full - nothing}
    for name, x in features.items():
        others = {other: z.expand(4, -1) for other, z in zero.items()}
        expected = head({**others, name: x}) - full + share[name]
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
    with pytest.raises(ValueError) as error:  # noqa: PT011, the facts identify it
        call()
    tells(error.value, *facts)
