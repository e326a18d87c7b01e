"""Policies: what a tuner runs, and what it concludes from the results. `SearchPolicy` is that of a search."""

from __future__ import annotations

from collections import Counter
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
from search.run.trials import SearchRecord, TrialRecord
from search.tuner.prefixes.siblings import Sibling, siblings
from search.tuner.pruners.peers import LearningCurve, Pruner
from search.tuner.pruners.pruner import pruner_of
from search.tuner.study import ArmStudy
from search.tuner.transfer import Donors, is_due

LEAD = 2  # in multiples of the random trials that a sampler starts with, see benchmarks/power.md


@dataclass(frozen=True)
class Suggestion:
    """Settings of a new trial.

    Args:
        arm: arm of the trial.
        internal: parameters as the policy records them.
        changes: changes to the experiment's trial.
        source: source of the settings.
    """

    arm: Arm
    internal: Internal
    changes: Changes
    source: Source | None = None


class Policy(Protocol):
    """Policy of a tuner: decides on trials from their results alone, so that a resumed search can replay it."""

    @property
    def total(self) -> int:
        """Total number of trials, as far as the results so far ask for them."""

    def learn(self, trials: Iterable[TrialRecord]) -> None:
        """Take in trials of earlier searches, before the first trial of this one."""

    def restore(self, trial: TrialRecord) -> None:
        """Take in a trial from before a resume."""

    def suggest(self, number: int) -> Suggestion:
        """Return the settings of trial `number`."""

    def dataset(self, trial: TrialRecord) -> Mapping[str, Any]:
        """Return the options of the data set that only this trial has."""

    def stop(self, trial: TrialRecord, record: SearchRecord) -> Reason | None:
        """Return why a trial must stop after its last epoch, or None to continue."""

    def tell(self, trial: TrialRecord) -> None:
        """Take in a trial that has ended."""

    def stop_reason(self, record: SearchRecord) -> Reason | None:
        """Return why the remaining trials are not run, or None. The record alone decides this, not a clock."""

    # ---- for shared prefixes, see `search.tuner.prefixes.sharing` ----

    @property
    def has_more(self) -> bool:
        """Whether trials may still be suggested, as far as can be known."""

    def is_determined(self, number: int) -> bool:
        """Return whether no future result can change the settings of trial `number`, the next one."""

    def siblings(self, trial: TrialRecord) -> list[Sibling]:
        """Return all configurations that may ever be suggested and that share a prefix with this trial's."""


