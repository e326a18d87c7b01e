"""GE's noise: its standard deviation, its randomness, and the steps and parameters it is added to."""

from __future__ import annotations

import statistics

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ogmge import Modulation, Modulator, noise

NAMES = ("audio", "visual")
Y = torch.zeros(1, dtype=torch.int64)
PIECEWISE = pytest.mark.parametrize("way", ["piece by piece"], indirect=True)
AUDIO_LEADS = {"audio": torch.tensor([[9.0, 0.0]]), "visual": torch.tensor([[0.0, 0.0]])}
GONE = 100.0  # an alpha at which the leader's coefficient is exactly 0, so its gradient becomes pure noise


@pytest.fixture(scope="module", params=["piece by piece", "at once"], autouse=True)
def way(request):
    """Draw the noise as on a CPU, and as on a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "at once":
            patch.setattr(noise, "_is_piecewise", lambda tensor: False)
        yield request.param


class Step:
    """Step of a modulator over two 1 x 1 convolutions whose gradients the test sets."""

    def __init__(self, size: int, dtype: torch.dtype = torch.float32, seed: int = 0, **options) -> None:
        self.encoders = {name: nn.Conv2d(size, 1, 1, bias=False, dtype=dtype) for name in NAMES}
        options = {"method": "ogm_ge", "alpha": GONE, "start": 1, "end": 2} | options
        self.modulator = Modulator(self.encoders, Modulation(**options), seed=seed)

    def __call__(self, gradient: Tensor, epoch: int = 1) -> tuple[Tensor, Tensor]:
        """Return what a gradient [size] becomes in the leading encoder and in the other one."""
        for encoder in self.encoders.values():
            encoder.weight.grad = gradient.clone().view_as(encoder.weight)
        self.modulator.modulate(AUDIO_LEADS, Y, epoch=epoch)
        audio, visual = (encoder.weight.grad.flatten() for encoder in self.encoders.values())
        return audio, visual


def deviation_used(gradient: Tensor) -> float:
    """Return the standard deviation used for a gradient: its noise divided by that for a deviation of 1, same seed."""
    unit = torch.ones_like(gradient)
    unit[::2] = -1.0
    if len(unit) % 2:
        unit[-1] = 0.0
        unit *= (len(unit) / (len(unit) - 1)) ** 0.5
    h, n = (Step(len(g), g.dtype)(g)[0].double() for g in (gradient, unit))
    assert n.norm() > 0
    assert torch.allclose(h, n * (h.norm() / n.norm()), rtol=1e-4)
    return float(h.norm() / n.norm())


@settings(deadline=None)
@given(
    st.lists(st.integers(-999, 999).map(lambda i: i / 1000), min_size=2, max_size=40),
    st.sampled_from([1e-12, 1e-3, 1.0, 1e6]),
    st.sampled_from([0.0, 1.0, -300.0]),
    st.sampled_from([torch.float32, torch.float64]),
)
@example([0.25] * 30, 1.0, 0.0, torch.float32)
@example([0.1] * 29 + [0.1000001], 1.0, 0.0, torch.float64)
@example([-0.5, 0.5] * 20, 1e-3, -300.0, torch.float32)
def test_the_deviation_is_that_of_the_gradient_before_scaling(values, size, mean, dtype):
    gradient = (torch.tensor(values, dtype=torch.float64) + mean).mul(size).to(dtype)
    expected = statistics.pstdev(gradient.tolist())
    rounding = 4 * torch.finfo(dtype).eps * float(gradient.abs().max())
    assert deviation_used(gradient) == pytest.approx(expected, rel=1e-5, abs=rounding)


def test_the_deviation_is_the_populations_not_the_samples():
    """For two numbers the two deviations differ by a factor of the square root of 2."""
    step = Step(2)
    drawn = torch.cat([step(torch.tensor([-3.0, 3.0]))[0] for _ in range(2000)])
    assert float(drawn.square().mean().sqrt()) == pytest.approx(3.0, rel=0.06)


@PIECEWISE  # a GPU sums in the form of a tree
@pytest.mark.parametrize("mean", [0.1, 12345.678, -3.0])
def test_a_large_constant_gradient_gets_no_noise_to_speak_of(mean):
    """A sum of two million numbers in single precision is off by 1 %."""
    drawn, _ = Step(512 * 512 * 9)(torch.full((512 * 512 * 9,), mean))
    assert float(drawn.abs().max()) < 1e-5 * abs(mean)


def test_each_tensor_has_a_deviation_of_its_own():
    encoder = nn.Sequential(nn.Conv2d(4000, 1, 1, bias=False), nn.Conv2d(4000, 1, 1, bias=False))
    other = nn.Conv2d(1, 1, 1)
    for layer, size in zip(encoder, (1.0, 1000.0), strict=True):
        layer.weight.grad = torch.randn_like(layer.weight) * size
    modulator = Modulator({"audio": encoder, "visual": other}, Modulation(method="ogm_ge", alpha=GONE))
    modulator.modulate(AUDIO_LEADS, Y, epoch=0)
    assert float(encoder[0].weight.grad.std()) == pytest.approx(1.0, rel=0.1)
    assert float(encoder[1].weight.grad.std()) == pytest.approx(1000.0, rel=0.1)


def test_noise_is_gaussian_around_zero_for_every_modality_also_where_the_coefficient_is_one():
    size = 200_000
    gradient = torch.linspace(-1, 3, size)
    sigma = statistics.pstdev(gradient.tolist())
    leader, other = Step(size)(gradient)
    drawn = {"leader": leader, "other": other - gradient}
    for h in drawn.values():
        assert abs(float(h.mean())) < 4 * sigma / size**0.5
        assert float(h.std()) == pytest.approx(sigma, rel=0.01)
        for bound, share in ((1, 0.6827), (2, 0.9545), (3, 0.9973)):
            assert float((h.abs() < bound * sigma).float().mean()) == pytest.approx(share, abs=0.005)
    correlation = float(torch.corrcoef(torch.stack(list(drawn.values())))[0, 1])
    assert abs(correlation) < 4 / size**0.5  # the modalities draw different noise


def drawn(step: Step, steps: int) -> list[list[float]]:
    return [step(torch.arange(6.0))[0].tolist() for _ in range(steps)]


def test_noise_is_a_function_of_the_seed_and_the_step():
    first, again, other_seed = drawn(Step(6), 3), drawn(Step(6), 3), drawn(Step(6, seed=1), 3)
    assert first == again
    assert len({tuple(h) for h in first + other_seed}) == 6


def test_the_state_carries_the_noise_on():
    whole = drawn(Step(6), 4)
    stopped, resumed = Step(6), Step(6)
    drawn(stopped, 2)
    resumed.modulator.load_state_dict(stopped.modulator.state_dict())
    assert drawn(resumed, 2) == whole[2:]


def test_a_step_before_the_window_counts_too():
    """Otherwise the noise would depend on the start of the window, and trials could not share a prefix."""
    early = Step(6)
    early(torch.arange(6.0), epoch=0)
    assert drawn(early, 2) == drawn(Step(6), 3)[1:]


@pytest.mark.parametrize("epoch", [0, 3])
def test_there_is_no_noise_outside_the_window(epoch):
    gradient = torch.arange(6.0)
    assert all(torch.equal(g, gradient) for g in Step(6)(gradient, epoch))


def test_ogm_alone_has_no_noise():
    leader, other = Step(6, method="ogm", alpha=1.0)(torch.arange(6.0))
    assert torch.equal(other, torch.arange(6.0))
    assert float(leader[1]) > 0
    assert torch.allclose(leader, torch.arange(6.0) * leader[1], rtol=1e-6)


def test_drawing_leaves_the_global_generator_as_it_was():
    before = torch.get_rng_state()
    step = Step(6)
    torch.set_rng_state(before)
    step(torch.arange(6.0))
    assert torch.equal(torch.get_rng_state(), before)


def test_gradients_of_several_precisions_each_get_noise_of_their_own_precision():
    encoders = {"audio": nn.Conv2d(9, 1, 1, dtype=torch.bfloat16), "visual": nn.Conv2d(9, 1, 1, dtype=torch.float64)}
    for encoder in encoders.values():
        encoder.weight.grad = torch.linspace(-1, 1, 9).to(encoder.weight.dtype).view_as(encoder.weight)
    visual_leads = {"audio": AUDIO_LEADS["visual"], "visual": AUDIO_LEADS["audio"]}
    Modulator(encoders, Modulation(method="ogm_ge", alpha=GONE)).modulate(visual_leads, Y, epoch=0)
    half, double = (encoder.weight.grad for encoder in encoders.values())
    assert (half.dtype, double.dtype) == (torch.bfloat16, torch.float64)
    assert not torch.equal(half.flatten(), torch.linspace(-1, 1, 9).bfloat16())
    assert not torch.equal(double, double.float().double())


@PIECEWISE
@pytest.mark.parametrize("scale", [1e-22, 1e-3, 1e20])
@pytest.mark.parametrize("mean", [0.0, 0.5, 30.0])
def test_the_deviation_is_exact_in_the_whole_range(scale, mean):
    gradient = (torch.randn(noise.SMALL + 3 * noise.ROW + 5, generator=torch.Generator().manual_seed(0)) + mean) * scale
    assert noise.standard_deviation(gradient) == pytest.approx(float(gradient.double().std(correction=0)), rel=1e-6)


@PIECEWISE
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_bits_do_not_depend_on_the_number_of_threads(dtype):
    gradient = torch.randn(2_000_003, dtype=dtype, generator=torch.Generator().manual_seed(0)) + 0.1
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            edited = gradient.clone()
            noise.scale_and_add_noise([([edited], torch.tensor(0.3))], seed=0)
            found.append((noise.standard_deviation(gradient), edited))
    finally:
        torch.set_num_threads(before)
    assert all(deviation == found[0][0] and torch.equal(edited, found[0][1]) for deviation, edited in found)


def channels_last(tensor: Tensor) -> Tensor:
    return tensor.to(memory_format=torch.channels_last)


@PIECEWISE
@pytest.mark.parametrize(
    "arrange",
    [
        channels_last,
        lambda t: torch.cat([t, t], dim=-1)[..., :2],
        lambda t: t.transpose(0, 1).clone().transpose(0, 1),
    ],
    ids=["channels last", "gaps", "transposed"],
)
def test_the_noise_does_not_depend_on_how_a_gradient_lies_in_memory_but_for_its_order(arrange):
    gradient = torch.randn(600, 500, 1, 2)
    plain, arranged = gradient.clone(), arrange(gradient)
    for tensor in (plain, arranged):
        noise.scale_and_add_noise([([tensor], torch.tensor(1.0))], seed=0)
    assert torch.allclose((arranged - gradient).flatten().sort()[0], (plain - gradient).flatten().sort()[0], atol=1e-6)
