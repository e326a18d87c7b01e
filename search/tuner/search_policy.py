"""What a tuner runs, and what it makes of the results: tuning, by Optuna's studies and early stopping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from search.experiment.arms import ARMS, Arm, other_arm, plan
from search.experiment.dimensions import START, Changes, Internal, as_key
from search.experiment.rungs import longest_trial
from search.experiment.schema import Experiment
from search.experiment.sources import Opening, Source, openings
from search.run.best import has_result
from search.run.budget import Spent, is_limit_of, reserve, stop_reason
from search.run.causes import Reason
from search.run.journal import SearchRecord, TrialRecord
from search.tuner.prefixes.siblings import Sibling, siblings
from search.tuner.pruners.peers import LearningCurve, Pruner
from search.tuner.pruners.pruner import pruner_of
from search.tuner.study import ArmStudy
from search.tuner.transfer import is_due, settings_to_try

LEAD = 2  # times the trials that a sampler draws at random at first: see benchmarks/power.md


@dataclass(frozen=True)
class Suggestion:
    """What a trial is to be.

    Args:
        arm: of the trial.
        internal: as the policy notes it.
        changes: of the experiment's trial.
        source: where its settings come from.
    """

    arm: Arm
    internal: Internal
    changes: Changes
    source: Source | None = None


class Policy(Protocol):
    """Decides on trials from their results and from nothing else, so that a resume can replay it."""

    @property
    def total(self) -> int:
        """Trials in all, as far as the results so far ask for."""

    def learn(self, trials: Iterable[TrialRecord]) -> None:
        """Trials of earlier searches, before the first of this one."""

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
        # those that have not begun, by configuration
        self._openings = {arm: {as_key(o.changes): o for o in openings(experiment, arm)} for arm in ARMS}
        outside = {arm: sum(o.internal is None for o in those.values()) for arm, those in self._openings.items()}
        capacity = {arm: study.capacity + outside[arm] for arm, study in self.studies.items()}
        self.arms: list[Arm] = plan(search.trials, search.baseline_share, capacity, self._lead())
        self._sources: dict[Arm, list[Source | None]] = {arm: [] for arm in ARMS}
        self._results: dict[Arm, list[TrialRecord]] = {arm: [] for arm in ARMS}
        self._pruner: Pruner = pruner_of(experiment)
        self._runs: dict[int, LearningCurve] = {}
        self._stop_reason: Reason | None = None

    def _lead(self) -> int:
        """How many trials the baseline begins with, for the modulated arm to draw on; none where the arms are searched
        apart, or a budget may end the search before the modulated arm has had as many."""
        search = self._experiment.search
        is_limited = any(limit is not None for limit in search.budget.model_dump().values())
        return 0 if is_limited or not search.transfer else LEAD * self.studies["baseline"].startup

    @property
    def total(self) -> int:
        return len(self.arms)

    def learn(self, trials: Iterable[TrialRecord]) -> None:
        for trial in trials:
            self.studies[trial.arm].learn(trial)

    def restore(self, trial: TrialRecord) -> None:
        self._keep_arm(trial)
        self._note_begun(trial.arm, trial.changes, trial.source)
        self.studies[trial.arm].add(trial)
        self._note_result(trial)

    def _keep_arm(self, trial: TrialRecord) -> None:
        """Where another order of the arms was planned, by an older program or for another number of trials, this one
        changes places with a later trial of its arm; where there is none, the plan is a trial longer."""
        if trial.number >= len(self.arms) or (planned := self.arms[trial.number]) == trial.arm:
            return
        if trial.arm in self.arms[trial.number :]:
            self.arms[self.arms.index(trial.arm, trial.number)] = planned
        else:
            self.arms.append(planned)
        self.arms[trial.number] = trial.arm

    def suggest(self, number: int) -> Suggestion:
        suggestion = self._open(number) or self._transfer(number) or self._sample(number)
        self._note_begun(suggestion.arm, suggestion.changes, suggestion.source)
        return suggestion

    def _note_begun(self, arm: Arm, changes: Changes, source: Source | None) -> None:
        self._sources[arm].append(source)
        self._openings[arm].pop(as_key(changes), None)

    def _opening(self, arm: Arm) -> Opening | None:
        """The arm's next trial where that is decided before there is any result: trials may begin in another order, and
        one that has not when a search is killed comes again. Searches of older programs have none."""
        return None if None in self._sources[arm] else next(iter(self._openings[arm].values()), None)

    def _open(self, number: int) -> Suggestion | None:
        arm = self.arms[number]
        opening = self._opening(arm)
        if opening is None:
            return None
        internal = opening.internal or {}
        self.studies[arm].take(number, internal)
        return Suggestion(arm, internal, opening.changes, opening.source)

    def _transfer(self, number: int) -> Suggestion | None:
        arm = self.arms[number]
        study, others = self.studies[arm], self._results[other_arm(arm)]
        if not self._is_transfer_due(arm) or len(others) < study.startup:
            return None
        shared = settings_to_try(study, others, self._experiment.search.objective)
        return None if shared is None else Suggestion(arm, *study.suggest(number, shared), Source.OTHER_ARM)

    def _is_transfer_due(self, arm: Arm) -> bool:
        sources = [source for source in self._sources[arm] if source not in (Source.RECIPE, Source.FIRST)]
        return is_due(sources.count(Source.OTHER_ARM), len(sources) + 1, self._experiment.search.transfer)

    def _sample(self, number: int) -> Suggestion:
        arm = self.arms[number]
        return Suggestion(arm, *self.studies[arm].suggest(number), Source.SAMPLER)

    def _note_result(self, trial: TrialRecord) -> None:
        if has_result(trial):
            self._results[trial.arm].append(trial)

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
        self._note_result(trial)

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
        confirm = self._experiment.confirm
        return reserve(confirm.trainings if confirm else 0, longest_trial(self._experiment), record.spent)

    @property
    def has_more(self) -> bool:
        return sum(map(len, self._sources.values())) < len(self.arms)

    def is_determined(self, number: int) -> bool:
        arm = self.arms[number]
        return self._opening(arm) is not None or (self.studies[arm].is_determined and not self._may_transfer(arm))

    def _may_transfer(self, arm: Arm) -> bool:
        """Whether results may decide, now or once they are there, that the arm's next trial takes from the other."""
        return self._is_transfer_due(arm) and len(self._sources[other_arm(arm)]) >= self.studies[arm].startup

    def siblings(self, trial: TrialRecord) -> list[Sibling]:
        experiment = self._experiment
        is_repeated = experiment.search.transfer > 0 or trial.source in (Source.RECIPE, Source.FIRST)
        return siblings(experiment.space, experiment.trial, trial.changes, is_repeated=is_repeated)
