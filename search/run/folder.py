"""Folder of a run, `runs/NAME`: its files, the experiment and the data that it belongs to, and its lock."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import secrets
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import yaml

from datasets.index.list_files import count
from datasets.index.regular_file import fault_of, read_regular
from datasets.store.lock import lock_file
from ogmge.fit import BEST, LAST
from search.experiment.formatting import flat
from search.experiment.messages import differences, hint
from search.experiment.mistakes import UserError
from search.experiment.paths import absolute, base_folder, change_paths, experiment_yaml
from search.experiment.program import ENDINGS
from search.experiment.schema import USED_BY_TRAINING, Experiment, Search, as_values
from search.experiment.yaml_source import Place
from search.run.disk import DiskFailure, explain_errors, require_own_links, require_writable
from search.run.journal import read
from search.run.version import VERSION, read_values

MAY_CHANGE = (  # keys that may change on resume
    "search.trials",
    "search.resources.cpu",
    "search.resources.gpu",
    "search.budget.hours",
    "search.budget.gpu_hours",
    "search.budget.epochs",
    "search.address",
    "search.share_prefixes",
    "search.prefixes.max_gb",
    "modules",
)
Kind = Literal["search", "training"]
SUFFIX: dict[Kind, str] = {"search": "2", "training": "plain"}  # of the name to suggest if a name is taken
UNKNOWN = "unknown"  # fingerprint of data that have none
LOCK_WAIT_S = 0.4  # `at_work` holds the lock of a folder for a moment


class FolderError(UserError):
    """Run folder that cannot be used as asked; the message says what to do."""


def trial_folder(tune: Path, number: int) -> Path:
    """Return the folder of a trial's checkpoints in `tune`, the folder of all trials."""
    return tune / f"{number:04d}"


class _Place:
    """A path below a run's folder."""

    def __init__(self, *parts: str) -> None:
        self._parts = parts

    def __get__(self, folder: RunFolder, owner: type) -> Path:
        return folder.path.joinpath(*self._parts)


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run's files.

    Args:
        path: folder of the run, relative if the user gave it so; messages show it.
    """

    path: Path

    experiment = _Place("experiment.yaml")
    identity = _Place("run.json")  # see `identify`
    tune = _Place("tune")
    journal = _Place("tune", "journal.jsonl")
    packing = _Place("tune", "packing.json")  # resources per trial, if they were measured
    storage = _Place("storage")  # holds the name of the run's folder in `search.storage`
    training = _Place("train.json")  # settings of a training without a search, once an epoch is trained
    best = _Place("best.yaml")
    trials = _Place("trials.csv")
    verdict = _Place("verdict.json")
    report = _Place("report.html")
    optuna = _Place("optuna.log")  # both studies, see `search.tuner.optuna_log`
    readings = _Place("test_readings.jsonl")  # one line per reading of the test split

    @property
    def has_progress(self) -> bool:
        """Whether a trial was started, or an epoch trained."""
        files = (self.journal, self.path / LAST, self.training)
        return any(file.stat().st_size for file in files if file.exists())

    @property
    def kind(self) -> Kind | None:
        """What the folder holds; None if neither a trial was started nor an epoch trained."""
        if self.journal.exists():
            return "search"
        return "training" if any(file.exists() for file in self._trained) else None

    @property
    def _trained(self) -> tuple[Path, ...]:
        """Files that only a training writes."""
        return self.training, self.path / LAST, self.path / BEST

    @property
    def confirmation(self) -> RunFolder:
        """Folder of the confirmation's trainings."""
        return RunFolder(self.path / "confirm")

    @property
    def probe_curve(self) -> RunFolder:
        """Folder of the trainings that are probed while they run."""
        return RunFolder(self.path / "probe_curve")

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that a run writes."""
        places = (self.experiment, self.identity, self.storage, self.training, self.best, self.trials, self.verdict)
        return *places, self.report, self.readings, self.path / LAST, self.path / BEST

    def trial(self, number: int) -> Path:
        """Return the folder of a trial's checkpoints."""
        return trial_folder(self.tune, number)


def write(path: Path, text: str) -> None:
    """Write a file completely or not at all.

    Raises:
        OSError: if it cannot be written; an earlier file is then unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.unlink(missing_ok=True)  # whatever another user put there: a link would be followed
        with temporary.open("x", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        temporary.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):  # the first error counts
            temporary.unlink(missing_ok=True)


def differences_from(
    experiment: Experiment, path: Path, also: Collection[str] = (), kind: Kind = "search"
) -> list[str]:
    """Return a phrase for each setting that differs from an experiment file, except those that may change on resume.

    Args:
        experiment: experiment as it is now.
        path: file with the experiment as it was.
        also: keys that may not change here, although they may on resume.
        kind: kind of the run; a training may change what only a search uses.

    Raises:
        FolderError: if the file is corrupt.
    """
    now = _flat(as_values(experiment), Path.cwd())
    before = {**_defaults_since(now), **_read_flat(path)}
    may = set(MAY_CHANGE).difference(also)

    def must_stay(key: str) -> bool:
        return key not in may and (kind == "search" or _is_used_by_training(key))

    return differences(*({key: values[key] for key in values if must_stay(key)} for values in (before, now)))


def _is_used_by_training(key: str) -> bool:
    section, _, rest = key.partition(".")
    return section not in ("space", "confirm", "search") or rest.partition(".")[0] in USED_BY_TRAINING


def _defaults_since(now: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults of `search` for the keys in `now`, by dotted path.

    A file that was written before a key existed means its default.
    """
    defaults = flat({"search": Search().model_dump(mode="json")})
    return {key: value for key, value in defaults.items() if key in now}


