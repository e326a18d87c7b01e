"""Prefix keys: names for the state after each epoch, the same for trainings that are the same up to there."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from ogmge.config import Modulation, TrialConfig


def _effect(modulation: Modulation, epoch: int) -> tuple[Any, ...] | None:
    """The part of the modulation that affects an epoch; None outside the window."""
    if not modulation.active(epoch):
        return None
    return modulation.method, modulation.alpha, modulation.parameters, modulation.apply


def _steps(config: TrialConfig) -> list[tuple[float, tuple[Any, ...] | None]]:
    """What may differ from epoch to epoch: the learning rate, and the effect of the modulation; for each epoch.

    Before its window opens a modulated training is an unmodulated one (`start` and all else have no effect yet), and
    until the smaller of two ends has passed nothing depends on the end. A schedule counts as the rates so far.
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
    """The prefix keys of a training, for the state after 0, 1, 2, … epochs.

    A key covers everything that affects the state: two trainings have the same one only where all of it is the same.

    Args:
        config: of the training.
        context: all else that affects it: the data, the code, the device.
    """
    digests = [_digest(json.dumps([context, _ground(config)], sort_keys=True))]
    for step in _steps(config):
        digests.append(_digest(f"{digests[-1]}{step!r}"))
    return digests


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
