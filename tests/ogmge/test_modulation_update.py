"""`apply: update` scales the optimizer's update instead of the gradient."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ogmge import Modulation, Modulator, unimodal_logits
from ogmge.fusion import Sum
from ogmge.model import MultimodalClassifier
from tests.support.tells import tells

WEIGHTS = ("encoders.audio.0.weight", "encoders.visual.0.weight")


def network() -> MultimodalClassifier:
    torch.manual_seed(0)
    encoders = {name: nn.Sequential(nn.Conv2d(1, 30, 3), nn.Flatten()) for name in ("audio", "visual")}
    return MultimodalClassifier(encoders, Sum({"audio": 270, "visual": 270}, 3)).double()


def step(
    net: MultimodalClassifier,
    optimizer,
    modulator: Modulator | None,
    epoch: int = 0,
    seed: int = 0,
    is_closure: bool = False,
):
    """Make one step on a random batch; return the coefficients by the name of the weight."""
    generator = torch.Generator().manual_seed(seed)
    x = {n: torch.randn(16, 1, 5, 5, generator=generator, dtype=torch.float64) for n in ("audio", "visual")}
    y = torch.randint(0, 3, (16,), generator=generator)
    k = [1.0, 1.0]

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits, features = net(x)
        loss = cross_entropy(logits, y)
        loss.backward()
        if modulator is not None:
            alone = unimodal_logits(net.head, features)
            alone = {"audio": 3 * alone["audio"], "visual": -alone["visual"]}
            k[:] = modulator.modulate(alone, y, epoch=epoch).coefficient.tolist()
        return loss

    if is_closure:
        optimizer.step(closure)
    else:
        closure()
        optimizer.step()
    return dict(zip(WEIGHTS, k, strict=True))


def moved(net: nn.Module, start: nn.Module) -> dict[str, Tensor]:
    pairs = zip(net.named_parameters(), start.parameters(), strict=True)
    return {name: (p - before).detach() for (name, p), before in pairs}


OPTIMIZERS = {
    "sgd": lambda ps: torch.optim.SGD(ps, lr=0.1),
    "sgd with momentum and decay": lambda ps: torch.optim.SGD(ps, lr=0.1, momentum=0.9, weight_decay=0.01),
    "adam": lambda ps: torch.optim.Adam(ps, lr=0.01, weight_decay=0.01),
    "adamw": lambda ps: torch.optim.AdamW(ps, lr=0.01),
}


def pair(kind: str, **options):
    """Return two equal networks with their optimizers; only the second one is modulated."""
    nets = [network(), network()]
    optimizers = [OPTIMIZERS[kind](net.parameters()) for net in nets]
    modulation = Modulation(**{"method": "ogm", "alpha": 0.5, "apply": "update"} | options)
    modulator = Modulator(dict(nets[1].encoders.items()), modulation, optimizer=optimizers[1])
    return nets, optimizers, modulator


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_the_displacement_is_k_times_the_optimizers_own(kind):
    (plain, modulated), optimizers, modulator = pair(kind)
    start = copy.deepcopy(plain)
    step(plain, optimizers[0], None)
    k = step(modulated, optimizers[1], modulator)
    assert min(k.values()) < 0.9
    own = moved(plain, start)
    for name, displacement in moved(modulated, start).items():
        assert torch.allclose(displacement, own[name] * k.get(name, 1.0), rtol=1e-6, atol=1e-14), name


def test_for_plain_sgd_with_ogm_the_update_is_the_gradients():
    (_, by_update), (_, optimizer), modulator = pair("sgd")
    by_gradient = network()
    other = OPTIMIZERS["sgd"](by_gradient.parameters())
    scaler = Modulator(dict(by_gradient.encoders.items()), Modulation(method="ogm", alpha=0.5), optimizer=other)
    for seed in range(3):
        assert min(step(by_update, optimizer, modulator, seed=seed).values()) < 1
        step(by_gradient, other, scaler, seed=seed)
    for (name, p), q in zip(by_update.named_parameters(), by_gradient.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=1e-10, atol=1e-14), name


def test_noise_has_the_deviation_of_the_displacement():
    (plain, modulated), optimizers, modulator = pair("adam", method="ogm_ge", alpha=100.0)
    start = copy.deepcopy(plain)
    step(plain, optimizers[0], None)
    k = step(modulated, optimizers[1], modulator)
    own, found = moved(plain, start), moved(modulated, start)
    for name in found:
        noise = found[name] - own[name] * k.get(name, 1.0)
        expected = float(own[name].std(correction=0)) if name in WEIGHTS else 0.0
        assert float(noise.square().mean().sqrt()) == pytest.approx(expected, rel=0.2, abs=1e-14), name


@pytest.mark.parametrize("method", ["ogm", "ogm_ge", "none"])
def test_outside_the_window_the_run_is_the_unmodulated_one_to_the_bit(method):
    (plain, modulated), optimizers, modulator = pair("adam", method=method, start=2, end=2)
    same = []
    for epoch in range(3):
        step(plain, optimizers[0], None, seed=epoch)
        step(modulated, optimizers[1], modulator, epoch=epoch, seed=epoch)
        same.append(all(torch.equal(a, b) for a, b in zip(plain.parameters(), modulated.parameters(), strict=True)))
    assert same == [True, True, method == "none"]


def test_after_the_window_updates_are_the_optimizers_own_again():
    (plain, modulated), optimizers, modulator = pair("sgd", end=0)
    step(modulated, optimizers[1], modulator, epoch=0)
    plain.load_state_dict(modulated.state_dict())
    step(plain, optimizers[0], None, seed=1)
    step(modulated, optimizers[1], modulator, epoch=1, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), modulated.parameters(), strict=True))


def test_a_step_that_the_scaler_skips_leaves_the_weights_and_later_steps_alone():
    (plain, modulated), optimizers, modulator = pair("sgd", end=0)
    scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    logits, features = modulated({name: torch.ones(2, 1, 5, 5, dtype=torch.float64) for name in ("audio", "visual")})
    scaler.scale(logits.sum() * torch.inf).backward()
    modulator.modulate(unimodal_logits(modulated.head, features), torch.zeros(2, dtype=torch.int64), epoch=0)
    scaler.step(optimizers[1])
    scaler.update()
    step(plain, optimizers[0], None)
    step(modulated, optimizers[1], modulator, epoch=1)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), modulated.parameters(), strict=True))


@pytest.mark.parametrize(
    ("kind", "options", "warned"),
    [
        ("adam", {"apply": "gradient"}, True),
        ("adamw", {"apply": "gradient"}, True),
        ("sgd", {"apply": "gradient"}, False),
        ("adam", {"apply": "update"}, False),
        ("adam", {"apply": "gradient", "method": "none"}, False),
    ],
)
def test_an_optimizer_that_undoes_the_scaling_is_warned_of(kind, options, warned):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        pair(kind, **options)
    assert any("apply='update'" in str(w.message) for w in seen) is warned


@pytest.mark.parametrize("method", ["ogm", "ogm_ge", "none"])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_step_with_a_closure_is_a_step_without_one_to_the_bit(kind, method):
    (by_closure, _), (optimizer, _), _ = pair(kind)
    modulation = Modulation(method=method, alpha=0.5, apply="update", start=1, end=2)
    of_closure = Modulator(dict(by_closure.encoders.items()), modulation, optimizer=optimizer)
    (_, plain), (_, other), modulator = pair(kind, method=method, start=1, end=2)
    for epoch in range(4):  # before, within and after the window
        k = step(by_closure, optimizer, of_closure, epoch=epoch, seed=epoch, is_closure=True)
        assert k == step(plain, other, modulator, epoch=epoch, seed=epoch)
        assert (min(k.values()) < 1) is (method != "none" and epoch in (1, 2))
    assert all(torch.equal(a, b) for a, b in zip(by_closure.parameters(), plain.parameters(), strict=True))


def test_a_closure_that_raises_leaves_the_weights_and_later_steps_alone():
    (plain, modulated), optimizers, modulator = pair("sgd", end=0)

    def closure() -> Tensor:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        optimizers[1].step(closure)
    reference, (_, other), steps = pair("sgd", end=0)
    step(modulated, optimizers[1], modulator)
    step(reference[1], other, steps)
    assert all(torch.equal(a, b) for a, b in zip(reference[1].parameters(), modulated.parameters(), strict=True))
    step(modulated, optimizers[1], modulator, epoch=1, seed=1)
    plain.load_state_dict(reference[1].state_dict())
    step(plain, optimizers[0], None, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), modulated.parameters(), strict=True))


class Wrapper(torch.optim.Optimizer):
    """Optimizer that holds another one and has no hooks of its own, like accelerate's."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.optimizer.zero_grad(set_to_none)

    def step(self, closure=None):
        return self.optimizer.step(closure)


