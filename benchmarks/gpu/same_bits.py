"""`trial.deterministic`: the same bits in two processes, and after a resume in another process."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.rows import CLASSES, Load, Row, Values
from datasets.loader.in_memory import InMemory, Split
from ogmge import checkpoint, fit
from ogmge.config import Modulation, TrialConfig

EPOCHS, STEPS = 2, 3
GOAL = "the same bits in two processes, also if one resumed"


def data_of(load: Load) -> InMemory:
    """Return a few random samples in memory, for training and validation."""
    training = Split(*load.samples(load.batch * STEPS))
    held_out = Split({name: value[: load.batch] for name, value in training.x.items()}, training.y[: load.batch])
    return InMemory([str(label) for label in range(CLASSES)], training, held_out, "random")


def trial_of(load: Load, *, deterministic: bool = True) -> TrialConfig:
    modulation = Modulation(method="ogm_ge", alpha=0.3)
    return TrialConfig(
        epochs=EPOCHS,
        batch_size=load.batch,
        encoder=load.encoder,
        modulation=modulation,
        deterministic=deterministic,
    )


def train(load: Load, trial: TrialConfig, folder: Path, epochs: int | None = None) -> None:
    """Train a trial in a folder, from its last checkpoint if there is one."""
    fit.train(trial, data_of(load), lambda _: None, folder=folder, device=load.device, epochs=epochs)


def state_of(folder: Path) -> dict[str, Any]:
    """Return the last state of a training without what depends on the time."""
    found: dict[str, Any] = checkpoint.load(folder / fit.LAST)["trainer"]
    return found


def differing(one: Any, other: Any) -> int:
    """Return the number of values of two states that differ in any bit.

    >>> differing({"a": torch.tensor([1.0]), "b": [1, 2]}, {"a": torch.tensor([1.0]), "b": [1, 3]})
    1
    """
    if isinstance(one, dict):
        common = one.keys() & other.keys()
        return len(one.keys() ^ other.keys()) + sum(differing(one[key], other[key]) for key in common)
    if isinstance(one, list | tuple):
        return abs(len(one) - len(other)) + sum(map(differing, one, other))
    if isinstance(one, torch.Tensor):
        same_kind = (one.dtype, one.shape) == (other.dtype, other.shape)
        return int(not same_kind or not torch.equal(_bytes(one), _bytes(other)))
    return int(one != other)


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().flatten().view(torch.uint8)


def measure_same_bits(load: Load) -> Iterator[Row]:
    """Yield whether deterministic trainings agree to the bit, and what that costs; then the same without it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        row, slow = _deterministic(load, folder)
        yield row
        ordinary = trial_of(load, deterministic=False)
        seconds = [_seconds(load, ordinary, folder / f"ordinary {i}") for i in range(2)]
        differ = differing(state_of(folder / "ordinary 0"), state_of(folder / "ordinary 1"))
        yield Row("not deterministic", {"differing": differ, "seconds": seconds[1], "ratio": seconds[1] / slow})


def _deterministic(load: Load, folder: Path) -> tuple[Row, float]:
    """Return the row, and the seconds of a training when the process is warm."""
    trial = trial_of(load)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(load, trial, folder / "here")
        train(load, trial, folder / "resumed", epochs=1)
        seconds = _seconds(load, trial, folder / "again")
    process = multiprocessing.get_context("spawn").Process(target=_elsewhere, args=(load, trial, folder))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"the second process ended with exit code {process.exitcode}")
    here = state_of(folder / "here")
    values: Values = {
        "differing_in_one_process": differing(here, state_of(folder / "again")),
        "differing_in_two_processes": differing(here, state_of(folder / "elsewhere")),
        "differing_after_resume": differing(here, state_of(folder / "resumed")),
    }
    is_met = not any(values.values())
    lacking = sorted({_operator(str(w.message)) for w in caught if "deterministic" in str(w.message)})
    values |= {"seconds": seconds, "ratio": 1.0, "without_deterministic_algorithm": ", ".join(lacking) or "none"}
    return load.judge("deterministic", values, GOAL, is_met=is_met), seconds


def _elsewhere(load: Load, trial: TrialConfig, folder: Path) -> None:
    """Train in a second process: once from the start, once from the first process's checkpoint."""
    torch.set_num_threads(1)
    train(load, trial, folder / "elsewhere")
    train(load, trial, folder / "resumed")


def _seconds(load: Load, trial: TrialConfig, folder: Path) -> float:
    began = time.perf_counter()
    train(load, trial, folder)
    return time.perf_counter() - began


def _operator(warning: str) -> str:
    """Return the operator that a warning of torch names first.

    >>> _operator("upsample_linear1d does not have a deterministic implementation, but …")
    'upsample_linear1d'
    """
    return warning.split(maxsplit=1)[0]
