"""Training from the disk's data at full speed, compared with training on a batch that is on the device."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import count, repeat
from pathlib import Path

import torch

from benchmarks.gpu.rows import Load, Row, Values
from benchmarks.gpu.waits import trainer_waits
from benchmarks.packing import CLASSES, Mapped, Setting, write_input
from ogmge.batches import Batch
from ogmge.config import TrialConfig
from ogmge.model import build_model
from ogmge.trainer import Trainer

Read = Callable[[int], Iterator[Batch]]  # number of the epoch -> its batches on the device
SLOWER = 1.05  # times the step on a batch that is there
GOAL = f"a step takes at most {SLOWER} times as long as on a batch that is on the device, and nothing waits"


def setting_of(load: Load) -> Setting:
    """Return the inputs and the trial of `benchmarks.packing` for a device."""
    cores = len(os.sched_getaffinity(0))
    audio, visual = load.shapes["audio"], load.shapes["visual"]
    samples = 32 * load.batch if load.on_gpu else 4 * load.batch
    return Setting(load.device.type, load.batch, audio, visual[-1], samples, cores, load.on_gpu, load.encoder)


def measure_reading(load: Load) -> Iterator[Row]:
    """Yield samples per second from memory-mapped files and from a store of JPEG frames, and the share of waiting."""
    setting = setting_of(load)
    torch.set_num_threads(setting.cores if load.on_gpu else 1)
    with tempfile.TemporaryDirectory() as name:
        write_input(setting, Path(name))
        mapped = Mapped(setting, Path(name), setting.cores)
        yield _row(load, "mapped files", setting.trial, mapped.train)
        yield _store(load, setting, Path(name))


def _store(load: Load, setting: Setting, folder: Path) -> Row:
    case = "store of JPEG frames"
    try:
        from benchmarks import loading
        from datasets.store.prepare import prepare

        index = loading.generate(folder / "films", load.clips)
        prepare("films", index, loading.SETTINGS, folder / "store", parallel=map)
        data = loading.opened(folder / "store", setting.cores, load.device)
    except ImportError as error:
        return Row(case, status="skipped", reason=f"needs {error.name}")
    clips = data.splits.train
    data.splits = replace(data.splits, train=clips * -(-setting.samples // len(clips)))  # as many batches as above

    def read(epoch: int) -> Iterator[Batch]:
        return data.train(batch_size=setting.batch, seed=0, epoch=epoch)

    return _row(load, case, setting.trial, read)


def _row(load: Load, case: str, trial: TrialConfig, read: Read) -> Row:
    with closing(_endless(read)) as batches:
        batch = next(batches)
    shapes = {name: tuple(value.shape[1:]) for name, value in batch[0].items()}
    trainer = Trainer(build_model(trial, shapes, CLASSES), trial, load.device)

    def train(batches: Iterator[Batch]) -> None:
        trainer.train_epoch(batches, 0)

    train(iter([batch] * 2))
    with closing(_endless(read)) as batches:
        reading = _rate(load, batches, _discard)
    step = _rate(load, repeat(batch), train)
    with closing(_endless(read)) as batches:
        training = _rate(load, batches, train)
    values: Values = {"read_per_s": reading, "step_per_s": step, "trained_per_s": training, "ratio": step / training}
    with closing(_endless(read)) as batches:
        is_wait_free = not trainer_waits(trainer, batches)
    if load.on_gpu:
        values["is_wait_free"] = is_wait_free
    return load.judge(case, values, GOAL, is_met=step / training <= SLOWER and is_wait_free)


def _endless(read: Read) -> Generator[Batch, None, None]:
    for epoch in count():
        yield from read(epoch)


def _discard(batches: Iterator[Batch]) -> None:
    for _ in batches:
        pass


def _rate(load: Load, batches: Iterator[Batch], use: Callable[[Iterator[Batch]], None]) -> float:
    """Return the samples per second at which `use` consumes batches."""
    samples, began = 0, time.perf_counter()

    def limited() -> Iterator[Batch]:
        nonlocal samples
        for x, y in batches:
            samples += len(y)
            yield x, y
            if time.perf_counter() - began > load.seconds:
                return

    use(limited())
    if load.on_gpu:
        torch.cuda.synchronize()
    return samples / (time.perf_counter() - began)
