"""Audio features, computed in batches on the device of the waveforms."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

FLOOR = 1e-7  # added to the magnitude before the logarithm, as in the authors' code
MEL_BINS = 128
MEL_LOWEST_HZ = 20.0
MEL_FLOOR = torch.finfo(torch.float32).eps  # minimum energy before the logarithm
MEL_MEAN, MEL_SCALE = -4.503877, 2 * 5.141276  # those of Kinetics-Sounds in the authors' code


def log_spectrogram(wave: Tensor, *, n_fft: int, hop: int) -> Tensor:
    """Return log(|STFT| + 1e-7) with a periodic Hann window, equal to `librosa.stft(center=True, pad_mode="constant")`.

    Args:
        wave: waves in [-1, 1], [B, samples].
        n_fft: window length in samples.
        hop: step between windows in samples.

    Returns:
        [B, 1, n_fft // 2 + 1, 1 + samples // hop].

    >>> log_spectrogram(torch.zeros(2, 4000), n_fft=256, hop=128).shape
    torch.Size([2, 1, 129, 32])
    """
    window = torch.hann_window(n_fft, device=wave.device)
    spectrum = torch.stft(wave, n_fft, hop, window=window, center=True, pad_mode="constant", return_complex=True)
    return power(spectrum).sqrt_().add_(FLOOR).log_().unsqueeze(1)


def power(spectrum: Tensor) -> Tensor:
    """Return |z|² in one pass; on a CPU, `abs` guards against overflow and takes 2.4 times as long."""
    parts = torch.view_as_real(spectrum)
    return torch.addcmul(parts[..., 0].square(), parts[..., 1], parts[..., 1])


def mel_filter_bank(wave: Tensor, *, sample_rate_hz: int, n_fft: int, hop: int) -> Tensor:
    """Return (log(mel energies) + 4.503877) / (2 x 5.141276) in 128 bins.

    The bins range from 20 Hz to half the sample rate on the HTK scale. The mean of each wave is subtracted. Frame k
    begins at sample k x hop, and silence fills the last frame. Windows are padded to the next power of two before the
    transform. Energies are at least float32's epsilon. The filters are `librosa.filters.mel(htk=True, norm=None)`,
    whose triangles peak at one.

    Args:
        wave: waves in [-1, 1], [B, samples].
        sample_rate_hz: sample rate of the waves.
        n_fft: length of the Hann window in samples (25 ms: 400 at 16 kHz).
        hop: step between windows in samples (10 ms: 160 at 16 kHz).

    Returns:
        [B, 1, 128, samples // hop], with time last as in a spectrogram; 10.24 s at 16 kHz give 1,024 frames.

    >>> mel_filter_bank(torch.zeros(2, 16000), sample_rate_hz=16000, n_fft=400, hop=160).shape
    torch.Size([2, 1, 128, 100])
    """
    length = 1 << (n_fft - 1).bit_length()
    frames = max(1, wave.shape[1] // hop)
    wave = wave - wave.mean(dim=1, keepdim=True)
    wave = torch.nn.functional.pad(wave, (0, (frames - 1) * hop + length - wave.shape[1]))
    window = torch.hann_window(n_fft, device=wave.device)
    spectrum = torch.stft(wave, length, hop, n_fft, window=window, center=False, return_complex=True)
    energy = mel_filters(sample_rate_hz, length, wave.device) @ power(spectrum)
    return ((energy.clamp_min(MEL_FLOOR).log() - MEL_MEAN) / MEL_SCALE).unsqueeze(1)


@lru_cache(maxsize=8)
def mel_filters(sample_rate_hz: int, n_fft: int, device: torch.device) -> Tensor:
    """Return librosa's filter bank, made once per device: [128, n_fft // 2 + 1]."""
    import warnings

    from librosa.filters import mel

    with warnings.catch_warnings():  # as in HTK, the lowest bins are narrower than the transform resolves
        warnings.filterwarnings("ignore", message="Empty filters", category=UserWarning)
        filters = mel(sr=sample_rate_hz, n_fft=n_fft, n_mels=MEL_BINS, fmin=MEL_LOWEST_HZ, htk=True, norm=None)
    return torch.from_numpy(filters).float().to(device)
