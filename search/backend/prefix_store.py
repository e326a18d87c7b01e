"""Where beginnings of trainings lie: a file each, beside the trials' checkpoints, at a path or a URI."""

from __future__ import annotations

import logging
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.store.remote import Remote, RemoteError
from ogmge import checkpoint
from search.run.checkpoints import Storage

log = logging.getLogger(__name__)

SUFFIX = ".pt"


@dataclass(frozen=True)
class PrefixStore:
    """Beginnings by key. A file is there whole or not at all; of two that are written under one key, which hold the
    same, the first stays.

    Args:
        storage: of the run's checkpoints.
    """

    storage: Storage

    @property
    def _folder(self) -> Path | None:
        """Theirs, where it is a path."""
        return None if self.storage.folder is None else self.storage.folder / "prefixes"

    @property
    def _remote(self) -> Remote:
        return Remote(self.storage.where)

    def get(self, key: str) -> dict[str, Any] | None:
        """In a worker: what lies under a key. What is damaged is taken away, so that it will be trained again."""
        try:
            with tempfile.TemporaryDirectory() as name:
                path = self._folder / f"{key}{SUFFIX}" if self._folder else Path(name, f"{key}{SUFFIX}")
                if self._folder is None:
                    self._remote.get(self._name(key), path)
                return checkpoint.load(path) if path.exists() else None
        except (checkpoint.CheckpointError, RemoteError, OSError) as error:
            log.warning("%s; these epochs are trained again", error)
            self.drop(key)
            return None

    def put(self, key: str, state: dict[str, Any]) -> int | None:
        """In a worker: leaves a beginning; its size in bytes, or None where it could not be written: it is only needed
        to save time."""
        try:
            if self._folder is not None:
                path = self._folder / f"{key}{SUFFIX}"
                if not path.exists():
                    checkpoint.save(state, path)
                return path.stat().st_size
            with tempfile.TemporaryDirectory() as name:
                path = Path(name, f"{key}{SUFFIX}")
                checkpoint.save(state, path)
                if not self._remote.exists(self._name(key)):
                    self._remote.put(path, self._name(key))
                return path.stat().st_size
        except (RemoteError, OSError) as error:
            log.warning("%s; other trials train these epochs, too", error)
            return None

    def sizes(self) -> dict[str, int]:
        """Key -> bytes of all that are there.

        Raises:
            RemoteError: nobody can say.
        """
        found = (
            Remote(str(self._folder)).sizes("") if self._folder else self._remote.sizes(f"{self.storage.run}/prefixes")
        )
        return {name.removesuffix(SUFFIX): size for name, size in found.items() if name.endswith(SUFFIX)}

    def drop(self, key: str) -> None:
        """Takes one away, if it is there."""
        with suppress(RemoteError, OSError):
            if self._folder is not None:
                (self._folder / f"{key}{SUFFIX}").unlink(missing_ok=True)
            else:
                self._remote.delete(self._name(key))

    def clear(self) -> None:
        """Takes all of them away, with what a killed worker left half written."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            return
        with suppress(RemoteError):
            for key in self.sizes():
                self.drop(key)

    def _name(self, key: str) -> str:
        return f"{self.storage.run}/prefixes/{key}{SUFFIX}"
