"""Optuna's TPE, at a cost per suggestion that does not grow with the number of trials.

Optuna builds its model from all trials again for each suggestion, which takes 10 ms more for each thousand of them.
Here the model learns from the best trials, those that TPE calls good, and from the latest ones. The others are the
oldest, which have the least weight in Optuna's model. Up to `LATEST` results of an arm, the suggestions are Optuna's.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Container, Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

LATEST = 500  # results of an arm
GOOD = 25  # most trials that TPE calls good, see `optuna.samplers.TPESampler`'s `gamma`
WITH_RESULT = (TrialState.COMPLETE, TrialState.PRUNED)


class Leaders:
    """The best trials of a study with one objective, in TPE's order: finished trials come before pruned ones.

    Args:
        direction: direction of the objective.
    """

    def __init__(self, direction: StudyDirection) -> None:
        self._sign = -1 if direction == StudyDirection.MAXIMIZE else 1
        self._ranked: list[tuple[float, float, int]] = []

    @property
    def numbers(self) -> list[int]:
        """Numbers of these trials, in ascending order."""
        return sorted(number for *_, number in self._ranked)

    def add(self, number: int, value: float, pruned_after: float = float("inf")) -> None:
        """Add a trial with its value; if it was pruned, with the number of its epochs."""
        insort(self._ranked, (-pruned_after, self._sign * value, number))
        del self._ranked[GOOD:]


class _LimitedStudy(optuna.Study):
    """View of a study with only some of its trials."""

    def __init__(self, study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
        vars(self).update(vars(study))
        self._chosen = trials

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return [trial for trial in self._chosen if states is None or trial.state in states]


class LimitedTPE(TPESampler):
    """TPE over the whole of a given space. Optuna's own infers the space from all trials again for each trial.

    Args:
        distributions: distributions of the space.
        startup: number of random trials before the sampler learns.
        leaders: best trials so far.
        seed: seed of the suggestion.
    """

    def __init__(
        self, distributions: Mapping[str, BaseDistribution], startup: int, leaders: Leaders, seed: int
    ) -> None:
        super().__init__(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=startup)
        self._space = {name: d for name, d in sorted(distributions.items()) if not d.single()}
        self._leaders = leaders

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._space

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, object]:
        return super().sample_relative(self._limit(study), trial, search_space)

    def _limit(self, study: optuna.Study) -> optuna.Study:
        """Return the study as the model sees it: its leaders, its latest results, and what runs."""
        trials = study.get_trials(deepcopy=False)
        ended = [trial for trial in trials if trial.state in WITH_RESULT]
        if len(study.directions) > 1 or len(ended) <= LATEST:
            return study
        latest = ended[-LATEST:]
        leaders = [trials[number] for number in self._leaders.numbers if number < latest[0].number]
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        return _LimitedStudy(study, [*leaders, *latest, *running])