def _flat(values: dict[str, Any], base: Path) -> dict[str, Any]:
    """Flatten the values of a file whose relative paths start from `base`; paths become relative to the working folder.

    Messages cut long values, so that absolute paths could look the same.
    """

    def shorten(_: Place, path: str) -> str:
        whole = absolute(path, base)
        return os.path.relpath(whole) if Path(whole).is_relative_to(Path.cwd()) else whole

    change_paths(values, shorten)
    return flat(values)


def _read_flat(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(read_regular(path).decode())
        return _flat(values, base_folder(values, path))
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, TypeError, OSError, RecursionError) as error:
        raise FolderError(
            f"{path} {fault_of(error)}; cannot verify that this is the same experiment: if you know that it is, delete "
            "the file and repeat this command"
        ) from error


def _check_kind(folder: RunFolder, name: str, kind: Kind) -> None:
    """Check that a folder does not hold a run of the other kind, which this one would overwrite."""
    if folder.kind not in (None, kind):
        raise FolderError(
            f"{folder.path} holds a {folder.kind}, not a {kind}: choose another name (name={name}-{SUFFIX[kind]})"
        )


def _check_new(folder: RunFolder, experiment: Experiment, kind: Kind) -> None:
    _check_kind(folder, experiment.name, kind)
    if folder.path.exists() and any(p.name != ".lock" for p in folder.path.iterdir()):
        raise FolderError(
            f"{folder.path} already exists: continue it with --resume, or choose another name "
            f"(name={free_name(folder.path.parent, experiment.name)})"
        )


def free_name(runs: Path, name: str) -> str:
    """Return a name under which there is no run: the given one, or `NAME-2`, `NAME-3`, …"""
    names = (name if number == 1 else f"{name}-{number}" for number in itertools.count(1))
    return next(free for free in names if not (runs / free).exists())


def _check_resumed(folder: RunFolder, experiment: Experiment, kind: Kind) -> None:
    _check_kind(folder, experiment.name, kind)
    require_readable(folder)
    if not (folder.experiment.exists() or folder.has_progress):
        raise FolderError(f"there is nothing to resume in {folder.path}: start without --resume")
    if folder.experiment.exists() and (different := differences_from(experiment, folder.experiment, kind=kind)):
        raise FolderError(
            f"a resumed run must keep the settings in {folder.experiment}, but {'; '.join(different)}: "
            "restore them, or choose another name"
        )
    _check_trials(folder, experiment.search.trials)


def _check_trials(folder: RunFolder, wanted: int) -> None:
    """Check that the number of trials was not lowered below the number of those that have begun."""
    before = _read_flat(folder.experiment).get("search.trials", 0) if folder.experiment.exists() else 0
    if wanted < before and wanted < (begun := len(read(folder.journal).trials)):
        raise FolderError(
            f"`search.trials` is {wanted}, but {count(begun, 'trial')} of {folder.path} have begun: set it to {begun} "
            "or more"
        )


def require_readable(folder: RunFolder) -> None:
    """Raise if a newer program wrote a run. Files that are missing or corrupt are ignored.

    Raises:
        VersionError: if the run's version is newer than this program's.
    """
    for path in (folder.identity, folder.verdict):
        with suppress(OSError, ValueError):
            read_values(path)


def require_search(folder: RunFolder) -> None:
    """Raise if no search began in a folder.

    Raises:
        FolderError: if there is none.
    """
    if not folder.journal.exists():
        held = ", which holds a training" if folder.kind == "training" else ""
        raise FolderError(f"there is no search in {folder.path}{held}: start one with `uv run run_search.py FILE`")


@dataclass(frozen=True)
class Identity:
    """Identity of a run.

    Args:
        run: id that no other run has.
        fingerprint: fingerprint of the run's data.
    """

    run: str
    fingerprint: str


def require_unchanged(then: str, now: str, since: str, otherwise: str) -> None:
    """Raise if the data that a file or a run's folder names have changed.

    The command is then refused, and users state what they mean: they restore the data, or name the new data explicitly
    (another run, `--data`, `dataset.…=…`, a file without `origin`), which is never refused. A warning would come too
    late: a training would use other data than its search; or a new split could contain samples that a model was trained
    on, and nothing would show that its scores are too high.

    Args:
        then, now: fingerprints; an unknown `then` is accepted.
        since: event that happened with the old data, a clause that follows "since".
        otherwise: end of the sentence, which says why the new data are wrong, and how to continue.

    Raises:
        FolderError: if the data have changed.
    """
    if then not in (UNKNOWN, now):
        raise FolderError(f"the data have changed since {since} (fingerprint {then} then, {now} now), {otherwise}")


