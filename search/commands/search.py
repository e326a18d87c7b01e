"""`run_search.py FILE`: from an experiment to the best configurations, and the confirmation if asked for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

from rich.console import Console

from datasets.index.list_files import count
from datasets.store.remote import RemoteError
from ogmge.checkpoint import CheckpointError
from search.backend.cluster import keep_ray
from search.backend.preflight import check_search
from search.commands.confirm import Ask, SearchSummary, confirm, failure_of, retire
from search.commands.confirm import Outcome as Confirmation
from search.commands.ending import Ending, end_in_mlflow
from search.commands.run_trials import train_all
from search.console.notes import print_note
from search.console.progress import of_search
from search.console.summary import print_files, print_summary
from search.experiment.arms import ARMS, Arm
from search.experiment.schema import Experiment
from search.report import export
from search.report.page import describe_start
from search.run import best as answer
from search.run.checkpoints import storage_of
from search.run.disk import resumable
from search.run.earlier import read_earlier
from search.run.folder import RunFolder, check_writable, claim_folder, identify, write
from search.run.journal import Journal, has_events
from search.run.open_data import fingerprint_of
from search.tracking.tracker import SearchTracker
from search.tracking.trial_runs import Results
from search.tuner.search_policy import SearchPolicy
from search.tuner.tuner import Tuner
from search.verdict.evidence import EvidenceError
from search.verdict.next_step import after_search

log = logging.getLogger(__name__)

RETIRED = "none: the best configuration has changed since the confirmation"


@dataclass(frozen=True)
class Outcome:
    """How a search ended.

    Args:
        complete: whether every trial has ended or the budget is spent; if not, it was interrupted or halted.
        has_answer: whether both arms have a result.
        failure: reason of the first failed trial, otherwise the spent budget, otherwise None.
        halted: reason of the halt, if any.
        confirmed: outcome of the confirmation, if it was asked for and could begin.
    """

    complete: bool
    has_answer: bool
    failure: str | None
    halted: str | None
    confirmed: Confirmation | None = None

    @property
    def is_confirmable(self) -> bool:
        """Whether a confirmation can follow."""
        return self.complete and self.has_answer and not self.halted


def search(experiment: Experiment, runs: Path, console: Console, *, resume: bool = False) -> Outcome:
    """Run or resume the search in `runs/NAME`, show its progress, and write the results there and to MLflow.

    Raises:
        ExperimentError, DatasetError, FolderError, ResourceError, TrackingError: for errors of the user, found before
            the first trial.
    """
    folder = RunFolder(runs / experiment.name)
    data, notes = check_search(experiment)
    fingerprint = fingerprint_of(data)
    check_writable(folder)
    earlier = [] if has_events(folder.journal) else read_earlier(experiment, runs, fingerprint)
    for note in [*notes, *map(str, earlier)]:
        print_note(console, note)
    with claim_folder(folder, experiment, resume=resume), keep_ray():
        identity = identify(folder, fingerprint)
        storage = storage_of(experiment, folder)
        weights = partial(storage.weights, cache=folder.tune)
        with closing(Journal(folder.journal)) as journal:
            tuner = Tuner(experiment, journal, SearchPolicy(experiment))
            if earlier:
                tuner.learn(chain.from_iterable(run.trials for run in earlier))
            described = "" if resume else describe_start(folder)
            tracker = SearchTracker(experiment, folder, identity, tuner.record, weights, description=described)
            console.print(
                f"{experiment.name}: {count(tuner.policy.total, 'trial')}, starting Ray and MLflow; Ctrl-C stops, "
                "--resume continues",
                highlight=False,
                soft_wrap=True,
            )
            files = [folder.experiment, folder.best, folder.trials, folder.report]
            with resumable(), end_in_mlflow(tuner, tracker, files) as ending:
                try:
                    train_all(tuner, folder, storage, tracker, console, of_search, identity.fingerprint)
                finally:
                    _leave_answer(tuner, folder, ending)
        outcome, best = _outcome(tuner), answer.bests(tuner.record, experiment.search.objective)
        goes_on = outcome.is_confirmable and experiment.confirm is not None
        step = None if goes_on else after_search(folder, best)
        if outcome.complete:
            seconds = tuner.record.spent.wall_seconds
            print_summary(console, tuner, best, _lead(experiment, weights, best), seconds, step)
        for missing in ending.lacks:
            print_note(console, missing)
        if goes_on:
            searched = SearchSummary(experiment, folder, identity, data, tuner.record)
            return replace(outcome, confirmed=confirm(searched, console, Ask(), limited=True))
        if outcome.complete:
            print_files(console, folder, experiment, step, [*ending.unwritten, *([] if best else [folder.best])])
        return outcome


def _outcome(tuner: Tuner) -> Outcome:
    """Return the outcome of the search so far."""
    best = answer.bests(tuner.record, tuner.experiment.search.objective)
    return Outcome(tuner.complete, len(best) == len(ARMS), failure_of(tuner), tuner.halted)


def _leave_answer(tuner: Tuner, folder: RunFolder, ending: Ending) -> None:
    """Write the results so far to the folder and queue them for MLflow; a write error halts the search."""
    for file, leave in {folder.trials: _leave_trials, folder.best: _leave_best}.items():
        try:
            leave(tuner, folder, ending)
        except OSError as error:
            ending.tell_unwritten(file, str(error.strerror))
            tuner.halt(f"{error.strerror}: {error.filename or file}")
        except EvidenceError as error:
            ending.lacks.append(f"best.yaml was not updated: {error}")
    outcome = _outcome(tuner)
    ending.has_failed = not outcome.has_answer
    ending.leave_report(folder, more=outcome.is_confirmable and tuner.experiment.confirm is not None)


def _leave_trials(tuner: Tuner, folder: RunFolder, _: Ending) -> None:
    write(folder.trials, export.trials_table(tuner.experiment, tuner.record))


def _leave_best(tuner: Tuner, folder: RunFolder, ending: Ending) -> None:
    """Write the best configuration so far, and retire a verdict on another one.

    A verdict stays valid until the search is complete: while a reopened trial runs, the best can change and change
    back.
    """
    best = answer.bests(tuner.record, tuner.experiment.search.objective)
    numbers = {arm: found.trial.number for arm, found in best.items()}
    if tuner.complete and len(best) == len(ARMS) and retire(folder, numbers):
        ending.results = Results(tags={"verdict": RETIRED})
    if best:
        export.write_best(tuner.experiment, tuner.record, folder)


def _lead(
    experiment: Experiment, weights: Callable[[int], Path], best: dict[Arm, answer.Best]
) -> answer.Interval | None:
    try:
        return answer.lead(best, experiment.search.objective.metric, weights)
    except (CheckpointError, RemoteError) as error:
        log.warning("the interval of the difference is missing: %s", error)
        return None
