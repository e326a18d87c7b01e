"""`python -m search confirm RUN`: from a finished search to the verdict in its folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from rich.console import Console

from datasets.index.list_files import count
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
from search.experiment.own_code import named_factories
from search.experiment.schema import Experiment
from search.models.test_scores import test_scores
from search.report.export import write_best
from search.run import best as answer
from search.run.checkpoints import storage_of
from search.run.disk import resumable
from search.run.folder import (
    FolderError,
    Identity,
    RunFolder,
    check_writable,
    differences_from,
    identify,
    lock_folder,
    require_search,
)
from search.run.journal import Journal
from search.run.open_data import fingerprint_of, open_data
from search.run.test_log import check_test, read_test, readings
from search.run.trials import SearchRecord
from search.tracking.tracker import SearchTracker
from search.tracking.trial_runs import Kind, Results
from search.tuner.search_policy import SearchPolicy
from search.tuner.tuner import Tuner
from search.verdict.confirm_policy import ConfirmPolicy, tags_of, title
from search.verdict.evidence import Evidence, EvidenceError, TestScores, measures, read_evidence, write_evidence
from search.verdict.next_step import Confirmed, after_verdict, resume_command
from search.verdict.plan import UNTIL_CLEAR, Plan, read_plan, write_plan
from search.verdict.results import Weights, evidence_of, trials_of, verdict_of
from search.verdict.seeds import fresh_seeds, used_seeds

log = logging.getLogger(__name__)

PLAN = "plan.json"  # in the confirmation's folder
SEEDS = 10  # if the experiment does not say
CONFIRMATION_ID = "confirmation.id"  # tag of the trainings that belong to one verdict


class ConfirmationError(UserError):
    """A confirmation that cannot begin, and what it lacks."""


@dataclass(frozen=True)
class Ask:
    """Options of a confirmation.

    Args:
        seeds: number of pairs, or the largest number if `sequential`; None means what the experiment says.
        sequential: whether to add pairs until the result is clear.
        test: whether to read the test split at the end.
    """

    seeds: int | None = None
    sequential: bool = False
    test: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a confirmation ended.

    Args:
        complete: whether all of it is done or the budget is spent; if not, it was interrupted or halted.
        halted: reason of the halt, if any.
        failure: reason why there is no verdict, if there is none.
    """

    complete: bool
    halted: str | None
    failure: str | None


@dataclass(frozen=True)
class SearchSummary:
    """A finished search.

    Args:
        experiment: the experiment that was searched.
        folder: folder of the run.
        identity: identity of the run.
        data: data of the search.
        record: record of its trials.
    """

    experiment: Experiment
    folder: RunFolder
    identity: Identity
    data: Data
    record: SearchRecord

    @cached_property
    def best(self) -> dict[Arm, answer.Best]:
        """Best trial of each arm that has a result."""
        return answer.bests(self.record, self.experiment.search.objective)

    @cached_property
    def best_trials(self) -> dict[Arm, int]:
        """Number of the best trial of each arm.

        Raises:
            ConfirmationError: if an arm has no result.
        """
        if lacking := [arm for arm in ARMS if arm not in self.best]:
            missing = " and no ".join(lacking)
            raise ConfirmationError(
                f"the search in {self.folder.path} has no two configurations to compare: no {missing} trial finished "
                f"with a result; {self.folder.trials} lists the reasons"
            )
        return {arm: self.best[arm].trial.number for arm in ARMS}

    def fresh_seeds(self, count: int) -> list[int]:
        """Return seeds that no trial has used."""
        return fresh_seeds(self.experiment.search.seed, used_seeds(self.experiment, self.record), count)


