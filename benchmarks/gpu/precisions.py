"""Precisions, memory formats and `torch.compile`, with OGM-GE."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from itertools import repeat

from benchmarks import speed
from benchmarks.gpu.rows import Load, Row, Skipped, Values
from benchmarks.gpu.waits import trainer_waits
from ogmge.trainer import Trainer

ROUNDS = 5
NO_WAIT = "no wait in a step"


def measure_precisions(load: Load) -> Iterator[Row]:
    """Yield a row for each precision, and for each memory format."""
    ways = {
        f"{precision}, {'contiguous' if contiguous else 'channels-last'}": speed.trainer(
            load.encoder, load.shapes, load.device, precision=precision, contiguous=contiguous
        )
        for precision in ("fp32", "bf16", "fp16")
        for contiguous in (False, True)
    }
    yield from _compare(load, ways)


def measure_compile(load: Load) -> Iterator[Row]:
    """Yield a row for each precision with and without `torch.compile` of the encoders' forward."""
    if not load.on_gpu:
        raise Skipped("compiling takes up to a minute on a CPU: run `python -m benchmarks.speed --compile`")
    ways = {
        f"{precision}, {'compiled' if compiled else 'not compiled'}": speed.trainer(
            load.encoder, load.shapes, load.device, precision=precision, compiled=compiled
        )
        for precision in ("fp32", "bf16")
        for compiled in (False, True)
    }
    yield from _compare(load, ways)


def _compare(load: Load, ways: dict[str, Trainer]) -> Iterator[Row]:
    """Time the ways in alternation; ratios are to the first one."""
    batch = load.batch_on_device()
    steps = {name: lambda way=way: way.train_epoch([batch], 0) for name, way in ways.items()}  # type: ignore[misc]
    first, found = speed.in_turn(steps, load.device, ROUNDS, max(1, load.steps // ROUNDS))
    base = next(iter(found.values()))
    for name, trainer in ways.items():
        values: Values = {
            "ms": statistics.median(found[name]) * 1e3,
            "ratio": speed.ratio(found[name], base),
            "first_step_s": first[name],
        }
        is_wait_free = not trainer_waits(trainer, repeat(batch))
        if load.on_gpu:
            values["is_wait_free"] = is_wait_free
        if trainer.scaler.is_enabled():
            values["loss_scale"] = trainer.scaler.get_scale()
        yield load.judge(name, values, NO_WAIT, is_met=is_wait_free)
