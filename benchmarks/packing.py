"""Trials per hour by number of trials on a GPU: `python -m benchmarks.packing [--trials 1,2,4,8] [--seconds 20]`.

The trials train as on CREMA-D: two ResNet-18 on a 1 x 257 x 188 spectrogram and a 3 x 224 x 224 frame, concatenation,
OGM-GE, batch 64, SGD with momentum, bf16. Each trial is a process, and all trials of a packing train at the same time.
All of them map the same input files, as they map a store: uint8 frames and float spectrograms, from which the threads
of each process prefetch batches. The packings alternate, forwards and backwards, so that drift of the machine affects
all of them equally; the processes are reused. There are two goals: at least one packing trains 3 times the trials per
hour of one trial per GPU, and OGM-GE adds at most 5 % to a step. Needs only torch and torchvision.

Without a GPU it runs on the CPU, with one core per trial and small inputs. This shows that it works, and says nothing
about GPUs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import step
from datasets.loader.prefetch import prefetch
from ogmge.batches import Batch
from ogmge.config import Modulation, Optimizer, TrialConfig
from ogmge.model import build_model
from ogmge.trainer import Trainer
from search.backend.device import device_for

CLASSES = 6
FASTER, COSTS = 3.0, 1.05  # the goals
CREMAD_SAMPLES, CREMAD_EPOCHS = 6698, 100  # per trial


@dataclass(frozen=True)
class Setting:
    """Device, input and precision of the trials.

    Args:
        device: `cuda` or `cpu`.
        batch: number of samples per step.
        audio: shape of a spectrogram.
        size: side of a frame in pixels.
        samples: number of samples in the input files.
        cores: number of cores of this machine.
        bf16: whether to use autocast to bf16.
        encoder: encoder of both modalities.
    """

    device: str
    batch: int
    audio: tuple[int, int, int]
    size: int
    samples: int
    cores: int
    bf16: bool
    encoder: str = "resnet18"

    @property
    def trial(self) -> TrialConfig:
        return TrialConfig(
            batch_size=self.batch,
            encoder=self.encoder,
            modulation=Modulation(method="ogm_ge", alpha=0.8),
            optimizer=Optimizer(lr=1e-3, momentum=0.9),
            precision="bf16" if self.bf16 else "fp32",
        )

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"audio": self.audio, "visual": (3, self.size, self.size)}


# ---- the input ----


def write_input(setting: Setting, folder: Path) -> None:
    """Write random samples to two files."""
    generator = torch.Generator().manual_seed(0)
    size = (setting.samples, *setting.shapes["visual"])
    torch.randint(0, 256, size, dtype=torch.uint8, generator=generator).numpy().tofile(folder / "visual")
    torch.randn(setting.samples, *setting.audio, generator=generator).numpy().tofile(folder / "audio")


class Mapped:
    """The input files, memory-mapped, so that all processes share one copy."""

    def __init__(self, setting: Setting, folder: Path, threads: int) -> None:
        self.setting, self.threads = setting, threads
        kinds = {"audio": torch.float32, "visual": torch.uint8}
        self._whole = {name: self._file(folder / name, kind, name) for name, kind in kinds.items()}

    def _file(self, path: Path, kind: torch.dtype, name: str) -> Tensor:
        shape = (self.setting.samples, *self.setting.shapes[name])
        return torch.from_file(str(path), shared=False, size=torch.Size(shape).numel(), dtype=kind).view(shape)

    def _gathered(self, index: Tensor) -> dict[str, Tensor]:
        found = {name: whole[index] for name, whole in self._whole.items()}
        return {name: part.pin_memory() for name, part in found.items()} if self.setting.device == "cuda" else found

    def train(self, seed: int) -> Iterator[Batch]:
        """Yield one pass in full batches, and prefetch the next ones."""
        order = torch.randperm(self.setting.samples, generator=torch.Generator().manual_seed(seed))
        parts = [part for part in order.split(self.setting.batch) if len(part) == self.setting.batch]
        with closing(prefetch(self._gathered, parts, threads=self.threads, ahead=2 * self.threads)) as made:
            for part, x in zip(parts, made, strict=True):
                there = {name: value.to(self.setting.device, non_blocking=True) for name, value in x.items()}
                there["visual"] = there["visual"].float().mul_(1 / 127.5).sub_(1.0)
                yield there, part.remainder(CLASSES).to(self.setting.device, non_blocking=True)


# ---- a trial ----


def trial(told: Connection, setting: Setting, folder: Path) -> None:
    """Run the process of one trial.

    For each (trials, seconds) that it receives, it sends None when it is ready, waits for a message, trains for this
    time with its part of the cores and of the GPU's memory, and sends what was measured.
    """
    device = device_for(1, setting.device == "cuda")
    trainer = Trainer(build_model(setting.trial, setting.shapes, CLASSES), setting.trial, device)
    trainer.train_epoch(_some(Mapped(setting, folder, 1), 3, 0.0)[0], 0)
    while (asked := told.recv()) is not None:
        trials, seconds = asked
        cores = max(1, setting.cores // trials)
        device_for(cores, (setting.device == "cuda") / trials)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        data = Mapped(setting, folder, cores)
        trainer.train_epoch(_some(data, 2, 0.0)[0], 0)
        told.send(None)
        told.recv()
        began = time.perf_counter()
        batches, count = _some(data, 2**31, seconds)
        trainer.train_epoch(batches, 0)  # returns when the device has finished
        told.send(Measured(len(count) * setting.batch / (time.perf_counter() - began), *_memory(device)))


@dataclass(frozen=True)
class Measured:
    """Speed and memory of one trial, or of all trials of a packing.

    Args:
        rate: samples per second, of all trials together.
        peak_bytes: largest memory that a trial's process held on the GPU; 0 on a CPU.
        used_bytes: memory of the GPU that was in use by all processes; 0 on a CPU.
    """

    rate: float
    peak_bytes: int
    used_bytes: int


def _memory(device: torch.device) -> tuple[int, int]:
    if device.type != "cuda":
        return 0, 0
    free, total = torch.cuda.mem_get_info()
    return torch.cuda.max_memory_reserved(), total - free


def _some(data: Mapped, most: int, seconds: float) -> tuple[Iterator[Batch], list[int]]:
    """Return at most `most` batches, for about `seconds` if not 0, and a list that grows by one with each batch."""
    began, count = time.perf_counter(), list[int]()

    def batches() -> Iterator[Batch]:
        while True:
            for batch in data.train(seed=len(count)):
                count.append(1)
                yield batch
                if len(count) == most or (seconds and time.perf_counter() - began > seconds):
                    return

    return batches(), count


class Trials:
    """Processes of the trials, started when first needed and reused for every packing."""

    def __init__(self, setting: Setting, folder: Path) -> None:
        self.setting, self._folder = setting, folder
        self._members: list[tuple[multiprocessing.process.BaseProcess, Connection]] = []

    def measure(self, trials: int, seconds: float) -> Measured:
        """Train this many trials at a time, each with an equal part of the cores and of the GPU's memory."""
        while len(self._members) < trials:
            self._start()
        team = [told for _, told in self._members[:trials]]
        for word in ((trials, seconds), None):
            for told in team:
                told.send(word)
            answers = [told.recv() for told in team]
        peak, used = max(a.peak_bytes for a in answers), max(a.used_bytes for a in answers)
        return Measured(sum(answer.rate for answer in answers), peak, used)

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=trial, args=(theirs, self.setting, self._folder), daemon=True)
        process.start()
        theirs.close()
        self._members.append((process, ours))

    def end(self) -> None:
        for process, told in self._members:
            told.send(None)
            process.join()


