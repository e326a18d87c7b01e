"""Waveforms to log spectrograms, in batches, on whatever device they are."""

from __future__ import annotations

import torch
from torch import Tensor

FLOOR = 1e-7  # added to the magnitude before the logarithm, as in the authors' code


def log_spectrogram(wave: Tensor, *, n_fft: int, hop: int) -> Tensor:
    """log(|STFT| + 1e-7) with a periodic Hann window, as `librosa.stft(center=True, pad_mode="constant")` has it.

    Args:
        wave: [B, samples], in [-1, 1].
        n_fft: window length in samples.
        hop: step in samples.

    Returns:
        [B, 1, n_fft // 2 + 1, 1 + samples // hop].

    >>> log_spectrogram(torch.zeros(2, 4000), n_fft=256, hop=128).shape
    torch.Size([2, 1, 129, 32])
    """
    window = torch.hann_window(n_fft, device=wave.device)
    spectrum = torch.stft(wave, n_fft, hop, window=window, center=True, pad_mode="constant", return_complex=True)
    return torch.log(spectrum.abs() + FLOOR).unsqueeze(1)
