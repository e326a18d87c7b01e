"""Features of sound are librosa's, whatever batch, device and settings."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.audio import FLOOR, MEL_MEAN, MEL_SCALE, log_spectrogram, mel_filter_bank, mel_filters

CPU = torch.device("cpu")


def sounds(rate: int, seconds: float, seed: int = 0) -> np.ndarray:
    """A chord, a click in silence, noise that fades, full scale white noise: [4, samples], of 16 bits."""
    rng = np.random.default_rng(seed)
    samples = round(rate * seconds)
    time = np.arange(samples) / rate
    chord = sum(np.sin(2 * np.pi * hz * time) for hz in (220.0, 277.2, 329.6, 0.3 * rate)) / 4
    click = (np.arange(samples) == samples // 2).astype(float)
    fading = np.exp(-8 * time / seconds) * rng.uniform(-1, 1, samples)
    waves = np.stack([chord, click, fading, rng.uniform(-1, 1, samples)])
    return (waves * 32767).astype(np.int16).astype(np.float32) / 32768


@pytest.mark.parametrize(
    ("rate", "seconds", "n_fft", "hop", "shape"),
    [(22050, 3.0, 512, 353, (257, 188)), (16000, 5.0, 256, 128, (129, 626)), (8000, 1.0, 400, 160, (201, 51))],
)
def test_a_log_spectrogram_is_librosas(rate, seconds, n_fft, hop, shape):
    waves = sounds(rate, seconds)
    found = log_spectrogram(torch.from_numpy(waves), n_fft=n_fft, hop=hop)
    assert found.shape == (4, 1, *shape)
    assert found.isfinite().all()
    for ours, wave in zip(found[:, 0].numpy(), waves, strict=True):
        expected = np.abs(librosa.stft(wave, n_fft=n_fft, hop_length=hop, center=True, pad_mode="constant"))
        assert np.abs(np.exp(ours) - FLOOR - expected).max() < 1e-4 * expected.max()
        heard = expected > 1e-3
        assert heard.sum() > n_fft
        assert np.abs(ours - np.log(expected + FLOOR))[heard].max() < 0.02


@pytest.mark.filterwarnings("ignore:Empty filters")
@pytest.mark.parametrize(("rate", "n_fft", "hop"), [(16000, 400, 160), (22050, 551, 220), (16000, 512, 128)])
def test_mel_energies_are_librosas(rate, n_fft, hop):
    waves = sounds(rate, 1.0)
    found = mel_filter_bank(torch.from_numpy(waves), sample_rate_hz=rate, n_fft=n_fft, hop=hop)
    assert found.shape == (4, 1, 128, rate // hop)
    length = {400: 512, 551: 1024, 512: 512}[n_fft]
    for ours, wave in zip(found[:, 0].double().numpy(), waves, strict=True):
        padded = np.pad(wave - wave.mean(), (0, (rate // hop - 1) * hop + length - len(wave)))
        power = np.abs(librosa.stft(padded, n_fft=length, win_length=n_fft, hop_length=hop, center=False)) ** 2
        expected = librosa.feature.melspectrogram(
            S=power, sr=rate, n_fft=length, n_mels=128, fmin=20, htk=True, norm=None
        )
        energy = np.exp(ours * MEL_SCALE + MEL_MEAN)
        assert np.abs(energy - np.maximum(expected, np.finfo(np.float32).eps)).max() < 1e-4 * expected.max()
        heard = expected > 1e-6  # magnitudes above 1e-3
        assert np.abs(np.log(energy[heard]) - np.log(expected[heard])).max() < 0.02


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
