"""What the state of a training depends on, epoch by epoch: two that begin alike are the same to the bit."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from ogmge.config import Modulation, TrialConfig


def _effect(modulation: Modulation, epoch: int) -> tuple[Any, ...] | None:
    """All of it that matters in an epoch; None outside the window, where nothing of it does."""
    if not modulation.active(epoch):
        return None
    return modulation.method, modulation.alpha, modulation.parameters, modulation.apply


def _steps(config: TrialConfig) -> list[tuple[float, tuple[Any, ...] | None]]:
    """What an epoch does that another may do otherwise: its learning rate, and its modulation; for each of a training.

    Before its window opens a modulated training is an unmodulated one (`start` and all else have no effect yet), and
    until the smaller of two ends has passed nothing depends on the end. Likewise a schedule is no more than the rates
    so far.
    """
    rate, schedule = config.optimizer.lr, config.schedule
    return [(schedule.rate(rate, e, config.epochs), _effect(config.modulation, e)) for e in range(config.epochs)]


def _ground(config: TrialConfig) -> dict[str, Any]:
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
    found = [_digest(json.dumps([context, _ground(config)], sort_keys=True))]
    for step in _steps(config):
        found.append(_digest(f"{found[-1]}{step!r}"))
    return found


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
