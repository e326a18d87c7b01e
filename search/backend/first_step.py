"""First step of a model: one evaluation and one training step on the first samples of a data set, on the CPU."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch

from ogmge.batch_norm import SAMPLES
from ogmge.batches import Batch
from ogmge.devices import kept_rng
from ogmge.trainer import NonFiniteLoss, Trainer
from search.experiment.own_errors import describe
from search.run.batch_check import Batches


@contextmanager
def without_traces() -> Iterator[None]:
    """Restore the random number generators of torch, NumPy and Python at the end of the block, and torch's threads.

    There is one thread in the block: with so few samples, several would mostly wait for each other.
    """
    python, numpy, threads = random.getstate(), np.random.get_state(), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with kept_rng(torch.device("cpu")):
            yield
    finally:
        torch.set_num_threads(threads)
        random.setstate(python)
        np.random.set_state(numpy)


def step_problem(trainer: Trainer, batches: Batches) -> str | None:
    """Evaluate and train a new model on the first samples of each split; return what fails, or None.

    Args:
        trainer: trainer on the CPU, which must not be used afterwards.
        batches: first batch of each split, which are right.
    """
    validation, training = (_few(batches[split]) for split in ("validation", "training"))
    if len(training[1]) < trainer.smallest_batch:
        return f"its batch norm needs {trainer.smallest_batch} samples per batch, but the first training batch has 1"
    steps: dict[str, Callable[[], bool]] = {
        "validation": lambda: _evaluate(trainer, validation),
        "training": lambda: _train(trainer, training),
    }
    for split, step in steps.items():
        shapes = {name: list(value.shape) for name, value in batches[split][0].items() if name in trainer.names}
        try:
            with warnings.catch_warnings(action="ignore"):  # they come again where the model is trained
                is_finite = step()
        except Exception as error:  # a custom encoder or fusion may raise any exception
            return f"it fails on the first {split} samples ({_shapes(shapes)}): {describe(error)}"
        if not is_finite:
            culprits = _culprits(trainer, validation) if split == "validation" else ""  # training changes all weights
            return f"its loss on the first {split} samples is infinite or NaN{culprits}"
    return None


def _few(batch: Batch) -> Batch:
    x, y = batch
    return {name: value[:SAMPLES].cpu() for name, value in x.items()}, y[:SAMPLES].cpu()


def _shapes(shapes: Mapping[str, list[int]]) -> str:
    return ", ".join(f"{name} {[min(SAMPLES, count), *shape]}" for name, (count, *shape) in shapes.items())


def _evaluate(trainer: Trainer, batch: Batch) -> bool:
    metrics, _ = trainer.evaluate([batch])
    return math.isfinite(metrics["val/loss"])


def _train(trainer: Trainer, batch: Batch) -> bool:
    try:
        trainer.train_epoch([batch], trainer.config.modulation.start)
    except NonFiniteLoss:
        return False
    return True


@torch.no_grad()
def _culprits(trainer: Trainer, batch: Batch) -> str:
    """Return a clause that names the encoders whose features are not finite."""
    x, _ = batch
    features = {name: encoder(x[name].float()) for name, encoder in trainer.model.eval().encoders.items()}
    wrong = [name for name, value in features.items() if not bool(value.isfinite().all())]
    return f": the features of {', '.join(wrong)} are" if wrong else ""
