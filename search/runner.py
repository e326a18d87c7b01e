"""A whole search: from an experiment to an answer in its folder."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.text import Text

from datasets.remote import RemoteError, is_uri
from ogmge import checkpoint
from search import answer, export
from search.arms import ARMS, Arm
from search.data import fingerprint_of, store_of
from search.execution.cluster import nodes, ray_for
from search.execution.packing import Room, larger, trials_at_once
from search.execution.probe import room_for
from search.execution.ray_tune import run
from search.execution.worker import Setup
from search.experiment import Experiment
from search.folder import RunFolder, claimed, write
from search.policy import Tuning
from search.progress import Progress
from search.record import Journal, TrialRecord
from search.rehearsal import searchable
from search.session import Session
from search.storage import Storage, storage_of
from search.summary import print_summary
from search.tracking.tracker import Tracker

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

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def started(self, trial: TrialRecord) -> None:
        """Nothing."""

    def reported(self, trial: TrialRecord) -> None:
        """Nothing."""

    def ended(self, trial: TrialRecord) -> None:
        self._storage.tidy(trial.number)


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
        storage = storage_of(experiment, folder)
        weights = partial(storage.weights, cache=folder.tune)
        tracker = Tracker(experiment, runs, fingerprint_of(data), session.record, weights)
        try:
            _train(session, folder, storage, tracker, console)
        finally:
            outcome, best = _answer(session, folder)
            status = "FINISHED" if outcome.answered and outcome.complete else "FAILED" if outcome.complete else "KILLED"
            lack = tracker.close(status, [folder.experiment, folder.best, folder.trials])
            journal.close()
        if outcome.complete:
            interval = _interval(experiment, weights, best)
            print_summary(console, session, best, interval, folder, time.monotonic() - began)
        if lack:
            console.print(Text(f"note: {lack}", style="yellow"))
        return outcome


def _engine(session: Session, setup: Setup) -> AbstractContextManager[None]:
    """Ray, where there is something to run, on nodes that see what they need."""
    if not session.left:
        return nullcontext()
    read = {} if setup.here is None else {"the working folder": str(setup.here)}
    stored = {f"dataset.{option}": place for option, place in store_of(setup.dataset).items()}
    kept = "the folder of the run" if session.experiment.search.storage is None else "search.storage"
    return ray_for(session.experiment, {**read, **stored}, {kept: setup.storage.where})


def _rooms(experiment: Experiment, console: Console) -> tuple[list[Room], int]:
    """What trials are given, at first and when memory ran out; how many run at the same time."""
    there = nodes()
    room, note = room_for(experiment, there)
    if note is not None:
        console.print(Text(f"note: {note}", style="yellow"))
    return larger(room, max(node.get("CPU", 0) for node in there)), trials_at_once(room, there, "Ray")


def _train(session: Session, folder: RunFolder, storage: Storage, tracker: Tracker, console: Console) -> None:
    experiment = session.experiment
    stored = store_of(experiment.dataset)
    setup = Setup(
        {**experiment.dataset, **stored},
        experiment.search.objective,
        folder.tune.resolve(),
        None if any(map(is_uri, stored.values())) else Path.cwd(),
        storage,
    )
    console.print(
        f"{experiment.name}: {len(session.policy.arms)} trials, starting Ray and MLflow; Ctrl-C stops, --resume goes "
        "on",
        highlight=False,
        soft_wrap=True,
    )
    with _engine(session, setup):
        rooms, at_once = _rooms(experiment, console) if session.left else ([], 0)
        tracker.connected()
        session.observers += [tracker, _Tidy(storage)]
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


def _interval(
    experiment: Experiment, weights: Callable[[int], Path], best: dict[Arm, answer.Best]
) -> answer.Interval | None:
    """Over the validation examples, where it is accuracy that was searched and both models' answers are there."""
    if experiment.search.objective.metric != answer.METRIC or len(best) < len(ARMS):
        return None
    try:
        correct = {arm: checkpoint.load(weights(b.trial.number))["correct"] for arm, b in best.items()}
    except (checkpoint.CheckpointError, RemoteError) as error:
        log.warning("no interval: %s", error)
        return None
    return answer.paired_interval(correct["modulated"], correct["baseline"])
