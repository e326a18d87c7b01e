"""Custom data sets, as a user would write them: two noisy vectors, and ways for data to fail."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import ray
import torch
from torch import Tensor

from datasets.registry import DatasetError
from tests.support.disks import fill

Batch = tuple[dict[str, Tensor], Tensor]


@dataclass(frozen=True)
class Vectors:
    """Two modalities, each the class plus noise; a search on them takes seconds."""

    samples: int = 96
    seed: int = 0
    shapes: dict[str, tuple[int, ...]] = field(default_factory=lambda: {"left": (6,), "right": (4,)})
    classes: tuple[str, ...] = ("a", "b", "c")

    def open(self) -> Vectors:
        return self

    def _split(self, seed: int) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        y = torch.randint(0, 3, (self.samples,), generator=generator)
        x = {}
        for name, (width,) in self.shapes.items():
            x[name] = torch.randn(self.samples, width, generator=generator) + torch.eye(3, width)[y]
        return x, y

    def train(self, *, batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
        x, y = self._split(self.seed)
        order = torch.randperm(self.samples, generator=torch.Generator().manual_seed(seed * 1000 + epoch))
        for index in order.split(batch_size):
            yield {name: value[index] for name, value in x.items()}, y[index]

    def validation(self, *, batch_size: int) -> Iterator[Batch]:
        yield self._split(self.seed + 1)


@dataclass(frozen=True)
class Untested(Vectors):
    """Draws its validation split itself, from a seed."""

    split_seed: int = 0

    @property
    def fingerprint(self) -> str:
        return f"drawn-{self.samples}-{self.seed}-{self.split_seed}"

    def validation(self, *, batch_size: int) -> Iterator[Batch]:
        yield self._split(1000 + self.split_seed)

    def all_for_training(self) -> Self:
        return replace(self, samples=2 * self.samples)


@dataclass(frozen=True)
class Drawn(Untested):
    """Draws its validation split from a seed and has a test split."""

    def test(self, *, batch_size: int, reason: str) -> Iterator[Batch]:
        x, y = self._split(self.seed + 2)
        for first in range(0, self.samples, batch_size):
            part = slice(first, first + batch_size)
            yield {name: value[part] for name, value in x.items()}, y[part]


@dataclass(frozen=True)
class WithTest(Vectors):
    """Has a test split and draws its training and validation splits from a seed.

    The test split can be limited to some classes, or contain a broken example.
    """

    split_seed: int = 0
    test_classes: tuple[int, ...] = (0, 1, 2)
    broken: bool = False

    @property
    def fingerprint(self) -> str:
        return f"{self.samples}/{self.seed}/{self.split_seed}"

    def train(self, *, batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
        return self._redrawn().train(batch_size=batch_size, seed=seed, epoch=epoch)

    def validation(self, *, batch_size: int) -> Iterator[Batch]:
        return self._redrawn().validation(batch_size=batch_size)

    def _redrawn(self) -> Vectors:
        return Vectors(self.samples, self.seed + 10 * self.split_seed, self.shapes, self.classes)

    def test(self, *, batch_size: int, reason: str) -> Iterator[Batch]:
        x, y = self._split(2)
        kept = torch.isin(y, torch.tensor(self.test_classes))
        if self.broken:
            x["right"][kept.nonzero()[5]] = torch.nan
        every = {name: value[kept].split(batch_size) for name, value in x.items()}
        for place, part in enumerate(y[kept].split(batch_size)):
            yield {name: values[place] for name, values in every.items()}, part


@dataclass(frozen=True)
class Deadly(Vectors):
    """Kills the worker that reads the second epoch, once."""

    marker: str = ""

    def train(self, *, batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
        if epoch == 1 and not Path(self.marker).exists():
            Path(self.marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        yield from super().train(batch_size=batch_size, seed=seed, epoch=epoch)


@dataclass(frozen=True)
class NoRoom(Vectors):
    """Raises "disk full" in the second epoch until the file `room` exists."""

    room: str = ""

    def train(self, *, batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
        if epoch == 1 and not Path(self.room).exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "last.pt")
        yield from super().train(batch_size=batch_size, seed=seed, epoch=epoch)


@dataclass(frozen=True)
class Filling(Drawn):
    """Fills a disk, except for `left` bytes, when the second epoch of a split is read, once.

    A disk with a file `held` or `filled` on it is not filled.
    """

    disk: str = ""
    split: str = "train"
    left: int = 0

    def train(self, *, batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
        if epoch == 1:
            self._fill("train")
        yield from super().train(batch_size=batch_size, seed=seed, epoch=epoch)

    def test(self, *, batch_size: int, reason: str) -> Iterator[Batch]:
        self._fill("test")
        yield from super().test(batch_size=batch_size, reason=reason)

    def _fill(self, split: str) -> None:
        disk = Path(self.disk)
        if split == self.split and not any((disk / mark).exists() for mark in ("held", "filled")):
            (disk / "filled").touch()
            fill(disk, self.left)


@dataclass(frozen=True)
class Forbidding(Drawn):
    """Forbids writing to a folder from the second epoch on, until the file `allowed` exists; needs root."""

    folder: str = ""
    allowed: str = ""

    def train(self, *, batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
        if epoch == 1 and not Path(self.allowed).exists():
            subprocess.run(["chattr", "+i", self.folder], check=True)
        yield from super().train(batch_size=batch_size, seed=seed, epoch=epoch)


@dataclass(frozen=True)
class Endless(Vectors):
    """Takes ten minutes for its second batch and notes its process in `marker`; no time once the note says "over"."""

    marker: str = ""

    def train(self, *, batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
        batches, note = super().train(batch_size=batch_size, seed=seed, epoch=epoch), Path(self.marker)
        yield next(batches)
        if not (note.exists() and note.read_text() == "over"):
            note.write_text(str(os.getpid()))
            time.sleep(600)
        yield from batches


@dataclass(frozen=True)
class Unplugged(Vectors):
    """Replaces a folder by a file in the second epoch, once, so that nothing can be written to the folder."""

    folder: str = ""

    def train(self, *, batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
        folder = Path(self.folder)
        if epoch == 1 and not folder.with_suffix(".away").exists():
            folder.rename(folder.with_suffix(".away"))
            folder.touch()
        yield from super().train(batch_size=batch_size, seed=seed, epoch=epoch)


@dataclass(frozen=True)
class Broken(Vectors):
    """Fails when its second batch is read."""

    def train(self, *, batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
        yield next(super().train(batch_size=batch_size, seed=seed, epoch=epoch))
        raise OSError("clip 17 is damaged")


@dataclass(frozen=True)
class Hungry(Vectors):
    """Runs out of memory in the second epoch unless its worker has `cpus` CPUs."""

    cpus: float = 2

    def train(self, *, batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
        if epoch == 1 and ray.get_runtime_context().get_assigned_resources()["CPU"] < self.cpus:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        yield from super().train(batch_size=batch_size, seed=seed, epoch=epoch)


@dataclass(frozen=True)
class Logged(Drawn):
    """Takes `seconds` more per epoch, then adds a line with seed and epoch to `read.txt` in the working folder."""

    seconds: float = 0.4

    def train(self, *, batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
        yield from super().train(batch_size=batch_size, seed=seed, epoch=epoch)
        time.sleep(self.seconds)
        with Path("read.txt").open("a") as file:
            file.write(f"{seed} {epoch}\n")


@dataclass(frozen=True)
class Interrupted(Drawn):
    """Simulates Ctrl-C in the second epoch until the file `over` exists."""

    def train(self, *, batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
        if epoch == 1 and not Path("over").exists():
            raise KeyboardInterrupt
        yield from super().train(batch_size=batch_size, seed=seed, epoch=epoch)


@dataclass(frozen=True)
class Together(Drawn):
    """Makes each training process register in `readers/`, after a batch, and wait until `processes` have registered."""

    processes: int = 2

    def train(self, *, batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
        batches = super().train(batch_size=batch_size, seed=seed, epoch=epoch)
        yield next(batches)
        readers = Path("readers")
        readers.mkdir(exist_ok=True)
        (readers / str(os.getpid())).touch()
        until = time.monotonic() + 120
        while len(list(readers.iterdir())) < self.processes:
            if time.monotonic() > until:
                raise TimeoutError(f"{self.processes} processes do not train at the same time")
            time.sleep(0.05)
        yield from batches


class NotPrepared:
    """Data that are not prepared."""

    def open(self) -> Vectors:
        raise DatasetError("the store ~/data/stores/mine does not exist: run `python -m search prepare` first")
