"""Selection, crop, mirroring and normalisation: equal to torchvision's, and determined by given numbers alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms import v2

from datasets.loader.transforms import (
    BOX_NUMBERS,
    MEAN,
    STD,
    Box,
    crop_batch,
    crop_one,
    normalise,
    part_of_wave,
    places,
    random_box,
    resize_weights,
)  # fmt: skip

quick = settings(max_examples=50, deadline=None)
unit = st.floats(0, 1, exclude_max=True)


def pictures(n: int, height: int, width: int, channels: int = 3, seed: int = 0) -> torch.Tensor:
    """Return smooth shapes with sharp edges: uint8 [N, H, W, C]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [128 + 100 * np.sin(rng.uniform(0, 0.3) * y + rng.uniform(0, 0.3) * x) for _ in range(n * channels)]
    found = np.stack(waves).reshape(n, channels, height, width).transpose(0, 2, 3, 1).copy()
    found[:, height // 3 : height // 2, width // 4 : width // 2] = 255
    return torch.from_numpy(found.astype(np.uint8))


@quick
@given(there=st.integers(1, 50), wanted=st.integers(1, 12), data=st.data())
def test_a_frame_of_each_part_is_seen_in_order(there, wanted, data):
    numbers = data.draw(st.lists(unit, min_size=wanted, max_size=wanted))
    for found in (places(there, wanted, numbers), places(there, wanted)):
        assert len(found) == wanted
        assert found == sorted(found)
        for part, place in enumerate(found):
            assert int(part * there / wanted) <= place <= min(there - 1, (part + 1) * there / wanted)


@pytest.mark.parametrize(
    ("there", "wanted", "expected"), [(10, 1, [5]), (10, 3, [1, 5, 8]), (3, 3, [0, 1, 2]), (1, 3, [0, 0, 0])]
)
def test_evenly_spaced_frames_are_in_the_middle_of_their_parts(there, wanted, expected):
    assert places(there, wanted) == expected


def test_every_frame_is_seen_by_chance():
    seen = {place for u in np.linspace(0, 1, 50, endpoint=False) for place in places(10, 3, [u] * 3)}
    assert seen == set(range(10))


@quick
@given(height=st.integers(1, 400), width=st.integers(1, 400), seed=st.integers(0, 2**32 - 1))
def test_a_random_box_lies_in_its_picture_and_has_a_shape_that_is_allowed(height, width, seed):
    box = random_box(height, width, np.random.default_rng(seed).random(BOX_NUMBERS))
    assert 0 <= box.top <= box.top + box.height <= height
    assert 0 <= box.left <= box.left + box.width <= width
    assert min(box.height, box.width) >= 1
    if min(height, width) >= 64:
        assert 0.7 < box.width / box.height < 1.4
        assert box.height * box.width > 0.07 * height * width


@pytest.mark.parametrize("size", [(256, 340), (340, 256), (100, 400)])
def test_random_boxes_are_distributed_as_torchvisions(size):
    rng = np.random.default_rng(0)
    ours = [random_box(*size, rng.random(BOX_NUMBERS)) for _ in range(3000)]
    torch.manual_seed(0)
    picture = torch.empty(3, *size)
    theirs = [v2.RandomResizedCrop(8).make_params([picture]) for _ in range(3000)]
    for name in ("top", "left", "height", "width"):
        found, expected = (np.array([b[name] for b in boxes]) for boxes in ([vars_of(b) for b in ours], theirs))
        deviation = expected.std() / math.sqrt(3000) + 1e-9
        assert abs(found.mean() - expected.mean()) < 5 * deviation
        assert found.std() == pytest.approx(expected.std(), rel=0.06)


def vars_of(box: Box) -> dict[str, int]:
    return {"top": box.top, "left": box.left, "height": box.height, "width": box.width}


def test_the_last_resort_is_the_largest_box_in_the_middle():
    assert random_box(10, 100, [0.99] * BOX_NUMBERS) == Box(0, 43, 10, 13)
    assert random_box(100, 10, [0.99] * BOX_NUMBERS) == Box(43, 0, 13, 10)


BOXES = [Box(0, 0, 96, 128), Box(10, 20, 30, 40), Box(95, 127, 1, 1), Box(0, 100, 90, 20), Box(5, 0, 64, 64)]


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("channels", [2, 3])
def test_a_crop_is_torchvisions(box, channels):
    picture = pictures(1, 96, 128, channels)[0].permute(2, 0, 1)
    expected = v2.functional.resized_crop(picture, box.top, box.left, box.height, box.width, [64, 64], antialias=True)
    assert torch.equal(crop_one(picture, box, 64), expected)
    assert torch.equal(crop_one(picture, box, 64, mirrored=True), v2.functional.horizontal_flip(expected))


@pytest.mark.parametrize("size", [24, 64, 150])
def test_a_batch_of_crops_is_that_of_single_ones(size):
    batch = pictures(len(BOXES), 96, 128)
    boxes = torch.tensor([[b.top, b.left, b.height, b.width] for b in BOXES])
    mirrored = torch.tensor([True, False, True, False, True])
    for flips in (None, mirrored):
        found = crop_batch(batch, boxes, size, flips)
        for i, (picture, box) in enumerate(zip(batch, BOXES, strict=True)):
            expected = crop_one(picture.permute(2, 0, 1), box, size, mirrored=flips is not None and bool(flips[i]))
            assert (found[i].int() - expected.int()).abs().max() <= 1


def test_what_lies_beyond_a_smaller_picture_is_not_seen():
    small = pictures(1, 50, 60)
    canvas = torch.full((1, 96, 128, 3), 255, dtype=torch.uint8)
    canvas[:, :50, :60] = small
    boxes = torch.tensor([[0, 0, 50, 60]])
    assert torch.equal(crop_batch(canvas, boxes, 32), crop_batch(small, boxes, 32))


@quick
@given(there=st.integers(1, 60), size=st.integers(1, 80), data=st.data())
def test_weights_of_a_resize_add_up_to_one_within_the_part(there, size, data):
    length = data.draw(st.integers(1, there))
    begin = data.draw(st.integers(0, there - length))
    weights = resize_weights(torch.tensor([begin]), torch.tensor([length]), there, size)[0]
    assert weights.shape == (size, there)
    assert torch.allclose(weights.sum(dim=1), torch.ones(size), atol=1e-5)
    assert weights[:, :begin].abs().sum() + weights[:, begin + length :].abs().sum() == 0


class HostValues(TorchDispatchMode):
    """Count the tensors that are made from values of the host, for which the host waits if they are on a GPU."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func._schema.name.startswith("aten::lift_fresh")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("channels", [2, 3])
def test_after_the_first_batch_nothing_waits_for_a_gpu(channels: int):
    batch, mirrored = torch.zeros(2, channels, 4, 4, dtype=torch.uint8), torch.tensor([True, False])
    with HostValues() as made:
        torch.tensor([1.0, 2.0])
        assert made.count == 1  # such a tensor is seen
        normalise(batch, mirrored)
        first = made.count
        normalise(batch, mirrored)
    assert made.count == first


def test_colours_are_normalised_as_torchvision_does():
    batch = pictures(4, 20, 30).permute(0, 3, 1, 2)
    mirrored = torch.tensor([True, False, False, True])
    found = normalise(batch, mirrored)
    assert torch.equal(found, normalise(batch, None))
    assert torch.equal(found, normalise(batch, None, out=torch.empty(batch.shape)))
    chain = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])
    for ours, picture in zip(found, batch, strict=True):
        assert torch.allclose(ours, chain(picture), atol=1e-5)


def test_flow_is_negated_across_where_it_is_mirrored():
    flow = torch.zeros(2, 3, 2, 1, 4, dtype=torch.uint8)  # two clips of three frames
    flow[..., 0, 0, :] = torch.tensor([0, 64, 191, 255])
    flow[..., 1, 0, :] = torch.tensor([255, 0, 128, 127])
    plain = normalise(flow, None)
    assert plain.min() == pytest.approx(-1)
    assert plain.max() == pytest.approx(1)
    mirrored = torch.tensor([[True, False, True], [False, False, False]])
    found = normalise(flow, mirrored)
    expected = plain * torch.tensor([-1.0, 1.0]).view(2, 1, 1)
    where = mirrored[..., None, None, None]
    assert torch.allclose(found, torch.where(where, expected, plain), atol=1e-6)


@quick
@given(length=st.integers(1, 40), samples=st.integers(1, 60), number=st.none() | unit, tile=st.booleans())
def test_a_part_of_a_wave_is_a_run_of_it(length, samples, number, tile):
    wave = np.arange(1, length + 1, dtype=np.int16)
    found = part_of_wave(wave, samples, tile=tile, number=number)
    assert found.dtype == np.int16
    assert len(found) == samples
    if tile:
        assert found.tolist() == [1 + i % length for i in range(samples)]
    elif length < samples:
        assert found.tolist() == [*wave, *[0] * (samples - length)]
    else:
        assert found.tolist() == list(range(found[0], found[0] + samples))
        assert number is not None or found[0] - 1 == (length - samples) // 2


def test_each_place_of_a_wave_is_as_likely():
    wave = np.arange(7, dtype=np.int16)
    begins = [int(part_of_wave(wave, 4, number=u)[0]) for u in np.linspace(0, 1, 400, endpoint=False)]
    assert np.bincount(begins).tolist() == [100] * 4