class SearchPolicy:
    """Policy of a search: one study per arm, one early-stopping rule, one budget.

    Args:
        experiment: experiment with its space and its `search` section.
    """

    def __init__(self, experiment: Experiment) -> None:
        search = experiment.search
        self._experiment = experiment
        self.studies: dict[Arm, ArmStudy] = {arm: ArmStudy(experiment, arm) for arm in ARMS}
        # by configuration, those that have not begun
        self._openings = {arm: {as_key(o.changes): o for o in openings(experiment, arm)} for arm in ARMS}
        outside = {arm: sum(o.internal is None for o in those.values()) for arm, those in self._openings.items()}
        capacity = {arm: study.capacity + outside[arm] for arm, study in self.studies.items()}
        self.arms: list[Arm] = plan(search.trials, search.baseline_share, capacity, self._lead())
        self._sources: dict[Arm, Counter[Source | None]] = {arm: Counter() for arm in ARMS}
        self._results = {arm: Donors(search.objective) for arm in ARMS}
        self._pruner: Pruner = pruner_of(experiment)
        self._runs: dict[int, LearningCurve] = {}
        self._stop_reason: Reason | None = None

    def _lead(self) -> int:
        """Return the number of baseline trials to begin with, which the modulated arm can then learn from.

        It is 0 if the arms are searched separately, or if a budget may end the search before the modulated arm has had
        as many trials.
        """
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
        """Adapt the plan to a restored trial whose arm is not the planned one.

        An older program or another number of trials plans another order of the arms. The trial then swaps places with a
        later trial of its arm; if there is none, the plan becomes one trial longer.
        """
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
        self._sources[arm][source] += 1
        self._openings[arm].pop(as_key(changes), None)

    def _opening(self, arm: Arm) -> Opening | None:
        """Return the arm's next trial if it is decided before any result, else None.

        Trials may begin in another order, and one that had not begun when a search was killed comes again. Searches of
        older programs have none.
        """
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
        study, donors = self.studies[arm], self._results[other_arm(arm)]
        if not self._is_transfer_due(arm) or len(donors) < study.startup:
            return None
        shared = donors.settings_to_try(study)
        return None if shared is None else Suggestion(arm, *study.suggest(number, shared), Source.OTHER_ARM)

    def _is_transfer_due(self, arm: Arm) -> bool:
        sources = self._sources[arm]
        trials = sources.total() - sources[Source.RECIPE] - sources[Source.FIRST]
        return is_due(sources[Source.OTHER_ARM], trials + 1, self._experiment.search.transfer)

    def _sample(self, number: int) -> Suggestion:
        arm = self.arms[number]
        return Suggestion(arm, *self.studies[arm].suggest(number), Source.SAMPLER)

    def _note_result(self, trial: TrialRecord) -> None:
        if has_result(trial):
            self._results[trial.arm].add(trial)

    def dataset(self, trial: TrialRecord) -> Mapping[str, Any]:
        return {}

    def stop(self, trial: TrialRecord, record: SearchRecord) -> Reason | None:
        for new in reversed(record.trials.values()):
            if new.number in self._runs:
                break
            self._runs[new.number] = self._run(new)
        return self._pruner.decide(self._runs[trial.number], self._runs.values())

    def _run(self, trial: TrialRecord) -> LearningCurve:
        """Return what early stopping knows about a trial. A failed trial is known up to its failure."""
        start = trial.changes.get(START, self._experiment.trial.modulation.start)
        opens = None if trial.arm == "baseline" else start
        return LearningCurve(trial.number, trial.arm, opens, trial.bests)

    def tell(self, trial: TrialRecord) -> None:
        self.studies[trial.arm].tell(trial)
        self._note_result(trial)

    def stop_reason(self, record: SearchRecord) -> Reason | None:
        """Return why the search ends, or None.

        Once there is a reason it stays, even when the search is opened again: the reserve for the confirmation is an
        estimate that may fall again.
        """
        if self._stop_reason is None:
            budget = self._experiment.search.budget
            before = (reason for reason in record.cut_short.values() if is_limit_of(budget, reason))
            self._stop_reason = next(before, None) or stop_reason(budget, record.spent, self._confirmation_cost(record))
        return self._stop_reason

    def _confirmation_cost(self, record: SearchRecord) -> Spent:
        """Estimate what the confirmation will take."""
        confirm = self._experiment.confirm
        return reserve(confirm.trainings if confirm else 0, longest_trial(self._experiment), record.spent)

    @property
    def has_more(self) -> bool:
        return sum(sources.total() for sources in self._sources.values()) < len(self.arms)

    def is_determined(self, number: int) -> bool:
        arm = self.arms[number]
        return self._opening(arm) is not None or (self.studies[arm].is_determined and not self._may_transfer(arm))

    def _may_transfer(self, arm: Arm) -> bool:
        """Return whether results, now or later, may let the arm's next trial take settings from the other arm."""
        return self._is_transfer_due(arm) and self._sources[other_arm(arm)].total() >= self.studies[arm].startup

    def siblings(self, trial: TrialRecord) -> list[Sibling]:
        experiment = self._experiment
        is_repeated = experiment.search.transfer > 0 or trial.source in (Source.RECIPE, Source.FIRST)
        return siblings(experiment.space, experiment.trial, trial.changes, is_repeated=is_repeated)
