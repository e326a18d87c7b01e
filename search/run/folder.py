"""The folder of a run, `runs/NAME`: what is where in it, and who may work in it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from datasets.store.lock import lock_file
from ogmge.fit import LAST
from search.experiment.formatting import flat
from search.experiment.messages import hint
from search.experiment.mistakes import UserError
from search.experiment.schema import Experiment, Search, as_values, to_yaml
from search.run.version import VERSION, read_values

MAY_CHANGE = (  # on resume
    "search.trials",
    "search.resources.cpu",
    "search.resources.gpu",
    "search.budget.hours",
    "search.budget.gpu_hours",
    "search.budget.epochs",
    "search.address",
    "search.share_prefixes",
    "search.prefixes.max_gb",
)
UNKNOWN = "unknown"  # the fingerprint of data that have none
LOCK_WAIT_S = 0.4  # `at_work` holds the lock of a folder for a moment
FULL = (errno.ENOSPC, errno.EDQUOT)  # no room on the disk, or no more for this user


class FolderError(UserError):
    """A run folder that cannot be used as asked: a sentence that says how it can."""


def trial_folder(tune: Path, number: int) -> Path:
    """The folder of a trial's checkpoints, below that of all trials."""
    return tune / f"{number:04d}"


class _Place:
    """A path below a run's folder."""

    def __init__(self, *parts: str) -> None:
        self._parts = parts

    def __get__(self, folder: RunFolder, owner: type) -> Path:
        return folder.path.joinpath(*self._parts)


@dataclass(frozen=True)
class RunFolder:
    """Where a run's files are.

    Args:
        path: as people are shown it, relative where it was given so.
    """

    path: Path

    experiment = _Place("experiment.yaml")
    identity = _Place("run.json")  # see `identify`
    tune = _Place("tune")
    journal = _Place("tune", "journal.jsonl")
    packing = _Place("tune", "packing.json")  # what a trial is given, where that was measured
    storage = _Place("storage")  # holds the name of the run's folder in `search.storage`
    training = _Place("train.json")  # how a training run by itself is trained, once an epoch of it was
    best = _Place("best.yaml")
    trials = _Place("trials.csv")
    verdict = _Place("verdict.json")
    report = _Place("report.html")
    readings = _Place("test_readings.jsonl")  # of the test split, a line each

    @property
    def has_progress(self) -> bool:
        """Whether a trial was started, or an epoch trained."""
        files = (self.journal, self.path / LAST, self.training)
        return any(file.stat().st_size for file in files if file.exists())

    @property
    def confirmation(self) -> RunFolder:
        """That of the confirmation's trainings."""
        return RunFolder(self.path / "confirm")

    @property
    def probe_curve(self) -> RunFolder:
        """That of the trainings that are probed while they run."""
        return RunFolder(self.path / "probe_curve")

    def trial(self, number: int) -> Path:
        """The folder of a trial's checkpoints."""
        return trial_folder(self.tune, number)


