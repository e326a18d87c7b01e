"""A whole confirmation: from a search that is done to a verdict in its folder."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from ogmge.checkpoint import CheckpointError
from ogmge.fit import Data
from search.commands.run_trials import train_all
from search.console.notes import print_note
from search.console.summary import print_files
from search.console.verdict_table import of_confirmation, print_verdict
from search.experiment.arms import ARMS, Arm
from search.experiment.load import load
from search.experiment.mistakes import UserError
from search.experiment.schema import Experiment
from search.models.test_scores import same_models, test_scores
from search.report.export import write_best
from search.report.page import Left, leave
from search.run import best as answer
from search.run.checkpoints import storage_of
from search.run.folder import FolderError, Identity, RunFolder, differences_from, identify, lock_folder, write
from search.run.journal import Journal, SearchRecord
from search.run.open_data import fingerprint_of, open_data
from search.run.test_log import check_test, read_test
from search.tracking.tracker import SearchTracker
from search.tracking.trial_runs import Kind, Results
from search.tuner.search_policy import SearchPolicy
from search.tuner.tuner import Tuner
from search.verdict.confirm_policy import SEED, ConfirmPolicy, marks, title
from search.verdict.decide import Verdict
from search.verdict.evidence import Weights, document, measures, read_document, trials_of, verdict_of
from search.verdict.plan import UNTIL_CLEAR, Plan, read_plan, write_plan
from search.verdict.seeds import fresh_seeds

log = logging.getLogger(__name__)

SEEDS = 10  # where the experiment says nothing
CONFIRMATION_ID = "confirmation.id"  # a tag: of the trainings that one verdict is of


class ConfirmationError(UserError):
    """A confirmation that cannot begin: a sentence that says what it lacks."""


@dataclass(frozen=True)
class Ask:
    """What a confirmation is asked for.

    Args:
        seeds: pairs; at most, where `sequential`. None is what the experiment says.
        sequential: add pairs until it is clear.
        test: read the test split at the end.
    """

    seeds: int | None = None
    sequential: bool = False
    test: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a confirmation ended.

    Args:
        complete: all of it was done, or the budget is spent; if not, it was interrupted, or halted.
        halted: why it was halted.
        failure: why there is no verdict, where there is none.
    """

    complete: bool
    halted: str | None
    failure: str | None


@dataclass(frozen=True)
class SearchSummary:
    """A search that is done.

    Args:
        experiment: what was searched.
        folder: of the run.
        identity: of the run.
        data: as the search saw them.
        record: what came of it.
    """

    experiment: Experiment
    folder: RunFolder
    identity: Identity
    data: Data
    record: SearchRecord

    @property
    def best(self) -> dict[Arm, answer.Best]:
        """Of each arm that has a result."""
        return answer.bests(self.record, self.experiment.search.objective)


def confirm_run(path: Path, assignments: Sequence[str], console: Console, ask: Ask) -> Outcome:
    """Confirms the search in a folder, or goes on with its confirmation.

    Args:
        path: of the run.
        assignments: `key=value`, what a resumed search may change: where it runs, and the budget.

    Raises:
        ConfirmationError, ExperimentError, DatasetError, FolderError, ResourceError, ClusterError, TrackingError:
            mistakes of whoever asks, found before the first training.
    """
    folder = RunFolder(path)
    before = load(folder.experiment)
    experiment = load(folder.experiment, assignments)
    if different := differences_from(experiment, folder.experiment, also=["search.trials"]):
        raise FolderError(f"a confirmation is of the search as it was, but {'; '.join(different)}: leave that out")
    data = open_data(experiment.dataset)
    with lock_folder(folder):
        identity = identify(folder, fingerprint_of(data))
        searched = SearchSummary(experiment, folder, identity, data, _record(before, folder))
        limited = experiment.confirm is not None or ask.sequential or experiment.search.budget != before.search.budget
        return confirm(searched, console, ask, limited=limited)


