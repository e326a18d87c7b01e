"""Prefixes that a worker takes from other trials, and stores for them."""

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
    """Prefixes of one trial.

    Args:
        store: store of all prefixes.
        order: instance of `search.tuner.prefixes.sharing.Order` as a dict.
    """

    def __init__(self, store: PrefixStore, order: Mapping[str, Any]) -> None:
        self._store, self._inherits, self._leaves = store, order["inherits"], order["leaves"]

    def take(self, trial: TrialConfig, folder: Path) -> int:
        """Prepare a trial to continue from its longest stored prefix, before it starts.

        Returns the number of epochs in the prefix. It is 0 if none is stored, or if the trial was interrupted and
        resumes from its own last epoch.
        """
        if (folder / LAST).exists():
            return 0
        for key in self._inherits:
            if (state := self._store.get(key)) is not None:
                return inherit(state, trial, folder)
        return 0

    def leave(self, epochs: int, folder: Path) -> list[tuple[str, int]]:
        """Store the prefix with this number of epochs if the order asks for it; return its key and size in bytes."""
        key = self._leaves.get(epochs)
        if key is None:
            return []
        try:
            state = prefix_state(folder)
        except checkpoint.CheckpointError as error:
            log.warning("%s; other trials will have to train these epochs themselves", error)
            return []
        if len(state["last"]["history"]) != epochs:  # after an interruption, a trial reports earlier epochs again
            return []
        size = self._store.put(key, state)
        return [] if size is None else [(key, size)]
