"""The demo's data: reproducible, balanced, split by image, with the tones of a telephone."""

from __future__ import annotations

import importlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from datasets import registry
from datasets.loader.spectrograms import log_spectrogram
from datasets.publishers import digits
from datasets.publishers.digits import CANVAS, SAMPLE_RATE_HZ, TEST_IMAGES, Digits, place_images, tones
from datasets.registry import DatasetError
from tests.support.tells import tells

KEYPAD = {  # ITU-T Q.23
    1: (697, 1209), 2: (697, 1336), 3: (697, 1477), 4: (770, 1209), 5: (770, 1336), 6: (770, 1477),
    7: (852, 1209), 8: (852, 1336), 9: (852, 1477), 0: (941, 1336),
}  # fmt: skip


@pytest.fixture(scope="module")
def data():
    return Digits().open()


def test_the_data_are_the_same_each_time(data):
    again = importlib.reload(digits).Digits().open()  # reloaded, because a process caches its last samples
    assert again.fingerprint == data.fingerprint
    for split, other in ((data.training, again.training), (data.held_out, again.held_out)):
        assert torch.equal(split.y, other.y)
        assert all(torch.equal(split.x[name], other.x[name]) for name in split.x)


@pytest.mark.parametrize("options", [{"seed": 1}, {"split_seed": 1}, {"snr_db": (0.0, 0.0)}, {"tones_per_image": 1}])
def test_every_option_changes_the_fingerprint(data, options):
    assert Digits(**options).open().fingerprint != data.fingerprint


def test_shapes_sizes_and_classes(data):
    assert data.shapes == {"audio": (1, 129, 32), "visual": (1, CANVAS, CANVAS)}
    assert data.classes == list("0123456789")
    for split, size in ((data.training, 2000), (data.held_out, 800)):
        assert {len(split.y), *(len(x) for x in split.x.values())} == {size}
        assert all(x.dtype == torch.float32 and x.isfinite().all() for x in split.x.values())
        counts = Counter(split.y.tolist())
        assert sorted(counts) == list(range(10))
        assert max(counts.values()) < 1.1 * min(counts.values())


def images_in(split) -> list[int]:
    """Return the index of the handwriting in each noiseless picture."""
    known = {image.tobytes(): i for i, image in enumerate((load_digits().images / 16).astype(np.float32))}
    found = []
    for picture in split.x["visual"][:, 0].numpy():
        places = [picture[i : i + 8, j : j + 8].tobytes() for i in range(5) for j in range(5)]
        found += [next(known[place] for place in places if place in known)]
    return found


def test_the_splits_share_no_image(monkeypatch):
    monkeypatch.setattr("datasets.publishers.digits.PIXEL_NOISE", 0.0)
    plain = Digits(seed=99).open()  # a seed of no other test, because a process caches its last samples
    training, held_out = (Counter(images_in(split)) for split in (plain.training, plain.held_out))
    assert (len(training), len(held_out)) == (1000, 400)
    assert set((training + held_out).values()) == {2}


def test_another_split_seed_redraws_which_images_are_held_out(data):
    other = Digits(split_seed=1).open()
    keys = [{row.numpy().tobytes() for row in d.held_out.x["visual"]} for d in (data, other)]
    assert 0 < len(keys[0] & keys[1]) < 0.5 * len(keys[0])
    both = [
        key | {row.numpy().tobytes() for row in d.training.x["visual"]}
        for key, d in zip(keys, (data, other), strict=True)
    ]
    assert both[0] == both[1]  # the same samples in another split; none comes from a test image


@pytest.mark.parametrize("digit", KEYPAD)
def test_a_tone_has_its_energy_at_the_keypads_two_frequencies(digit):
    wave = tones(np.array([digit]), (60.0, 60.0), np.random.default_rng(digit))[0]
    power = np.abs(np.fft.rfft(wave)) ** 2
    hz = np.fft.rfftfreq(len(wave), 1 / SAMPLE_RATE_HZ)
    near = [np.abs(hz - f) < 30 for f in KEYPAD[digit]]
    assert power[near[0] | near[1]].sum() > 0.95 * power.sum()
    twist_db = 10 * np.log10(power[near[1]].sum() / power[near[0]].sum())
    assert -5 < twist_db < 5
    assert np.abs(wave).max() == pytest.approx(1.0)


