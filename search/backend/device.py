"""Device of a trial, limited to the trial's share."""

from __future__ import annotations

import torch


def device_for(cpu: float, gpu: float) -> torch.device:
    """Return a trial's device, and limit this process to the trial's share of threads and GPU memory."""
    torch.set_num_threads(max(1, int(cpu)))
    if not gpu or not torch.cuda.is_available():
        return torch.device("cpu")
    torch.cuda.empty_cache()  # free the memory of this process's previous trial
    torch.cuda.set_per_process_memory_fraction(min(1.0, gpu))
    return torch.device("cuda")