@pytest.mark.parametrize("is_closure", [False, True])
def test_a_wrapped_optimizer_makes_the_same_steps(is_closure):
    (_, plain), (_, optimizer), modulator = pair("adamw")
    wrapped_net = network()
    wrapper = Wrapper(Wrapper(OPTIMIZERS["adamw"](wrapped_net.parameters())))
    modulation = Modulation(method="ogm", alpha=0.5, apply="update")
    of_wrapper = Modulator(dict(wrapped_net.encoders.items()), modulation, optimizer=wrapper)
    for seed in range(2):
        k = step(wrapped_net, wrapper, of_wrapper, seed=seed, is_closure=is_closure)
        assert k == step(plain, optimizer, modulator, seed=seed)
        assert min(k.values()) < 1
    assert all(torch.equal(a, b) for a, b in zip(wrapped_net.parameters(), plain.parameters(), strict=True))


class Adapted(torch.optim.AdamW):
    """Adam-like optimizer of one's own."""


@pytest.mark.parametrize("wrap", [Wrapper, lambda optimizer: optimizer])
def test_adam_is_recognised_in_a_wrapper_and_as_a_base(wrap):
    net = network()
    with pytest.warns(UserWarning, match="AdamW divides") as seen:
        Modulator(dict(net.encoders.items()), Modulation(), optimizer=wrap(Adapted(net.parameters())))
    assert [w.filename for w in seen] == [__file__]


@pytest.mark.parametrize(
    ("make", "facts"),
    [
        (lambda ps: torch.optim.LBFGS(ps), ["`apply: update`", "LBFGS", "closure", "`apply='gradient'`"]),
        (lambda ps: Wrapper(torch.optim.LBFGS(ps)), ["LBFGS"]),
        (lambda ps: object(), ["`apply: update`", "object", "`torch.optim.Optimizer`"]),
    ],
)
def test_an_optimizer_whose_update_cannot_be_scaled_is_refused(make, facts):
    net = network()
    with pytest.raises(ValueError) as error:  # noqa: PT011, the facts identify it
        Modulator(dict(net.encoders.items()), Modulation(apply="update"), optimizer=make(net.parameters()))
    tells(error.value, *facts)
