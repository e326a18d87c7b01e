"""Device of a trial, limited to the trial's share, and the errors of a trial that exceeds it."""

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


def is_out_of_memory(error: Exception) -> bool:
    """Return True if the error means that a trial ran out of memory, on the GPU or the machine."""
    cpu = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return cpu or isinstance(error, torch.OutOfMemoryError | MemoryError)
