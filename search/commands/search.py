"""A whole search: from an experiment to an answer in its folder."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rich.console import Console

from datasets.store.remote import RemoteError
from ogmge.checkpoint import CheckpointError
from search.backend.preflight import check_search
from search.commands.confirm import Ask, SearchSummary, confirm, retire
from search.commands.confirm import Outcome as Confirmed
from search.commands.run_trials import train_all
from search.console.notes import print_note
from search.console.progress import of_search
from search.console.summary import print_files, print_summary
from search.experiment.arms import ARMS, Arm
from search.experiment.schema import Experiment
from search.report import export
from search.report.page import first_words, leave
from search.run import best as answer
from search.run.checkpoints import storage_of
from search.run.folder import RunFolder, claim_folder, identify, write
from search.run.journal import Journal
from search.run.open_data import fingerprint_of
from search.tracking.tracker import SearchTracker
from search.tracking.trial_runs import Results
from search.tuner.search_policy import SearchPolicy
from search.tuner.tuner import Tuner

log = logging.getLogger(__name__)

RETIRED = "none yet: the search has another best since it was confirmed"


@dataclass(frozen=True)
class Outcome:
    """How a search ended.

    Args:
        complete: every trial has ended, or the budget is spent; if not, the search was interrupted, or halted.
        halted: why it was halted.
        has_answer: both arms have a result.
        failure: the first failed trial's reason, where there is one; else that of the budget, where it is spent.
        confirmed: how the confirmation ended, where it was asked for and could begin.
    """

    complete: bool
    has_answer: bool
    failure: str | None
    halted: str | None
    confirmed: Confirmed | None = None


def search(experiment: Experiment, runs: Path, console: Console, *, resume: bool = False) -> Outcome:
    """Runs or resumes the search in `runs/NAME`, shows it, and leaves the answer there and in MLflow.

    Raises:
        ExperimentError, DatasetError, FolderError, ResourceError, TrackingError: mistakes of whoever asks, found
            before the first trial.
    """
    began = time.monotonic()
    folder = RunFolder(runs / experiment.name)
    data, notes = check_search(experiment)
    for note in notes:
        print_note(console, note)
    with claim_folder(folder, experiment, resume=resume):
        identity = identify(folder, fingerprint_of(data))
        journal = Journal(folder.journal)
        tuner = Tuner(experiment, journal, SearchPolicy(experiment))
        storage = storage_of(experiment, folder)
        weights = partial(storage.weights, cache=folder.tune)
        described = "" if resume else first_words(folder)
        tracker = SearchTracker(experiment, folder, identity, tuner.record, weights, description=described)
        console.print(
            f"{experiment.name}: {tuner.policy.total} trials, starting Ray and MLflow; Ctrl-C stops, --resume goes on",
            highlight=False,
            soft_wrap=True,
        )
        try:
            train_all(tuner, folder, storage, tracker, console, of_search, identity.fingerprint)
        finally:
            outcome, best, results = _answer(tuner, folder)
            status = (
                "FINISHED" if outcome.has_answer and outcome.complete else "FAILED" if outcome.complete else "KILLED"
            )
            left = leave(folder, more=_goes_on(experiment, outcome))
            files = [folder.experiment, folder.best, folder.trials, folder.report]
            lack = tracker.close(status, files, results.with_description(left.description))
            journal.close()
        if outcome.complete:
            interval = _lead(experiment, weights, best)
            print_summary(console, tuner, best, interval, time.monotonic() - began)
        for missing in filter(None, (left.lack, lack)):
            print_note(console, missing)
        if _goes_on(experiment, outcome):
            searched = SearchSummary(experiment, folder, identity, data, tuner.record)
            return replace(outcome, confirmed=confirm(searched, console, Ask(), limited=True))
        if outcome.complete:
            print_files(console, folder, experiment, found=bool(best))
        return outcome


def _goes_on(experiment: Experiment, outcome: Outcome) -> bool:
    """Whether the confirmation follows."""
    return experiment.confirm is not None and outcome.complete and outcome.has_answer and not outcome.halted


def _answer(tuner: Tuner, folder: RunFolder) -> tuple[Outcome, dict[Arm, answer.Best], Results]:
    """What is known so far, written to the folder. A search that goes on keeps its verdict until it is done: what was
    its best may be so again, once a trial that was reopened has ended."""
    experiment, record, results = tuner.experiment, tuner.record, Results()
    best = answer.bests(record, experiment.search.objective)
    try:
        write(folder.trials, export.trials_table(experiment, record))
        numbers = {arm: found.trial.number for arm, found in best.items()}
        if tuner.complete and len(best) == len(ARMS) and retire(folder, numbers):
            results = Results(tags={"verdict": RETIRED})
        if best:
            export.write_best(experiment, record, folder)
    except OSError as error:
        tuner.halt(f"{error.strerror}: {error.filename or folder.path}")
    failure = next((f"trial {t.number}: {t.reason}" for t in record if t.status == "failed"), None)
    if failure is None and tuner.stop_reason:
        failure = str(tuner.stop_reason)
    return Outcome(tuner.complete, len(best) == len(ARMS), failure, tuner.halted), best, results


def _lead(
    experiment: Experiment, weights: Callable[[int], Path], best: dict[Arm, answer.Best]
) -> answer.Interval | None:
    try:
        return answer.lead(best, experiment.search.objective.metric, weights)
    except (CheckpointError, RemoteError) as error:
        log.warning("no interval: %s", error)
        return None