def confirm_run(path: Path, assignments: Sequence[str], console: Console, ask: Ask) -> Outcome:
    """Confirm the search in a folder, or continue its confirmation.

    Args:
        path: folder of the run.
        assignments: `key=value` pairs for what a resumed search can change: where it runs, and the budget.
        console: console for progress and results.
        ask: options of the confirmation.

    Raises:
        ConfirmationError, ExperimentError, DatasetError, FolderError, ResourceError, ClusterError, TrackingError:
            for errors of the user, found before the first training.
    """
    folder = RunFolder(path)
    before = load(folder.experiment)
    experiment = load(folder.experiment, assignments)
    if different := differences_from(experiment, folder.experiment, also=["search.trials"]):
        raise FolderError(
            f"a confirmation uses the settings of its search, but {'; '.join(different)}: remove this change"
        )
    data = open_data(experiment.dataset)
    with lock_folder(folder):
        check_writable(folder)
        identity = identify(folder, fingerprint_of(data))
        record = finished_record(before, folder, "a confirmation needs its best configurations")
        searched = SearchSummary(experiment, folder, identity, data, record)
        limited = experiment.confirm is not None or ask.sequential or experiment.search.budget != before.search.budget
        return confirm(searched, console, ask, limited=limited)


def finished_record(experiment: Experiment, folder: RunFolder, needed: str) -> SearchRecord:
    """Return the record of a finished search.

    Args:
        experiment: the experiment that was searched.
        folder: folder of the run.
        needed: clause that says why the search must be finished.

    Raises:
        FolderError: if there is no search in the folder.
        ConfirmationError: if the search is not finished.
    """
    require_search(folder)
    with closing(Journal(folder.journal)) as journal:
        tuner = Tuner(experiment, journal, SearchPolicy(experiment))
    if not tuner.complete:
        resume = resume_command(folder) or "uv run run_search.py FILE --resume"
        raise ConfirmationError(
            f"the search in {folder.path} is not finished ({tuner.record.over_count} of {tuner.policy.total} trials "
            f"have ended), and {needed}: resume the search first:\n  {resume}"
        )
    return tuner.record


def confirm(searched: SearchSummary, console: Console, ask: Ask, *, limited: bool) -> Outcome:
    """Train the remaining pairs, and write the verdict to MLflow and to the run's folder, which must be locked.

    Args:
        searched: the finished search.
        console: console for progress and results.
        ask: options of the confirmation.
        limited: whether the budget covers the confirmation, see `ConfirmPolicy`.

    Raises:
        the errors of `confirm_run`.
    """
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
        with resumable(), end_in_mlflow(tuner, tracker, [folder.experiment, folder.report]) as ending:
            train_all(tuner, own, storage, tracker, console, of_confirmation, fingerprint)
            weights = partial(storage.weights, cache=own.tune)
            if tuner.complete:
                for evidence in _conclusions(searched, policy, plan, weights, ask, console):
                    _leave(searched, evidence, ending)
            ending.leave_report(folder, more=False)
    if evidence is not None:
        step = after_verdict(
            Confirmed(
                experiment,
                folder,
                evidence,
                policy.pairs.planned,
                searched.record.spent + tuner.record.spent,
                policy.pairs.failures,
                bool(readings(folder)),
                hasattr(searched.data, "test"),
            )
        )
        print_verdict(console, policy, evidence.verdict, evidence.test, tuner.record.spent.wall_seconds, step)
        print_files(console, folder, experiment, step, ending.unwritten)
    for missing in ending.lacks:
        print_note(console, missing)
    failure = None if evidence else failure_of(tuner) or "no pair of trainings finished with a result"
    return Outcome(tuner.complete, tuner.halted, failure)


def _plan_of(searched: SearchSummary, ask: Ask) -> Plan:
    """Return the plan of the confirmation: the existing one, revised by the options, or a new one."""
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
    """Return the number of pairs to train, which is the largest number in a sequential confirmation."""
    if ask.seeds is not None:
        return ask.seeds
    if ask.sequential:
        return UNTIL_CLEAR
    return default_seeds(experiment)


def default_seeds(experiment: Experiment) -> int:
    """Return the number of pairs if no option sets it."""
    return experiment.confirm.seeds if experiment.confirm else SEEDS


