"""Where a run's trials keep their checkpoints: its own folder, or a path or URI that all nodes of a cluster see."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from datasets.store.remote import Remote, local_folder, whereabouts
from ogmge.fit import BEST, LAST
from search.experiment.schema import Experiment
from search.run.folder import RunFolder, trial_folder, write

KEPT = (BEST, LAST)  # in this order: a trial goes on from the last, and the best is never behind it


@dataclass(frozen=True)
class Storage:
    """The files of a run's trials.

    Args:
        where: an absolute path, or a URI.
        run: the run's folder in it, of a name that no other run has; empty where all of it is the run's.
    """

    where: str
    run: str = ""

    @property
    def folder(self) -> Path | None:
        """The run's, where it is a path."""
        folder = local_folder(self.where)
        return None if folder is None else folder / self.run

    @property
    def remote(self) -> Remote:
        """Where the files are, by the names that `name` gives."""
        return Remote(self.where)

    @property
    def display_name(self) -> str:
        """For people."""
        return str(self.folder or f"{self.run} at {self.where}")

    @contextmanager
    def training(self, number: int) -> Iterator[tuple[Path, Callable[[], None]]]:
        """In a worker: the folder that a trial trains in, as it was left, and what keeps it, to be called each epoch.

        Raises:
            RemoteError: it cannot be reached.
        """
        if self.folder is not None:
            yield trial_folder(self.folder, number), lambda: None
            return
        remote, prefix = self.remote, f"{self.run}-{number:04d}-"
        for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):  # by a worker that was killed
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
        """The file of a trial's best weights, once it has ended, if it has any; from a URI it is brought to `cache`.

        Raises:
            RemoteError: it cannot be reached.
        """
        return self.remote.fetch(self._name(number, BEST), trial_folder(cache, number) / BEST)

    def tidy(self, number: int) -> None:
        """Takes away what a trial that has ended needs no more: the state to go on from."""
        self.remote.delete(self._name(number, LAST))

    def name(self, folder: str, file: str = "") -> str:
        """The name of a file, or of a folder of the run."""
        return "/".join(filter(None, (self.run, folder, file)))

    def _name(self, number: int, file: str) -> str:
        return self.name(str(trial_folder(Path(), number)), file)


def storage_of(experiment: Experiment, folder: RunFolder) -> Storage:
    """What an experiment asks for; the name of the run's folder in it is kept in the run's own."""
    where = experiment.search.storage
    if where is None:
        return Storage(str(folder.tune.resolve()))
    if not folder.storage.exists():
        write(folder.storage, f"{experiment.name}-{secrets.token_hex(4)}")
    return Storage(whereabouts(where), folder.storage.read_text(encoding="utf-8"))


def _stamp(file: Path) -> tuple[int, int] | None:
    """Another one each time that the file is written."""
    if not file.exists():
        return None
    found = file.stat()
    return found.st_ino, found.st_mtime_ns