# ---- the figures ----


def packings(setting: Setting, counts: list[int], rounds: int, seconds: float) -> dict[int, list[float]]:
    """Return the samples per second of each packing and round."""
    found: dict[int, list[float]] = {count: [] for count in counts}
    with tempfile.TemporaryDirectory() as name:
        write_input(setting, Path(name))
        trials = Trials(setting, Path(name))
        for round_ in range(rounds):
            for count in counts if round_ % 2 == 0 else counts[::-1]:
                found[count].append(trials.measure(count, seconds).rate)
        trials.end()
    return found


def trials_per_hour(rate: float) -> float:
    """Return the number of trials of CREMA-D, without validation, that a rate in samples per second trains."""
    return rate * 3600 / (CREMAD_SAMPLES * CREMAD_EPOCHS)


def show(found: dict[int, list[float]]) -> None:
    one = found[min(found)]
    print(f"\n{'trials at a time':>17}{'samples per s':>15}{'min-max':>16}{'trials per hour':>17}{'over one':>10}")
    best = 0.0
    for count, rates in found.items():
        rate, spread = statistics.median(rates), f"{min(rates):.0f}-{max(rates):.0f}"
        hourly = trials_per_hour(rate)
        ratio = statistics.median(mine / alone for mine, alone in zip(rates, one, strict=True))
        best = max(best, ratio)
        print(f"{count:17}{rate:15.0f}{spread:>16}{hourly:17.2f}{ratio:10.2f}")
    print(f"one trial: {CREMAD_EPOCHS} epochs of {CREMAD_SAMPLES} samples, without validation")
    print(f"best packing relative to one trial: {best:.2f} (goal: at least {FASTER}): {_holds(best >= FASTER)}")


def overhead(setting: Setting, steps: int) -> None:
    """Print the time of an OGM-GE step relative to a plain one, measured as in `benchmarks.step`, without loading."""
    torch.set_num_threads(1)
    device, batch = torch.device(setting.device), setting.batch if setting.device == "cuda" else 2  # whole spectrograms
    variants, _ = step.measure(step.Setting(device, batch, setting.size, steps, setting.bf16))
    plain, modulated = (next(v.seconds for v in variants if v.name == name) for name in ("plain", "OGM-GE"))
    ratio = statistics.median(mine / base for mine, base in zip(modulated, plain, strict=True))
    ms = statistics.median(plain) * 1e3
    goal = f"(goal: at most {COSTS}): {_holds(ratio <= COSTS)}"
    print(f"a step with OGM-GE relative to a plain one ({ms:.1f} ms): {ratio:.3f} {goal}")


def _holds(goal: bool) -> str:
    if not torch.cuda.is_available():
        return "not judged on a CPU"
    return "holds" if goal else "MISSED"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    on_gpu = torch.cuda.is_available()
    parser.add_argument("--trials", default="1,2,4,8" if on_gpu else "1,2", help="numbers of trials to try")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each packing (3)")
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds of training per measurement (10)")
    parser.add_argument("--steps", type=int, default=30 if on_gpu else 3, help="steps to time per variant")
    given = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    if on_gpu:
        setting = Setting("cuda", 64, (1, 257, 188), 224, 2048, cores, bf16=True)
        where = torch.cuda.get_device_name()
    else:
        setting = Setting("cpu", 8, (1, 64, 48), 64, 128, cores, bf16=False)
        where = "NO GPU: small inputs on the CPU, which says nothing about GPUs"
    print(f"torch {torch.__version__}, {cores} cores, {where}")
    counts = [int(count) for count in given.trials.split(",")]
    show(packings(setting, counts, given.rounds, given.seconds))
    overhead(setting, given.steps)


if __name__ == "__main__":
    main()
