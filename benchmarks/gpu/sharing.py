"""Trials per hour with several processes on the GPU, and the memory that they hold."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.gpu.reading import setting_of
from benchmarks.gpu.rows import Load, Row, Values
from benchmarks.packing import FASTER, Trials, trials_per_hour, write_input

COUNTS = (1, 2, 4, 8)  # trials at a time; on a CPU the first two
GB = 1e9
WITHIN = "each trial holds at most its share of the memory"


def measure_sharing(load: Load) -> Iterator[Row]:
    """Yield a row for each number of trials at a time, then one that judges the fastest."""
    setting, speeds = setting_of(load), dict[int, float]()
    with tempfile.TemporaryDirectory() as name:
        write_input(setting, Path(name))
        trials = Trials(setting, Path(name))
        for count in COUNTS if load.on_gpu else COUNTS[:2]:
            measured = trials.measure(count, load.seconds)
            speeds[count] = measured.rate
            values: Values = {
                "samples_per_s": measured.rate,
                "trials_per_hour": trials_per_hour(measured.rate),
                "times_one": measured.rate / speeds[1],
            }
            if not load.on_gpu:
                yield Row(f"{count} at a time", values)
                continue
            share = torch.cuda.mem_get_info()[1] / count
            values |= {"trial_gb": measured.peak_bytes / GB, "share_gb": share / GB, "gpu_gb": measured.used_bytes / GB}
            yield load.judge(f"{count} at a time", values, WITHIN, is_met=measured.peak_bytes <= share)
        trials.end()
    yield from load.omitted("memory that each trial holds")
    best = max(speeds, key=lambda count: speeds[count])
    ratio = speeds[best] / speeds[1]
    is_met = ratio >= FASTER
    yield load.judge("fastest", {"at_a_time": best, "times_one": ratio}, f"{FASTER:g} times one trial", is_met=is_met)
