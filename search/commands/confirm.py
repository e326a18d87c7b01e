"""A whole confirmation: from a search that is done to a verdict in its folder."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from rich.console import Console

from ogmge.checkpoint import CheckpointError
from ogmge.fit import Data
from search.commands.ending import Ending, end_in_mlflow
from search.commands.run_trials import train_all
from search.console.notes import print_note
from search.console.summary import print_files
from search.console.verdict_table import of_confirmation, print_verdict
from search.experiment.arms import ARMS, Arm
from search.experiment.load import load
from search.experiment.mistakes import UserError
from search.experiment.schema import Experiment
from search.models.test_scores import test_scores
from search.report.export import write_best
from search.run import best as answer
from search.run.checkpoints import storage_of
from search.run.folder import FolderError, Identity, RunFolder, differences_from, identify, lock_folder
from search.run.journal import Journal, SearchRecord
from search.run.open_data import fingerprint_of, open_data
from search.run.test_log import check_test, read_test
from search.tracking.tracker import SearchTracker
from search.tracking.trial_runs import Kind, Results
from search.tuner.search_policy import SearchPolicy
from search.tuner.tuner import Tuner
from search.verdict.confirm_policy import SEED, ConfirmPolicy, tags_of, title
from search.verdict.evidence import Evidence, EvidenceError, TestScores, measures, read_evidence, write_evidence
from search.verdict.plan import UNTIL_CLEAR, Plan, read_plan, write_plan
from search.verdict.results import Weights, evidence_of, trials_of, verdict_of
from search.verdict.seeds import fresh_seeds

log = logging.getLogger(__name__)

PLAN = "plan.json"  # in the confirmation's folder
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

    @cached_property
    def best(self) -> dict[Arm, answer.Best]:
        """Of each arm that has a result."""
        return answer.bests(self.record, self.experiment.search.objective)

    @cached_property
    def best_trials(self) -> dict[Arm, int]:
        """The number of the best trial of each arm.

        Raises:
            ConfirmationError: an arm has no result.
        """
        if lacking := [arm for arm in ARMS if arm not in self.best]:
            missing = " and no ".join(lacking)
            raise ConfirmationError(
                f"no {missing} trial of the search in {self.folder.path} came to a result, so there are no two "
                f"configurations to compare: see the reasons in {self.folder.trials}"
            )
        return {arm: self.best[arm].trial.number for arm in ARMS}

    def fresh_seeds(self, count: int) -> list[int]:
        """Seeds that no trial had."""
        used = {self.experiment.trial.seed, *(trial.changes.get(SEED, 0) for trial in self.record)}
        return fresh_seeds(self.experiment.search.seed, used, count)


def confirm_run(path: Path, assignments: Sequence[str], console: Console, ask: Ask) -> Outcome:
    """Confirms the search in a folder, or goes on with its confirmation.

    Args:
        path: of the run.
        assignments: `key=value`, what a resumed search may change: where it runs, and the budget.

    Raises:
        ConfirmationError, ExperimentError, DatasetError, FolderError, ResourceError, ClusterError, TrackingError:
            mistakes of the user, found before the first training.
    """
    folder = RunFolder(path)
    before = load(folder.experiment)
    experiment = load(folder.experiment, assignments)
    if different := differences_from(experiment, folder.experiment, also=["search.trials"]):
        raise FolderError(f"a confirmation is of the search as it was, but {'; '.join(different)}: leave that out")
    data = open_data(experiment.dataset)
    with lock_folder(folder):
        identity = identify(folder, fingerprint_of(data))
        record = finished_record(before, folder, "a confirmation is of its best")
        searched = SearchSummary(experiment, folder, identity, data, record)
        limited = experiment.confirm is not None or ask.sequential or experiment.search.budget != before.search.budget
        return confirm(searched, console, ask, limited=limited)


def finished_record(experiment: Experiment, folder: RunFolder, needed: str) -> SearchRecord:
    """What came of a search.

    Args:
        experiment: that was searched.
        folder: of the run.
        needed: why it has to be done, as a clause.

    Raises:
        ConfirmationError: it is not done.
    """
    if not folder.journal.exists():
        raise ConfirmationError(f"there is no search in {folder.path}: `run_search.py FILE` makes one")
    with closing(Journal(folder.journal)) as journal:
        tuner = Tuner(experiment, journal, SearchPolicy(experiment))
    if not tuner.complete:
        raise ConfirmationError(
            f"the search in {folder.path} is not done ({tuner.record.over_count} of {tuner.policy.total} trials have "
            f"ended), and {needed}: go on with the search first (--resume)"
        )
    return tuner.record


def confirm(searched: SearchSummary, console: Console, ask: Ask, *, limited: bool) -> Outcome:
    """Trains the rest of the pairs, and leaves the verdict in the run's folder, which is ours, and in MLflow.

    `limited` is as in `ConfirmPolicy`; what is raised, as in `confirm_run`.
    """
    began = time.monotonic()
    experiment, folder, fingerprint = searched.experiment, searched.folder, searched.identity.fingerprint
    if ask.test:
        check_test(searched.data)
    plan, own = _plan_of(searched, ask), folder.confirmation
    policy = _policy_of(searched, plan, limited=limited)
    with closing(Journal(own.journal)) as journal:
        tuner, evidence = Tuner(experiment, journal, policy), None
        _check_end(tuner, plan, ask)
        write_plan(own.path / PLAN, plan)
        storage = storage_of(experiment, own)
        own_tag = {CONFIRMATION_ID: identify(own, fingerprint).run}
        kind = Kind("confirmation", title, tags_of, own_tag, again="the same command")
        tracker = SearchTracker(experiment, folder, searched.identity, tuner.record, None, kind)
        if tuner.remaining_trials:
            _announce(console, tuner, plan)
        with end_in_mlflow(tuner, tracker, [folder.experiment, folder.report]) as ending:
            train_all(tuner, own, storage, tracker, console, of_confirmation, fingerprint)
            weights = partial(storage.weights, cache=own.tune)
            if tuner.complete:
                for evidence in _conclusions(searched, policy, plan, weights, ask, console):
                    _leave(searched, evidence, ending)
            ending.leave_report(folder, more=False)
    if evidence is not None:
        print_verdict(console, policy, evidence.verdict, evidence.test, time.monotonic() - began)
        print_files(console, folder, experiment, found=True)
    for missing in ending.lacks:
        print_note(console, missing)
    failure = None if evidence else failure_of(tuner) or "no pair of trainings came to a result"
    return Outcome(tuner.complete, tuner.halted, failure)


def _plan_of(searched: SearchSummary, ask: Ask) -> Plan:
    """The plan as it was begun, or as it is asked for."""
    trials = searched.best_trials
    retire(searched.folder, trials)
    own, seeds = searched.folder.confirmation, _seeds(searched.experiment, ask)
    plan = read_plan(own.path / PLAN)
    if plan is None or not own.has_progress:
        return Plan(seeds, ask.sequential, trials)
    if not ask.sequential and ask.seeds is None:
        return plan
    return plan.revise(seeds, sequential=ask.sequential, judged=searched.folder.verdict.exists())


def _policy_of(searched: SearchSummary, plan: Plan, *, limited: bool) -> ConfirmPolicy:
    return ConfirmPolicy(
        searched.experiment,
        {arm: searched.best[arm].trial.changes for arm in ARMS},
        searched.fresh_seeds(plan.seeds),
        searched.record.spent,
        sequential=plan.sequential,
        limited=limited or plan.is_open,
    )


def _seeds(experiment: Experiment, ask: Ask) -> int:
    """Pairs that are asked for; at most, where they are added until it is clear."""
    if ask.seeds is not None:
        return ask.seeds
    if ask.sequential:
        return UNTIL_CLEAR
    return default_seeds(experiment)


def default_seeds(experiment: Experiment) -> int:
    """Pairs, where nothing else is asked for."""
    return experiment.confirm.seeds if experiment.confirm else SEEDS


def _check_end(tuner: Tuner, plan: Plan, ask: Ask) -> None:
    """Check that something ends the pairs which are added until it is clear."""
    budget = tuner.experiment.search.budget
    has_end = ask.seeds is not None or any((budget.hours, budget.gpu_hours, budget.epochs))
    if plan.is_open and not has_end and tuner.remaining_trials:
        raise ConfirmationError(
            "--sequential adds seeds until it is clear, which it never is where there is no difference: give it an "
            "end, with --seeds (the most) or with search.budget.hours=…"
        )


def retire(folder: RunFolder, trials: Mapping[Arm, int]) -> bool:
    """Puts the confirmation of other configurations aside: the search has gone on since, and has another best. Returns
    whether there was one."""
    plan = read_plan(folder.confirmation.path / PLAN)
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


def failure_of(tuner: Tuner) -> str | None:
    """Why the first of the trials that failed did; where none failed, that the budget is spent, if it is."""
    failed = (f"trial {t.number}: {t.reason}" for t in tuner.record if t.status == "failed")
    return next(failed, str(tuner.stop_reason) if tuner.stop_reason else None)


def _conclusions(
    searched: SearchSummary, policy: ConfirmPolicy, plan: Plan, weights: Weights, ask: Ask, console: Console
) -> Iterator[Evidence]:
    """The evidence, and again with the test split's scores once these are read; nothing where no pair has a result."""
    found = verdict_of(policy, plan, weights)
    if found is None:
        return
    evidence = evidence_of(policy, plan, found, weights)
    evidence = replace(evidence, test=_earlier_test(searched.folder, evidence))
    yield evidence
    if ask.test and evidence.test is None:
        yield replace(evidence, test=_read_test(searched, policy, weights, console))


