"""A training step with and without modulation, and whether it waits for the GPU."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from benchmarks import step
from benchmarks.gpu.rows import Load, Row, Values
from benchmarks.gpu.waits import forbid_waits, waits
from benchmarks.packing import COSTS

ADDED = 60  # most operator calls that modulation may add to a step
GOAL = f"at most {COSTS} times a plain step, at most {ADDED} calls more, no wait"


def measure_step(load: Load) -> Iterator[Row]:
    """Yield a row for each kind of step in `benchmarks.step`, in fp32 and on a GPU also in bf16."""
    for bf16 in (False, True)[: 1 + load.on_gpu]:
        side = load.shapes["visual"][-1]
        yield from _rows(load, step.Setting(load.device, load.batch, side, load.steps, bf16, load.encoder))
    yield from load.omitted("torch's check that nothing waits")


def _rows(load: Load, setting: step.Setting) -> Iterator[Row]:
    variants, counts = step.measure(setting)
    plain, precision = variants[0], "bf16" if setting.bf16 else "fp32"
    for variant, count in zip(variants, counts, strict=True):
        added, ratio = count.calls - counts[0].calls, step.ratio_of(variant, plain)
        values: Values = {"ms": statistics.median(variant.seconds) * 1e3, "ratio": ratio}
        values |= {"calls": count.calls, "added_calls": added, "waits": count.waits}
        is_wait_free = not _waits(variant)
        if load.on_gpu:
            values["is_wait_free"] = is_wait_free
        case = f"{variant.name}, {precision}"
        if variant.name in ("OGM", "OGM-GE"):
            is_met = ratio <= COSTS and added <= ADDED and is_wait_free
            yield load.judge(case, values, GOAL, is_met=is_met)
        else:
            yield Row(case, values)
    base, drawing = statistics.median(plain.seconds), step.drawing(variants[2])
    values = {"ms": (base + drawing) * 1e3, "ratio": 1 + drawing / base}
    yield Row(f"limit: plain and drawing the noise, {precision}", values)


def _waits(variant: step.Variant) -> bool:
    """Return whether a step waits for the GPU; that of the equations does, which shows that the check works."""
    x, y = step.random_batch(variant.setting)

    def one() -> None:
        with forbid_waits(variant.setting.device):
            variant.step(x, y)

    return waits(one)