def _record(experiment: Experiment, folder: RunFolder) -> SearchRecord:
    """What came of a search that is done.

    Raises:
        ConfirmationError: it is not.
    """
    if not folder.journal.exists():
        raise ConfirmationError(f"there is no search in {folder.path}: `run_search.py FILE` makes one")
    journal = Journal(folder.journal)
    try:
        tuner = Tuner(experiment, journal, SearchPolicy(experiment))
    finally:
        journal.close()
    if not tuner.complete:
        raise ConfirmationError(
            f"the search in {folder.path} is not done ({tuner.record.over_count} of {tuner.policy.total} trials have "
            "ended), and a confirmation is of its best: go on with the search first (--resume)"
        )
    return tuner.record


def confirm(searched: SearchSummary, console: Console, ask: Ask, *, limited: bool) -> Outcome:
    """Trains what is left of the pairs, and leaves the verdict in the run's folder and in MLflow. The folder is ours.

    Args:
        searched: the search.
        console: where it is shown.
        ask: what for.
        limited: see `Confirmation`.

    Raises:
        ConfirmationError, FolderError, ClusterError, ResourceError, TrackingError: see `confirm_run`.
    """
    began = time.monotonic()
    experiment, folder = searched.experiment, searched.folder
    if ask.test:
        check_test(searched.data)
    policy, plan = _plan_of(searched, ask, limited=limited)
    own = folder.confirmation
    journal = Journal(own.journal)
    tuner = Tuner(experiment, journal, policy)
    if _endless(tuner, plan, ask):
        journal.close()
        raise ConfirmationError(
            "--sequential adds seeds until it is clear, which it never is where there is no difference: give it an "
            "end, with --seeds (the most) or with search.budget.hours=…"
        )
    write_plan(own.path / "plan.json", plan)
    storage = storage_of(experiment, own)
    known = {CONFIRMATION_ID: identify(own, searched.identity.fingerprint).run}
    kind = Kind("confirmation", title, marks, known, again="the same command")
    tracker = SearchTracker(experiment, folder, searched.identity, tuner.record, None, kind)
    if tuner.remaining_trials:
        _announce(console, tuner, plan)
    results, files, left = Results(), [folder.experiment, folder.report], Left(None, None)
    try:
        train_all(tuner, own, storage, tracker, console, of_confirmation, searched.identity.fingerprint)
        weights = partial(storage.weights, cache=own.tune)
        found = verdict_of(policy, plan, weights) if tuner.complete else None
        if found is not None:
            wanted = document(policy, plan, found, weights)
            wanted["test"] = _earlier_test_scores(folder, wanted)
            results, files = _leave(searched, found, wanted), [folder.verdict, folder.best, folder.report]
            if ask.test and wanted["test"] is None:
                wanted["test"] = _test(searched, policy, weights, console)
                results = _leave(searched, found, wanted)
        left = leave(folder, more=False)
    finally:
        status = "FINISHED" if tuner.complete else "KILLED"
        lack = tracker.close(status, files, results.with_description(left.description))
        journal.close()
    if found is not None:
        print_verdict(console, policy, found, wanted["test"], time.monotonic() - began)
        print_files(console, folder, experiment, found=True)
    for missing in filter(None, (left.lack, lack)):
        print_note(console, missing)
    return Outcome(tuner.complete, tuner.halted, None if found else _failure(tuner))


def _plan_of(searched: SearchSummary, ask: Ask, *, limited: bool) -> tuple[ConfirmPolicy, Plan]:
    """The policy and the plan, as it was begun or as it is asked for."""
    experiment, folder = searched.experiment, searched.folder
    best = searched.best
    if lacking := [arm for arm in ARMS if arm not in best]:
        missing = " and no ".join(lacking)
        raise ConfirmationError(
            f"no {missing} trial of the search in {folder.path} came to a result, so there are no two configurations "
            f"to compare: see the reasons in {folder.trials}"
        )
    trials: dict[Arm, int] = {arm: best[arm].trial.number for arm in ARMS}
    retire(folder, trials)
    plan = read_plan(folder.confirmation.path / "plan.json")
    if plan is None or not folder.confirmation.has_progress:
        plan = Plan(_seeds(experiment, ask), ask.sequential, trials)
    elif ask.sequential or ask.seeds is not None:
        judged = folder.verdict.exists()
        plan = plan.revise(_seeds(experiment, ask), sequential=ask.sequential, judged=judged)
    used = {experiment.trial.seed, *(trial.changes.get(SEED, 0) for trial in searched.record)}
    seeds = fresh_seeds(experiment.search.seed, used, plan.seeds)
    changes = {arm: best[arm].trial.changes for arm in ARMS}
    spent = searched.record.spent
    limited = limited or plan.is_open
    return ConfirmPolicy(experiment, changes, seeds, spent, sequential=plan.sequential, limited=limited), plan


