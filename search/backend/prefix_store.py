"""Store of prefixes: one file per prefix, next to the trials' checkpoints, at a path or a URI."""

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


def _of_key(key: str, state: dict[str, Any]) -> dict[str, Any]:
    if state.pop("key", None) != key:
        raise checkpoint.CheckpointError(f"the file of prefix {key} contains another one")
    return state


@dataclass(frozen=True)
class PrefixStore:
    """Stored prefixes by key.

    Files are written atomically. If two are written under the same key, they have the same content and the first stays.

    Args:
        storage: storage of the run's checkpoints.
    """

    storage: Storage

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the state stored under a key, or None; a corrupt file is deleted. Called in a worker."""
        try:
            with TemporaryDirectory() as folder:
                path = self.storage.remote.fetch(self._name(key), Path(folder, "copy"))
                return _of_key(key, checkpoint.load(path)) if path.exists() else None
        except (checkpoint.CheckpointError, RemoteError, OSError) as error:
            log.warning("%s; its epochs will be trained again", error)
            self.drop(key)
            return None

    def put(self, key: str, state: dict[str, Any]) -> int | None:
        """Store a prefix; return its size in bytes, or None if it cannot be written. Called in a worker."""
        try:
            return self.storage.remote.add(self._name(key), partial(checkpoint.save, {**state, "key": key}))
        except (RemoteError, OSError) as error:
            log.warning("%s; other trials will have to train these epochs themselves", error)
            return None

    def sizes(self) -> dict[str, int]:
        """Return key -> bytes of all stored prefixes.

        Raises:
            RemoteError: if they cannot be listed.
        """
        found = self.storage.remote.sizes(self.storage.name(FOLDER))
        return {name.removesuffix(SUFFIX): size for name, size in found.items() if name.endswith(SUFFIX)}

    def drop(self, key: str) -> None:
        """Delete a prefix if it is stored."""
        with suppress(RemoteError, OSError):
            self.storage.remote.delete(self._name(key))

    def clear(self) -> None:
        """Delete all prefixes, and partial files left by killed workers."""
        with suppress(RemoteError):
            self.storage.remote.delete_folder(self.storage.name(FOLDER))

    def _name(self, key: str) -> str:
        return self.storage.name(FOLDER, f"{key}{SUFFIX}")
