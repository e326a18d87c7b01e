"""Storage of a run's checkpoints: its own folder, or a path or URI that all nodes of a cluster can access."""

from __future__ import annotations

import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from datasets.index.regular_file import fault_of, read_regular
from datasets.store.remote import Remote, local_folder, whereabouts
from ogmge.fit import BEST, LAST
from search.experiment.schema import Experiment
from search.run.folder import FolderError, RunFolder, trial_folder, write

KEPT = (BEST, LAST)  # saved in this order, so that the best is never older than the state to resume from


@dataclass(frozen=True)
class Storage:
    """Storage of the checkpoints of a run's trials.

    Args:
        where: absolute path, or a URI.
        run: name of the run's folder there, which no other run has; empty if the whole place belongs to the run.
    """

    where: str
    run: str = ""

    @property
    def folder(self) -> Path | None:
        """Folder of the run, or None if the storage is a URI."""
        folder = local_folder(self.where)
        return None if folder is None else folder / self.run

    @property
    def remote(self) -> Remote:
        """Access to the files, by the names that `name` returns."""
        return Remote(self.where)

    @property
    def display_name(self) -> str:
        """Place of the files, as shown to users."""
        return str(self.folder or f"{self.run} at {self.where}")

    @contextmanager
    def training(self, number: int) -> Iterator[tuple[Path, Callable[[], None]]]:
        """Provide, in a worker, the folder that a trial trains in, and a function that saves it, to be called each
        epoch.

        The folder holds what earlier sessions saved.

        Raises:
            RemoteError: if the storage cannot be reached.
        """
        if self.folder is not None:
            yield trial_folder(self.folder, number), lambda: None
            return
        remote, prefix = self.remote, f"{self.run}-{number:04d}-"
        for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):  # left by a worker that was killed
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=prefix) as name:
            files = [Path(name, kept) for kept in KEPT]
            for file in files:
                remote.get(self._name(number, file.name), file)
            seen = [_stamp(file) for file in files]

            def keep() -> None:
                for i, file in enumerate(files):
                    if (now := _stamp(file)) != seen[i]:
                        remote.put(file, self._name(number, file.name))
                        seen[i] = now

            yield Path(name), keep

    def weights(self, number: int, cache: Path) -> Path:
        """Return the file with an ended trial's best weights, if it has any; a file at a URI is copied to `cache`.

        Raises:
            RemoteError: if the storage cannot be reached.
        """
        return self.remote.fetch(self._name(number, BEST), trial_folder(cache, number) / BEST)

    def tidy(self, number: int) -> None:
        """Delete the state to resume from, which a trial no longer needs once it has ended."""
        self.remote.delete(self._name(number, LAST))

    def name(self, folder: str, file: str = "") -> str:
        """Return the name of a file in a folder of the run, or of the folder."""
        return "/".join(filter(None, (self.run, folder, file)))

    def _name(self, number: int, file: str) -> str:
        return self.name(str(trial_folder(Path(), number)), file)


def storage_of(experiment: Experiment, folder: RunFolder) -> Storage:
    """Return the storage that an experiment asks for. The run's own folder keeps the name of its folder there."""
    where = experiment.search.storage
    if where is None:
        return Storage(str(folder.tune.resolve()))
    if not folder.storage.exists():
        write(folder.storage, f"{experiment.name}-{secrets.token_hex(4)}")
    return Storage(whereabouts(where), _read_name(folder.storage))


def _read_name(path: Path) -> str:
    """Return the name of a run's folder in its storage.

    Raises:
        FolderError: if the file is corrupt.
    """
    try:
        name = read_regular(path).decode()
        if not re.fullmatch(r"[^/\s]+-[0-9a-f]{8}", name):
            raise ValueError(name)
    except (OSError, ValueError) as error:
        raise FolderError(
            f"{path} {fault_of(error)}; cannot find the run's checkpoints: write the name of their folder in "
            "`search.storage` into it (NAME-, then 8 hexadecimal digits)"
        ) from error
    return name


def _stamp(file: Path) -> tuple[int, int] | None:
    """Return a value that changes whenever the file is written; None if there is no file."""
    if not file.exists():
        return None
    found = file.stat()
    return found.st_ino, found.st_mtime_ns