def write(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def differences_from(experiment: Experiment, path: Path, also: Collection[str] = ()) -> list[str]:
    """What of an experiment may not differ from the one in a file and does, in words.

    Args:
        experiment: as it is now.
        path: of the file.
        also: what may not differ either, though it may in a resumed search.

    Raises:
        FolderError: the file is damaged.
    """
    now = flat(as_values(experiment))
    before = {**_defaults_since(now), **_read_flat(path)}
    may = set(MAY_CHANGE).difference(also)
    different = [key for key in {**before, **now} if before.get(key) != now.get(key) and key not in may]
    return [f"`{key}` was {before.get(key)!r} and is {now.get(key)!r}" for key in different]


def _defaults_since(now: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults of `search`, by dotted path: a file that was written before a key existed means its default."""
    defaults = flat({"search": Search().model_dump(mode="json")})
    return {key: value for key, value in defaults.items() if key in now}


def _read_flat(path: Path) -> dict[str, Any]:
    try:
        return flat(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError) as error:
        raise FolderError(
            f"{path} is damaged, so it cannot be verified that this is the same experiment: delete it if you know that "
            "it is, and repeat this command"
        ) from error


def _check_new(folder: RunFolder, name: str) -> None:
    if folder.path.exists() and any(p.name != ".lock" for p in folder.path.iterdir()):
        raise FolderError(
            f"{folder.path} exists already: continue it with --resume, or take another name (name={name}-2)"
        )


def _check_resumed(folder: RunFolder, experiment: Experiment) -> None:
    require_readable(folder)
    if not (folder.experiment.exists() or folder.has_progress):
        raise FolderError(f"there is nothing to resume in {folder.path}: start without --resume")
    if folder.experiment.exists() and (different := differences_from(experiment, folder.experiment)):
        raise FolderError(
            f"a resumed run keeps what it began with ({folder.experiment}), but {'; '.join(different)}: "
            "put that back, or take another name"
        )


def require_readable(folder: RunFolder) -> None:
    """Check that this program knows the version of a run. A file that is missing or damaged says nothing of it.

    Raises:
        VersionError: it is newer.
    """
    for path in (folder.identity, folder.verdict):
        with suppress(OSError, ValueError):
            read_values(path)


@dataclass(frozen=True)
class Identity:
    """What makes a run this one.

    Args:
        run: an id that no other has.
        fingerprint: of its data.
    """

    run: str
    fingerprint: str


def require_unchanged(then: str, now: str, since: str, otherwise: str) -> None:
    """Check that the data which a file or a run's folder names are what they were.

    Where they are not, the command is refused, and its user can say what is meant: put the data back, or name these
    ones in so many words (another run, `--data`, `dataset.…=…`, a file without `origin`), which is never refused. A
    note would come too late: a training would be of other data than its search, and a split of today may hold what a
    model was trained on then, so that its scores are too good and nothing in them shows it.

    Args:
        then, now: fingerprints; what is "unknown" then cannot be told from anything.
        since: what it is that was then.
        otherwise: what is wrong with others, and how to go on.

    Raises:
        FolderError: the data have changed.
    """
    if then not in (UNKNOWN, now):
        raise FolderError(f"the data have changed since {since} (fingerprint {then} then, {now} now), {otherwise}")


def identify(folder: RunFolder, fingerprint: str) -> Identity:
    """The run's identity, made with the first call; it stays that of data with this fingerprint.

    Raises:
        FolderError: the data are others by now, or the file is damaged.
    """
    if not folder.identity.exists():
        made = Identity(secrets.token_hex(8), fingerprint)
        write(folder.identity, json.dumps({"version": VERSION, **asdict(made)}) + "\n")
        return made
    identity = _read_identity(folder)
    require_unchanged(
        identity.fingerprint,
        fingerprint,
        f"the run in {folder.path} began",
        "and results on different data say nothing together: put the data back, or begin another run",
    )
    return identity


def _read_identity(folder: RunFolder) -> Identity:
    try:
        values = read_values(folder.identity)
        return Identity(str(values["run"]), str(values["fingerprint"]))
    except (ValueError, KeyError) as error:
        raise FolderError(
            f"{folder.identity} is damaged, so it cannot be verified that the data are the same: delete it if you "
            "know that they are, and repeat this command"
        ) from error


def fingerprint_in(folder: RunFolder) -> str:
    """Of the data of the run, as far as it is known."""
    with suppress(OSError, UserError):
        return _read_identity(folder).fingerprint
    return UNKNOWN


@contextmanager
def lock_folder(folder: RunFolder) -> Iterator[None]:
    """The folder for this process alone.

    Raises:
        FolderError: another process is at work in it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(lock_file(folder.path / ".lock", wait_s=LOCK_WAIT_S))
        except BlockingIOError as error:
            raise FolderError(f"another process is at work in {folder.path}: wait for it, or stop it") from error
        yield


def at_work(folder: RunFolder) -> bool:
    """Whether a process is, in the folder of a run."""
    try:
        with (folder.path / ".lock").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # there is no lock
    return False


@contextmanager
def claim_folder(folder: RunFolder, experiment: Experiment, *, resume: bool) -> Iterator[None]:
    """The folder for this process alone, with the resolved experiment in it.

    A new folder in which nothing happened before an error is removed, so that the corrected command can be repeated.

    Raises:
        FolderError: it is another run's, there is nothing to resume, or what is resumed was another experiment.
    """
    if resume:
        _check_resumed(folder, experiment)
    else:
        _check_new(folder, experiment.name)
    folder.path.mkdir(parents=True, exist_ok=True)
    with lock_folder(folder):
        write(folder.experiment, to_yaml(as_values(experiment)))
        try:
            yield
        except BaseException:
            if not resume and not folder.has_progress:
                shutil.rmtree(folder.path)
            raise


def find(run: str, runs: Path) -> Path:
    """The folder that a user means by an experiment's name or a folder.

    Raises:
        FolderError: there is none; names those there are.
        VersionError: a newer program made it.
    """
    for candidate in (runs / run, Path(run)):
        if (candidate / "experiment.yaml").exists():
            require_readable(RunFolder(candidate))
            return candidate
    there = sorted(p.parent.name for p in runs.glob("*/experiment.yaml"))
    known = f"there is {', '.join(there)}" if there else "there is none yet"
    raise FolderError(f"no run called {run!r} under {runs}/: {known}{hint(run, there)}")
