"""Where a trial trains, held to its share of it."""

from __future__ import annotations

import torch


def device_for(cpu: float, gpu: float) -> torch.device:
    """Where a trial trains; holds this process to the trial's share of threads and of a GPU's memory."""
    torch.set_num_threads(max(1, int(cpu)))
    if not gpu or not torch.cuda.is_available():
        return torch.device("cpu")
    torch.cuda.empty_cache()  # of the trial that this process had before
    torch.cuda.set_per_process_memory_fraction(min(1.0, gpu))
    return torch.device("cuda")
