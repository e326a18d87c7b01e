"""What the state of a training depends on, epoch by epoch: two that begin alike are the same to the bit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ogmge.config import Modulation, TrialConfig

Step = tuple[float, tuple[Any, ...] | None]  # an epoch's learning rate, and what its modulation does


def _effect(modulation: Modulation, epoch: int) -> tuple[Any, ...] | None:
    """All of it that matters in an epoch; None outside the window, where nothing of it does."""
    if not modulation.active(epoch):
        return None
    return modulation.method, modulation.alpha, modulation.parameters, modulation.apply


def steps(config: TrialConfig) -> list[Step]:
    """What an epoch does that another may do otherwise, for each epoch of a training.

    Before its window opens a modulated training is an unmodulated one (`start` and all else have no effect yet), and
    until the smaller of two ends has passed nothing depends on the end. Likewise a schedule is no more than the rates
    so far.
    """
    rate, schedule = config.optimizer.lr, config.schedule
    return [(schedule.rate(rate, e, config.epochs), _effect(config.modulation, e)) for e in range(config.epochs)]


def ground(config: TrialConfig) -> dict[str, Any]:
    """What is the same for all epochs, and matters from the first weights on."""
    values = asdict(config)
    for name in ("epochs", "schedule", "modulation"):
        del values[name]
    del values["optimizer"]["lr"]
    return values


def keys(config: TrialConfig, context: str = "") -> list[str]:
    """A name for the state after 0, 1, 2, … epochs: the same for two trainings where all is the same that can have
    influenced it, and for no others.

    Args:
        config: of the training.
        context: what else influences it: the data, the code, the device.
    """
    said = json.dumps([context, ground(config)], sort_keys=True)
    return _chain(said, steps(config))


def _chain(said: str, each: Sequence[Step]) -> list[str]:
    key = hashlib.blake2b(said.encode(), digest_size=16).hexdigest()
    found = [key]
    for step in each:
        key = hashlib.blake2b(f"{key}{step!r}".encode(), digest_size=16).hexdigest()
        found.append(key)
    return found
