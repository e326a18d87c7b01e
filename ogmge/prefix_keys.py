"""Prefix keys: identifiers of the state after each epoch, equal for runs that are identical up to that epoch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from ogmge.config import Modulation, TrialConfig


def _effect(modulation: Modulation, epoch: int) -> tuple[Any, ...] | None:
    """Return the settings of the modulation that affect an epoch; None outside the window."""
    if not modulation.active(epoch):
        return None
    return modulation.method, modulation.alpha, modulation.parameters, modulation.apply


def _steps(config: TrialConfig) -> list[tuple[float, tuple[Any, ...] | None]]:
    """Return, for each epoch, what may vary between epochs: the learning rate and the effect of the modulation.

    Before its window opens, a modulated run is identical to an unmodulated one. Runs that differ only in the end of the
    window are identical until the earlier end. Schedules that have produced the same learning rates so far are
    equivalent.
    """
    rate, schedule = config.optimizer.lr, config.schedule
    return [(schedule.rate(rate, e, config.epochs), _effect(config.modulation, e)) for e in range(config.epochs)]


def _ground(config: TrialConfig) -> dict[str, Any]:
    """Return the settings that affect a run from its initial weights on and do not vary between epochs."""
    values = asdict(config)
    for name in ("epochs", "schedule", "modulation"):
        del values[name]
    del values["optimizer"]["lr"]
    return values


def keys(config: TrialConfig, context: str = "") -> list[str]:
    """Return the prefix keys of a run, for its state after 0, 1, 2, … epochs.

    A key covers everything that affects the state: two runs have the same key only if all of it is the same.

    Args:
        config: configuration of the run.
        context: identifier of everything else that affects the run: data, code, device.
    """
    digests = [_digest(json.dumps([context, _ground(config)], sort_keys=True))]
    for step in _steps(config):
        digests.append(_digest(f"{digests[-1]}{step!r}"))
    return digests


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