def _seeds(experiment: Experiment, ask: Ask) -> int:
    """Pairs that are asked for; at most, where they are added until it is clear."""
    if ask.seeds is not None:
        return ask.seeds
    if ask.sequential:
        return UNTIL_CLEAR
    return experiment.confirm.seeds if experiment.confirm else SEEDS


def _endless(tuner: Tuner, plan: Plan, ask: Ask) -> bool:
    """Whether pairs are to be added that nothing ends."""
    budget = tuner.experiment.search.budget
    ends = ask.seeds is not None or any((budget.hours, budget.gpu_hours, budget.epochs))
    return plan.is_open and not ends and tuner.remaining_trials > 0


def retire(folder: RunFolder, trials: Mapping[Arm, int]) -> bool:
    """Puts the confirmation of other configurations aside: the search has gone on since, and has another best. Returns
    whether there was one."""
    plan = read_plan(folder.confirmation.path / "plan.json")
    if plan is None or dict(plan.trials) == dict(trials):
        return False
    aside = next(p for i in range(1, 10_000) if not (p := folder.path / f"confirm.{i}").exists())
    log.warning("the search has another best since it was confirmed: that confirmation is in %s now", aside)
    folder.confirmation.path.rename(aside)
    if folder.verdict.exists():
        folder.verdict.rename(aside / folder.verdict.name)
    return True


def _announce(console: Console, tuner: Tuner, plan: Plan) -> None:
    most = " at most" if plan.sequential else ""
    going_on = f", {tuner.record.over_count} trainings of which are done" if tuner.record.trials else ""
    console.print(
        f"\n{tuner.experiment.name}: confirming the best of each arm with {plan.seeds} fresh seeds{most}{going_on}",
        highlight=False,
        soft_wrap=True,
    )


def _failure(tuner: Tuner) -> str:
    failed = next((f"trial {t.number}: {t.reason}" for t in tuner.record if t.status == "failed"), None)
    return failed or str(tuner.stop_reason or "no pair of trainings came to a result")


def _leave(searched: SearchSummary, found: Verdict, wanted: Mapping[str, Any]) -> Results:
    """Writes the verdict and the best configuration to the run's folder; returns what MLflow is to have of them."""
    write(searched.folder.verdict, json.dumps(wanted, indent=2) + "\n")
    write_best(searched.experiment, searched.record, searched.folder)
    return Results(measures(found) | _test_measures(wanted["test"]), {"verdict": found.word})


def _earlier_test_scores(folder: RunFolder, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """The scores on the test split of before, where they are of the same models."""
    before = read_document(folder.verdict)
    with suppress(KeyError, TypeError):
        if before is not None and same_models(before["test"], wanted["pairs"], before["pairs"]):
            return dict(before["test"])
    return None


def _test(searched: SearchSummary, policy: ConfirmPolicy, weights: Weights, console: Console) -> dict[str, Any]:
    """The scores on the test split, which is read."""
    values = policy.pairs.values()
    files = {arm: [weights(t.number) for t in trials_of(policy, values, arm)] for arm in reversed(ARMS)}
    reason = f"confirmation, {len(values.pairs)} seeds of each arm"
    note, batch_size = partial(print_note, console), policy.experiment.trial.batch_size
    batches, line = read_test(searched.data, searched.folder, reason, batch_size, note)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return {**test_scores(files, batches, device), "read": line}
    except CheckpointError as error:
        raise ConfirmationError(f"a model of the confirmation is lost: {error}") from error


def _test_measures(test: Mapping[str, Any] | None) -> dict[str, float]:
    return {} if test is None else {f"test/{arm}": test[arm]["mean"] for arm in ARMS}
