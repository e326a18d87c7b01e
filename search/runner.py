"""A whole search: from an experiment to an answer in its folder."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ogmge import checkpoint
from search import answer, export
from search.arms import ARMS, Arm
from search.cluster import check_nodes, nodes, ray_for
from search.data import fingerprint_of, store_of
from search.experiment import Experiment
from search.folder import RunFolder, claimed, write
from search.packing import Room, larger, trials_at_once
from search.policy import Tuning
from search.probe import room_for
from search.progress import Progress
from search.ray_tune import run
from search.record import Journal, TrialRecord
from search.rehearsal import searchable
from search.session import Session
from search.summary import print_summary
from search.tracking import Tracker
from search.worker import Setup

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How a search ended.

    Args:
        complete: every trial has ended, or the budget is spent; if not, the search was interrupted, or halted.
        halted: why it was halted.
        answered: both arms have a result.
        failure: the first failed trial's reason, where there is one; else that of the budget, where it is spent.
    """

    complete: bool
    answered: bool
    failure: str | None
    halted: str | None


class _Tidy:
    """Takes away what a trial that has ended needs no more: the state to go on from."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def started(self, trial: TrialRecord) -> None:
        """Nothing."""

    def reported(self, trial: TrialRecord) -> None:
        """Nothing."""

    def ended(self, trial: TrialRecord) -> None:
        (self._folder.trial(trial.number) / "last.pt").unlink(missing_ok=True)


def search(experiment: Experiment, runs: Path, console: Console, *, resume: bool = False) -> Outcome:
    """Runs or resumes the search in `runs/NAME`, shows it, and leaves the answer there and in MLflow.

    Raises:
        ExperimentError, DatasetError, FolderError, ResourceError, TrackingError: mistakes of whoever asks, found
            before the first trial.
    """
    began = time.monotonic()
    folder = RunFolder(runs / experiment.name)
    data, notes = searchable(experiment)
    for note in notes:
        console.print(Text(f"note: {note}", style="yellow"))
    with claimed(folder, experiment, resume=resume):
        journal = Journal(folder.journal)
        session = Session(experiment, journal, Tuning(experiment))
        tracker = Tracker(experiment, runs, fingerprint_of(data), session.record, lambda n: folder.trial(n) / "best.pt")
        try:
            _train(session, folder, tracker, console)
        finally:
            outcome, best = _answer(session, folder)
            status = "FINISHED" if outcome.answered and outcome.complete else "FAILED" if outcome.complete else "KILLED"
            lack = tracker.close(status, [folder.experiment, folder.best, folder.trials])
            journal.close()
        if outcome.complete:
            interval = _interval(experiment, folder, best)
            print_summary(console, session, best, interval, folder, time.monotonic() - began)
        if lack:
            console.print(Text(f"note: {lack}", style="yellow"))
        return outcome


@contextmanager
def _engine(session: Session, setup: Setup, stored: Mapping[str, Path]) -> Iterator[None]:
    """Ray, where there is something to run."""
    if not session.left:
        yield
        return
    with ray_for(session.experiment):
        if session.experiment.search.address != "local":
            seen = {"the working folder": setup.here, **{f"dataset.{o}": path for o, path in stored.items()}}
            check_nodes(seen, {"the folder of the run": setup.folder})
        yield


def _rooms(experiment: Experiment, console: Console) -> tuple[list[Room], int]:
    """What trials are given, at first and when memory ran out; how many run at the same time."""
    there = nodes()
    room, note = room_for(experiment, there)
    if note is not None:
        console.print(Text(f"note: {note}", style="yellow"))
    return larger(room, max(node.get("CPU", 0) for node in there)), trials_at_once(room, there, "Ray")


def _train(session: Session, folder: RunFolder, tracker: Tracker, console: Console) -> None:
    experiment = session.experiment
    stored = store_of(experiment.dataset)
    setup = Setup(
        {**experiment.dataset, **{option: str(path) for option, path in stored.items()}},
        experiment.search.objective,
        folder.tune.resolve(),
        Path.cwd(),
    )
    console.print(
        f"{experiment.name}: {len(session.policy.arms)} trials, starting Ray and MLflow; Ctrl-C stops, --resume goes "
        "on",
        highlight=False,
        soft_wrap=True,
    )
    with _engine(session, setup, stored):
        rooms, at_once = _rooms(experiment, console) if session.left else ([], 0)
        tracker.connected()
        session.observers += [tracker, _Tidy(folder)]
        for trial in session.record:
            tracker.reported(trial)
        with Progress(session, console, at_once) as progress:
            session.observers.append(progress)
            run(session, setup, rooms, at_once)
            session.close()


def _answer(session: Session, folder: RunFolder) -> tuple[Outcome, dict[Arm, answer.Best]]:
    """What is known so far, written to the folder."""
    experiment, record = session.experiment, session.record
    metric, mode = experiment.search.objective.metric, experiment.search.objective.mode
    found = {arm: answer.best_of(record, arm, metric, mode) for arm in ARMS}
    best: dict[Arm, answer.Best] = {arm: b for arm, b in found.items() if b is not None}
    try:
        write(folder.trials, export.trials_table(experiment, record))
        if best:
            write(folder.best, export.best_experiment(experiment, answer.winner(best, mode)))
    except OSError as error:
        session.halt(f"{error.strerror}: {error.filename or folder.path}")
    failure = next((f"trial {t.number}: {t.reason}" for t in record if t.status == "failed"), None)
    failure = failure or session.exhausted
    return Outcome(session.complete, len(best) == len(ARMS), failure, session.halted), best


def _interval(experiment: Experiment, folder: RunFolder, best: dict[Arm, answer.Best]) -> answer.Interval | None:
    """Over the validation examples, where it is accuracy that was searched and both models' answers are there."""
    if experiment.search.objective.metric != answer.METRIC or len(best) < len(ARMS):
        return None
    try:
        correct = {arm: checkpoint.load(folder.trial(b.trial.number) / "best.pt")["correct"] for arm, b in best.items()}
    except checkpoint.CheckpointError as error:
        log.warning("no interval: %s", error)
        return None
    return answer.paired_interval(correct["modulated"], correct["baseline"])