def identify(folder: RunFolder, fingerprint: str) -> Identity:
    """Return the run's identity, which the first call creates.

    Raises:
        FolderError: if the data have changed since, or the file is corrupt.
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
        "and results on different data cannot be compared: restore the data, or start another run",
    )
    return identity


def _read_identity(folder: RunFolder) -> Identity:
    try:
        values = read_values(folder.identity)
        return Identity(str(values["run"]), str(values["fingerprint"]))
    except (ValueError, KeyError, OSError) as error:
        raise FolderError(
            f"{folder.identity} {fault_of(error)}; cannot verify that the data are the same: if you know that they "
            "are, delete the file and repeat this command"
        ) from error


def fingerprint_in(folder: RunFolder) -> str:
    """Return the fingerprint of the run's data, or `UNKNOWN`."""
    with suppress(OSError, UserError):
        return _read_identity(folder).fingerprint
    return UNKNOWN


@contextmanager
def lock_folder(folder: RunFolder) -> Iterator[None]:
    """Lock a run's folder for this process.

    Raises:
        FolderError: if another process holds the lock.
        PlaceError: if the lock cannot be written.
    """
    require_own_links(folder.path)
    with ExitStack() as stack:
        try:
            with explain_errors():
                stack.enter_context(lock_file(folder.path / ".lock", wait_s=LOCK_WAIT_S))
        except BlockingIOError as error:
            raise FolderError(f"another process is using {folder.path}: wait until it ends, or stop it") from error
        yield


def at_work(folder: RunFolder) -> bool:
    """Return whether a process is working in a run's folder."""
    try:
        with (folder.path / ".lock").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # there is no lock file
    return False


def check_writable(folder: RunFolder) -> None:
    """Check that all files of a run can be written, and those of its confirmation and probe curves.

    Raises:
        PlaceError: if they cannot, or a link of another user leads elsewhere.
    """
    require_writable(folder.path, *folder.files)
    for own in (folder, folder.confirmation, folder.probe_curve):
        require_own_links(own.path, own.tune)
        require_writable(own.tune, own.journal)


@contextmanager
def claim_folder(folder: RunFolder, experiment: Experiment, *, resume: bool, kind: Kind = "search") -> Iterator[None]:
    """Lock a run's folder for this process, and write the resolved experiment to it.

    If an error comes before any progress in a new folder, the folder is removed, so that the corrected command can be
    repeated.

    Raises:
        FolderError: if the folder belongs to another run or to one of another kind, there is nothing to resume, or the
            resumed experiment was another.
        PlaceError: if the folder or a file in it cannot be written.
    """
    check_writable(folder)
    check = partial(_check_resumed if resume else _check_new, folder, experiment, kind)
    check()
    with explain_errors():
        folder.path.mkdir(parents=True, exist_ok=True)
    with lock_folder(folder):
        check()  # another process may have worked here in the meantime
        write(folder.experiment, experiment_yaml(as_values(experiment), folder.experiment))
        try:
            yield
        except BaseException as error:
            if resume or folder.has_progress:
                raise
            shutil.rmtree(folder.path, ignore_errors=True)
            if isinstance(error, DiskFailure) and error.__cause__ is not None:
                raise error.__cause__ from None  # there is nothing to resume
            raise


def find(run: str, runs: Path) -> Path:
    """Return the folder of the run that a user names, by the experiment's name or by the folder.

    Raises:
        FolderError: if there is no such run; the message lists those that exist.
        VersionError: if a newer program wrote the run.
    """
    for candidate in (runs / run, Path(run)):
        if (candidate / "experiment.yaml").exists():
            require_readable(RunFolder(candidate))
            return candidate
    there = sorted(p.parent.name for p in runs.glob("*/experiment.yaml"))
    known = f"found {', '.join(there)}" if there else "there are no runs yet"
    if (file := Path(run)).is_file() and file.suffix in ENDINGS:
        raise FolderError(f"expected a run, but {run} is an experiment file{_run_meant(file, runs, known)}")
    raise FolderError(f"no run called {run!r} under {runs}/: {known}{hint(run, there)}")


def _run_meant(file: Path, runs: Path, known: str) -> str:
    """Return which run a user means by an experiment file: the one that it lies in, or the one of its `name`.

    Args:
        file: experiment file.
        runs: folder of all runs.
        known: list of the runs, for a file without one.
    """
    folder = file.parent
    with suppress(OSError, ValueError, LookupError, TypeError, yaml.YAMLError):
        folder = folder if RunFolder(folder).experiment.exists() else runs / yaml.safe_load(file.read_text())["name"]
    if RunFolder(folder).experiment.exists():
        return f"; did you mean the run `{folder.name}`?"
    return f" without a run ({known}): start a search with `uv run run_search.py {file}`"
