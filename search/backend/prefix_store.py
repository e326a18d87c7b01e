"""Where prefixes are stored: a file each, beside the trials' checkpoints, at a path or a URI."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from datasets.store.remote import RemoteError
from ogmge import checkpoint
from search.run.checkpoints import Storage

log = logging.getLogger(__name__)

FOLDER, SUFFIX = "prefixes", ".pt"


@dataclass(frozen=True)
class PrefixStore:
    """Prefixes by key. A file is there whole or not at all; of two that are written under one key, which hold the same,
    the first stays.

    Args:
        storage: of the run's checkpoints.
    """

    storage: Storage

    def get(self, key: str) -> dict[str, Any] | None:
        """In a worker: the state under a key, if any. A corrupt one is dropped, so that it will be trained again."""
        try:
            with TemporaryDirectory() as folder:
                path = self.storage.remote.fetch(self._name(key), Path(folder, "copy"))
                return checkpoint.load(path) if path.exists() else None
        except (checkpoint.CheckpointError, RemoteError, OSError) as error:
            log.warning("%s; these epochs are trained again", error)
            self.drop(key)
            return None

    def put(self, key: str, state: dict[str, Any]) -> int | None:
        """In a worker: store a prefix; returns its bytes, or None where it cannot be written: it only saves time."""
        try:
            return self.storage.remote.add(self._name(key), partial(checkpoint.save, state))
        except (RemoteError, OSError) as error:
            log.warning("%s; other trials train these epochs, too", error)
            return None

    def sizes(self) -> dict[str, int]:
        """Key -> bytes of all that are stored.

        Raises:
            RemoteError: they cannot be listed.
        """
        found = self.storage.remote.sizes(self.storage.name(FOLDER))
        return {name.removesuffix(SUFFIX): size for name, size in found.items() if name.endswith(SUFFIX)}

    def drop(self, key: str) -> None:
        """Delete one, if it is there."""
        with suppress(RemoteError, OSError):
            self.storage.remote.delete(self._name(key))

    def clear(self) -> None:
        """Delete all of them, with what a killed worker left half written."""
        with suppress(RemoteError):
            self.storage.remote.delete_folder(self.storage.name(FOLDER))

    def _name(self, key: str) -> str:
        return self.storage.name(FOLDER, f"{key}{SUFFIX}")
