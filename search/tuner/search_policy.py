"""What a tuner runs, and what it makes of the results: tuning, by Optuna's studies and early stopping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from search.experiment.arms import ARMS, Arm, plan
from search.experiment.dimensions import START, Changes, Internal
from search.experiment.schema import Experiment
from search.experiment.space import most_epochs
from search.run.budget import Spent, is_limit_of, reserve, stop_reason
from search.run.causes import Reason
from search.run.journal import SearchRecord, TrialRecord
from search.tuner.prefixes.siblings import Sibling, siblings
from search.tuner.pruners.peers import LearningCurve, Pruner
from search.tuner.pruners.pruner import pruner_of
from search.tuner.study import ArmStudy


@dataclass(frozen=True)
class Suggestion:
    """What a trial is to be.

    Args:
        arm: of the trial.
        internal: as the policy notes it.
        changes: of the experiment's trial.
    """

    arm: Arm
    internal: Internal
    changes: Changes


class Policy(Protocol):
    """Decides on trials from their results and from nothing else, so that a resume can replay it."""

    @property
    def total(self) -> int:
        """Trials in all, as far as the results so far ask for."""

    def restore(self, trial: TrialRecord) -> None:
        """A trial from before a resume."""

    def suggest(self, number: int) -> Suggestion:
        """What trial `number` is to be."""

    def dataset(self, trial: TrialRecord) -> Mapping[str, Any]:
        """Options of the data set that are the trial's own."""

    def stop(self, trial: TrialRecord, record: SearchRecord) -> Reason | None:
        """Why a trial is to stop after its last epoch; None to go on."""

    def tell(self, trial: TrialRecord) -> None:
        """A trial has ended."""

    def stop_reason(self, record: SearchRecord) -> Reason | None:
        """Why nothing more is run, where that is so before all of it is done. The record alone says so, no clock."""

    # ---- for shared prefixes, see `search.tuner.prefixes.sharing` ----

    @property
    def has_more(self) -> bool:
        """Whether trials may still be suggested, as far as anybody can tell."""

    def is_determined(self, number: int) -> bool:
        """Whether no result that is still to come can change what trial `number`, the next one, is to be."""

    def siblings(self, trial: TrialRecord) -> list[Sibling]:
        """All configurations that may be suggested at any time and share a prefix with this trial's."""


class SearchPolicy:
    """The search itself: a study for each arm, one scheduler, one budget.

    Args:
        experiment: its space and `search`.
    """

    def __init__(self, experiment: Experiment) -> None:
        search = experiment.search
        self._experiment = experiment
        self.studies: dict[Arm, ArmStudy] = {arm: ArmStudy(experiment, arm) for arm in ARMS}
        capacity = {arm: study.capacity for arm, study in self.studies.items()}
        self.arms: list[Arm] = plan(search.trials, search.baseline_share, capacity)
        self._pruner: Pruner = pruner_of(experiment)
        self._runs: dict[int, LearningCurve] = {}
        self._stop_reason: Reason | None = None
        self._suggested: set[int] = set()

    @property
    def total(self) -> int:
        return len(self.arms)

    def restore(self, trial: TrialRecord) -> None:
        self._suggested.add(trial.number)
        self.studies[trial.arm].add(trial)

    def suggest(self, number: int) -> Suggestion:
        self._suggested.add(number)
        arm = self.arms[number]
        return Suggestion(arm, *self.studies[arm].suggest(number))

    def dataset(self, trial: TrialRecord) -> Mapping[str, Any]:
        return {}

    def stop(self, trial: TrialRecord, record: SearchRecord) -> Reason | None:
        return self._pruner.decide(self._run(trial), map(self._run, record))

    def _run(self, trial: TrialRecord) -> LearningCurve:
        """What early stopping knows of a trial; one that failed is known up to its failure."""
        if trial.number not in self._runs:
            start = trial.changes.get(START, self._experiment.trial.modulation.start)
            opens = None if trial.arm == "baseline" else start
            self._runs[trial.number] = LearningCurve(trial.number, trial.arm, opens, trial.bests)
        return self._runs[trial.number]

    def tell(self, trial: TrialRecord) -> None:
        self.studies[trial.arm].tell(trial)

    def stop_reason(self, record: SearchRecord) -> Reason | None:
        """Once there is one it stays, also when the search is opened again: what is reserved is an estimate, which may
        fall again."""
        if self._stop_reason is None:
            budget = self._experiment.search.budget
            before = (reason for reason in record.cut_short.values() if is_limit_of(budget, reason))
            self._stop_reason = next(before, None) or stop_reason(budget, record.spent, self._confirmation_cost(record))
        return self._stop_reason

    def _confirmation_cost(self, record: SearchRecord) -> Spent:
        """What the confirmation will take."""
        confirm, trial = self._experiment.confirm, self._experiment.trial
        return reserve(confirm.trainings if confirm else 0, most_epochs(self._experiment.space, trial), record.spent)

    @property
    def has_more(self) -> bool:
        return len(self._suggested) < len(self.arms)

    def is_determined(self, number: int) -> bool:
        return self.studies[self.arms[number]].is_determined

    def siblings(self, trial: TrialRecord) -> list[Sibling]:
        return siblings(self._experiment.space, self._experiment.trial, trial.changes)