@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 20.0])
def test_the_noise_is_as_loud_as_asked(snr_db):
    """Power above all tones is noise; on average a tone fills half of a wave."""
    waves = tones(np.full(400, 5), (snr_db, snr_db), np.random.default_rng(0))
    spectrum = np.abs(np.fft.rfft(waves, axis=1)) ** 2
    hz = np.fft.rfftfreq(waves.shape[1], 1 / SAMPLE_RATE_HZ)
    noise = spectrum[:, hz > 2500].mean(axis=1) / waves.shape[1]
    tone = np.square(waves).mean(axis=1) - noise
    assert 10 * np.log10(np.mean(2 * tone / noise)) == pytest.approx(snr_db, abs=0.5)


def test_handwriting_is_put_anywhere_on_the_canvas():
    shown = place_images(np.ones((500, 8, 8)), np.random.default_rng(0))
    ink = np.lib.stride_tricks.sliding_window_view(shown, (8, 8), axis=(1, 2)).sum(axis=(3, 4)).reshape(500, 25)
    places = Counter(ink.argmax(axis=1).tolist())
    assert sorted(places) == list(range(25))
    assert 64 - 8 < ink.max(axis=1).mean() < 64 + 8


def test_silence_has_a_finite_logarithm():
    found = log_spectrogram(torch.zeros(1, 1000), n_fft=256, hop=128)
    assert found.unique().tolist() == pytest.approx([np.log(1e-7)], rel=1e-6)


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        ({"snr_db": (1.0, 0.0)}, ["[lowest, highest]", "[1.0, 0.0]"]),
        ({"snr_db": (1.0, float("inf"))}, ["finite", "[1.0, inf]"]),
        ({"tones_per_image": 0}, [1, 0]),
    ],
)
def test_options_that_cannot_be_are_named(options, facts):
    (name,) = options
    with pytest.raises(ValueError, match=f"`{name}`") as error:
        Digits(**options)
    tells(error.value, *facts)


def test_options_open_as_a_file_holds_them(data):
    assert registry.options({"name": "digits", "snr_db": [-18.0, -10.0]}).open().fingerprint == data.fingerprint


def test_an_epochs_order_is_its_own_and_leaves_out_what_does_not_fill_a_batch(data):
    def seen(seed: int, epoch: int) -> list[list[int]]:
        return [y.tolist() for _, y in data.train(batch_size=300, seed=seed, epoch=epoch)]

    assert seen(0, 0) == seen(0, 0)
    assert [len(y) for y in seen(0, 0)] == [300] * 6
    assert len({str(seen(*pair)) for pair in ((0, 0), (0, 1), (1, 0), (1, 1))}) == 4
    in_order = torch.cat([y for _, y in data.validation(batch_size=300)])
    assert torch.equal(in_order, data.held_out.y)


def test_the_test_split_is_of_images_that_no_split_has_and_is_read_for_a_reason(data):
    batches = list(data.test(batch_size=100, reason="a test"))
    assert sum(len(y) for _, y in batches) == 2 * TEST_IMAGES
    assert {name: x.shape[1:] for name, x in batches[0][0].items()} == data.shapes
    seen = {row.numpy().tobytes() for split in (data.training, data.held_out) for row in split.x["visual"]}
    assert not seen & {row.numpy().tobytes() for x, _ in batches for row in x["visual"]}
    assert Digits(split_seed=7).open().make_test().y.equal(data.make_test().y)
    with pytest.raises(ValueError, match="`reason`"):
        data.test(batch_size=100, reason=" ")


def test_data_without_a_test_split_say_so(data):
    with pytest.raises(DatasetError, match="test split"):
        replace(data, make_test=None).test(batch_size=100, reason="a test")
