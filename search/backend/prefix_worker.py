"""The prefixes that a worker takes from other trials, and stores for them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ogmge import checkpoint
from ogmge.config import TrialConfig
from ogmge.fit import LAST, inherit, prefix_state
from search.backend.prefix_store import PrefixStore

log = logging.getLogger(__name__)


class Prefixes:
    """Of one trial.

    Args:
        store: of all of them.
        order: see `search.tuner.prefixes.sharing.Order`, as a dict.
    """

    def __init__(self, store: PrefixStore, order: Mapping[str, Any]) -> None:
        self._store, self._inherits, self._leaves = store, order["inherits"], order["leaves"]

    def take(self, trial: TrialConfig, folder: Path) -> int:
        """Before the trial begins: have it go on from the longest stored prefix; returns how many epochs that has, 0
        where there is none, or where the trial was interrupted and goes on from its own last epoch."""
        if (folder / LAST).exists():
            return 0
        for key in self._inherits:
            if (state := self._store.get(key)) is not None:
                return inherit(state, trial, folder)
        return 0

    def leave(self, epochs: int, folder: Path) -> list[tuple[str, int]]:
        """After so many epochs: store the prefix, where one is asked for; returns its key and its size in bytes."""
        key = self._leaves.get(epochs)
        if key is None:
            return []
        try:
            state = prefix_state(folder)
        except checkpoint.CheckpointError as error:
            log.warning("%s; other trials train these epochs, too", error)
            return []
        if len(state["last"]["history"]) != epochs:  # it was interrupted, and reports again what it did before
            return []
        size = self._store.put(key, state)
        return [] if size is None else [(key, size)]