def _leave(searched: SearchSummary, evidence: Evidence, ending: Ending) -> None:
    """Writes the verdict and the best configuration to the run's folder, and notes what MLflow is to have of them."""
    folder = searched.folder
    write_evidence(folder.verdict, evidence)
    write_best(searched.experiment, searched.record, folder)
    ending.results = Results(measures(evidence), {"verdict": evidence.verdict.word})
    ending.files = [folder.verdict, folder.best, folder.report]


def _earlier_test(folder: RunFolder, evidence: Evidence) -> TestScores | None:
    """The test split's scores of before, where they are of the same models: one that has been trained again, or has
    another configuration, has the same seed."""
    with suppress(EvidenceError):
        before = read_evidence(folder.verdict)
        return before.test if before is not None and before.arm_results == evidence.arm_results else None
    return None


def _read_test(searched: SearchSummary, policy: ConfirmPolicy, weights: Weights, console: Console) -> TestScores:
    values = policy.pairs.values()
    files = {arm: [weights(t.number) for t in trials_of(policy, values, arm)] for arm in reversed(ARMS)}
    reason = f"confirmation, {len(values.pairs)} seeds of each arm"
    note, batch_size = partial(print_note, console), policy.experiment.trial.batch_size
    batches, line = read_test(searched.data, searched.folder, reason, batch_size, note)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return test_scores(files, batches, device, line)
    except CheckpointError as error:
        raise ConfirmationError(f"a model of the confirmation is lost: {error}") from error