def _check_end(tuner: Tuner, plan: Plan, ask: Ask) -> None:
    """Check that a sequential confirmation has an end even if the result never becomes clear."""
    budget = tuner.experiment.search.budget
    has_end = ask.seeds is not None or any((budget.hours, budget.gpu_hours, budget.epochs))
    if plan.is_open and not has_end and tuner.remaining_trials:
        raise ConfirmationError(
            "--sequential adds seeds until the result is clear, which may never happen if the arms are equal: limit it "
            "with --seeds or with search.budget.hours=…"
        )


def retire(folder: RunFolder, trials: Mapping[Arm, int]) -> bool:
    """Move the confirmation of other configurations aside: the search has continued and has another best.

    Returns:
        Whether there was such a confirmation.
    """
    plan = read_plan(folder.confirmation.path / PLAN)
    if plan is None or dict(plan.trials) == dict(trials):
        return False
    aside = next(p for i in range(1, 10_000) if not (p := folder.path / f"confirm.{i}").exists())
    log.warning("the search has a new best configuration; the confirmation of the old one is now in %s", aside)
    folder.confirmation.path.rename(aside)
    if folder.verdict.exists():
        folder.verdict.rename(aside / folder.verdict.name)
    return True


def _announce(console: Console, tuner: Tuner, plan: Plan) -> None:
    most = "at most " if plan.sequential else ""
    going_on = f"; {count(tuner.record.over_count, 'training')} finished earlier" if tuner.record.trials else ""
    seeds = f"{most}{count(plan.seeds, 'fresh seed')}"
    console.print(
        f"\n{tuner.experiment.name}: confirming the best configuration of each arm with {seeds}{going_on}",
        highlight=False,
        soft_wrap=True,
    )


def failure_of(tuner: Tuner) -> str | None:
    """Return the reason of the first failed trial, otherwise the reason for stopping, otherwise None."""
    failed = (f"trial {t.number}: {t.reason}" for t in tuner.record if t.status == "failed")
    return next(failed, str(tuner.stop_reason) if tuner.stop_reason else None)


def _conclusions(
    searched: SearchSummary, policy: ConfirmPolicy, plan: Plan, weights: Weights, ask: Ask, console: Console
) -> Iterator[Evidence]:
    """Yield the evidence, then again with the test scores once they are read; nothing if no pair has a result."""
    found = verdict_of(policy, plan, weights)
    if found is None:
        return
    evidence = evidence_of(policy, plan, found, weights)
    evidence = replace(evidence, test=_earlier_test(searched.folder, evidence))
    yield evidence
    if ask.test and evidence.test is None:
        yield replace(evidence, test=_read_test(searched, policy, weights, console))


def _leave(searched: SearchSummary, evidence: Evidence, ending: Ending) -> None:
    """Write the verdict and the best configuration to the run's folder, and queue both for MLflow."""
    folder = searched.folder
    write_evidence(folder.verdict, evidence)
    write_best(searched.experiment, searched.record, folder)
    ending.results = Results(measures(evidence), {"verdict": evidence.verdict.word})
    ending.files = [folder.verdict, folder.best, folder.report]


def _earlier_test(folder: RunFolder, evidence: Evidence) -> TestScores | None:
    """Return the test scores of the previous verdict if its models are the same.

    Equal seeds do not suffice: a model may have been trained again or have another configuration.
    """
    with suppress(EvidenceError):
        before = read_evidence(folder.verdict)
        return before.test if before is not None and before.arm_results == evidence.arm_results else None
    return None


def _read_test(searched: SearchSummary, policy: ConfirmPolicy, weights: Weights, console: Console) -> TestScores:
    values = policy.pairs.values()
    files = {arm: [weights(t.number) for t in trials_of(policy, values, arm)] for arm in reversed(ARMS)}
    reason = f"confirmation, {count(len(values.pairs), 'seed')} per arm"
    note, batch_size = partial(print_note, console), policy.experiment.trial.batch_size
    batches, line = read_test(searched.data, searched.folder, reason, batch_size, note)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return test_scores(files, batches, device, line, named_factories(searched.experiment))
    except CheckpointError as error:
        raise ConfirmationError(f"cannot load a model of the confirmation: {error}") from error
