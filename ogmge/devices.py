"""What differs between the devices that a training runs on: CUDA, Apple's Metal (`mps`) and the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


def best_device() -> torch.device:
    """Return a CUDA GPU, else Apple's GPU, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def widest_float(device: torch.device) -> torch.dtype:
    """Return the dtype for sums over many samples: float64, or float32 on `mps`, which has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def get_rng_states(device: torch.device) -> dict[str, Tensor]:
    """Return the states of the CPU's and the device's random number generators, by type of device."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    if device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_rng_states(device: torch.device, states: Mapping[str, Tensor]) -> None:
    """Set the random number generators to states of `get_rng_states`; those of another type of device are ignored."""
    torch.set_rng_state(states["cpu"].cpu())
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)
    if device.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(states["mps"].cpu())


@contextmanager
def kept_rng(device: torch.device) -> Iterator[None]:
    """Restore the random number generators at the end of the block."""
    states = get_rng_states(device)
    try:
        yield
    finally:
        set_rng_states(device, states)
