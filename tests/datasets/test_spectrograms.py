"""Audio features equal librosa's for every batch, device and setting."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.loader.spectrograms import FLOOR, MEL_MEAN, MEL_SCALE, log_spectrogram, mel_filter_bank, mel_filters
from tests.support import reference_audio
from tests.support.reference_audio import MELS, SPECTROGRAMS, sounds, stored, thinned

CPU = torch.device("cpu")
SHAPES = [(257, 188), (129, 626), (201, 51)]


@pytest.mark.parametrize(
    ("rate", "seconds", "n_fft", "hop", "shape"), [(*how, s) for how, s in zip(SPECTROGRAMS, SHAPES, strict=True)]
)
def test_a_log_spectrogram_is_librosas(rate, seconds, n_fft, hop, shape):
    found = log_spectrogram(torch.from_numpy(sounds(rate, seconds)), n_fft=n_fft, hop=hop)
    assert found.shape == (4, 1, *shape)
    assert found.isfinite().all()
    name = f"spectrogram {rate} {n_fft} {hop}"
    of_each = zip(thinned(found[:, 0].numpy()), stored()[name], stored()[f"{name} largest"], strict=True)
    for ours, expected, largest in of_each:
        assert np.abs(np.exp(ours) - FLOOR - expected).max() < 1e-4 * largest
        heard = expected > 1e-3
        assert heard.sum() > n_fft // 2  # enough stored values to compare
        assert np.abs(ours - np.log(expected + FLOOR))[heard].max() < 0.02


@pytest.mark.parametrize(("rate", "n_fft", "hop"), MELS)
def test_mel_energies_are_librosas(rate, n_fft, hop):
    found = mel_filter_bank(torch.from_numpy(sounds(rate, 1.0)), sample_rate_hz=rate, n_fft=n_fft, hop=hop)
    assert found.shape == (4, 1, 128, rate // hop)
    assert found.isfinite().all()
    name = f"mel {rate} {n_fft} {hop}"
    of_each = zip(thinned(found[:, 0].double().numpy()), stored()[name], stored()[f"{name} largest"], strict=True)
    for ours, expected, largest in of_each:
        energy = np.exp(ours * MEL_SCALE + MEL_MEAN)
        assert np.abs(energy - np.maximum(expected, np.finfo(np.float32).eps)).max() < 1e-4 * largest
        heard = expected > 1e-6  # magnitudes above 1e-3
        assert np.abs(np.log(energy[heard]) - np.log(expected[heard])).max() < 0.02


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Empty filters")
def test_the_stored_references_are_what_librosa_makes(tmp_path):
    """Compares features and resampling; on its first use librosa compiles for up to 20 seconds."""
    reference_audio.store(tmp_path / "audio.npz")
    with np.load(tmp_path / "audio.npz") as anew:
        assert set(anew) == set(stored())
        for name, values in stored().items():
            np.testing.assert_allclose(anew[name], values, rtol=1e-5, atol=1e-6 * np.abs(values).max(), err_msg=name)


def test_kinetics_sounds_has_1024_frames_and_silence_is_the_floor():
    silence = mel_filter_bank(torch.zeros(1, round(10.24 * 16000)), sample_rate_hz=16000, n_fft=400, hop=160)
    assert silence.shape == (1, 1, 128, 1024)
    assert silence.unique().tolist() == pytest.approx([(np.log(2.0**-23) + 4.503877) / (2 * 5.141276)], rel=1e-5)


def test_the_filters_are_made_once_and_nothing_is_said_of_the_narrow_ones(recwarn):
    mel_filters.cache_clear()
    assert mel_filters(16000, 512, CPU) is mel_filters(16000, 512, CPU)
    assert not [w for w in recwarn if "filter" in str(w.message)]
    assert mel_filters(16000, 512, CPU).shape == (128, 257)


@settings(max_examples=20, deadline=None)
@given(samples=st.integers(1, 3000), hop=st.integers(1, 400), n_fft=st.integers(2, 600), seed=st.integers(0, 2**32 - 1))
def test_features_of_a_batch_are_those_of_its_samples(samples, hop, n_fft, seed):
    waves = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (3, samples)).astype(np.float32))

    def features(wave: torch.Tensor) -> list[torch.Tensor]:
        mel = mel_filter_bank(wave, sample_rate_hz=16000, n_fft=n_fft, hop=hop)
        return [log_spectrogram(wave, n_fft=n_fft, hop=hop).exp(), (mel * MEL_SCALE).exp()]

    for together, alone in zip(features(waves), features(waves[1:2]), strict=True):
        assert torch.allclose(together[1:2], alone, rtol=1e-3, atol=1e-4 * float(alone.max()))
