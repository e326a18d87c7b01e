"""Optuna's samplers by name. A new one is created for every trial, from the results so far.

tpe and random sample in the arm's own study. The other samplers get a temporary study for each suggestion. gp, cmaes
and nsga2 (and tpe with several objectives) learn nothing from trials that were stopped early, as most are; in the
temporary study these trials have the best value that they reached. cmaes and nsga2 read notes that they have left on
their trials; these notes are recreated from the results. grid and qmc are sequences that depend on no result.
"""

from __future__ import annotations

import itertools
import math
import random as chance
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIISampler,
    PartialFixedSampler,
    QMCSampler,
    RandomSampler,
)
from optuna.trial import FrozenTrial, TrialState, create_trial
from threadpoolctl import threadpool_limits

from search.experiment.dimensions import Dimension, Internal, Interval
from search.experiment.schema import SamplerName
from search.tuner.distributions import Distributions
from search.tuner.tpe import Leaders, LimitedTPE


@dataclass(frozen=True)
class StudyHistory:
    """What a sampler learns from: an arm's space, and its results so far.

    Args:
        study: study of the arm, with its results so far.
        distributions: distributions of the arm's whole space.
        values: number in the study -> objectives of a trial that has ended with a result.
        startup: number of random trials before the sampler learns; the size of a generation for nsga2.
        leaders: best trials by the first objective.
    """

    study: optuna.Study
    distributions: Distributions
    values: Mapping[int, Sequence[float]]
    startup: int
    leaders: Leaders

    def results(self) -> list[FrozenTrial]:
        """Return the trials that have a result, in order; a stopped trial has the best value that it reached."""
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        return [
            create_trial(values=self.values[trial.number], params=trial.params, distributions=self.distributions)
            for trial in trials
        ]

    def pending(self) -> list[FrozenTrial]:
        """Return the trials that have no result yet."""
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [
            create_trial(state=trial.state, params=trial.params, distributions=self.distributions) for trial in trials
        ]

    def empty_study(self, sampler: BaseSampler) -> optuna.Study:
        """Create an empty study for a sampler."""
        return optuna.create_study(directions=self.study.directions, sampler=sampler)

    def ask(self, sampler: BaseSampler) -> BaseSampler:
        """Ask a sampler in a temporary study with all results and pending trials; return a sampler of its answer."""
        study = self.empty_study(sampler)
        study.add_trials([*self.results(), *self.pending()])
        return fixed_sampler(study.ask(self.distributions).params)


def random(history: StudyHistory, seed: int) -> BaseSampler:
    return RandomSampler(seed=seed)


def tpe(history: StudyHistory, seed: int) -> BaseSampler:
    sampler = LimitedTPE(history.distributions, history.startup, history.leaders, seed)
    return sampler if len(history.study.directions) == 1 else history.ask(sampler)


def gp(history: StudyHistory, seed: int) -> BaseSampler:
    with threadpool_limits(1):  # ten times as fast as threads that compete for the cores, with identical results
        return history.ask(GPSampler(seed=seed, n_startup_trials=history.startup))


def cmaes(history: StudyHistory, seed: int) -> BaseSampler:
    numeric = sum(not d.single() for d in history.distributions.values())
    generation = 4 + math.floor(3 * math.log(max(1, numeric)))  # Hansen, arXiv:1604.00772, eq. 48
    study = history.empty_study(CmaEsSampler(seed=seed, popsize=generation))
    return _by_generations(history, study, itertools.chain([1], itertools.repeat(generation)))


def nsga2(history: StudyHistory, seed: int) -> BaseSampler:
    study = history.empty_study(NSGAIISampler(seed=seed, population_size=history.startup))
    return _by_generations(history, study, itertools.repeat(history.startup))


def _by_generations(history: StudyHistory, study: optuna.Study, sizes: Iterable[int]) -> BaseSampler:
    """Add the results again, one generation at a time, each with the notes that the sampler leaves on its trials."""
    results = iter(history.results())
    for size in sizes:
        asked = study.ask(history.distributions)
        generation = list(itertools.islice(results, size))
        if len(generation) < size:
            break
        study.tell(asked, state=TrialState.FAIL)
        notes = study.get_trials(deepcopy=False)[-1].system_attrs
        for trial in generation:
            trial.system_attrs.update(notes)
        study.add_trials(generation)
    return fixed_sampler(asked.params)


class ExactSampler(BaseSampler):
    """Sampler that gives the values of ranges with a step as they are written: 0.3, where Optuna adds up to
    0.30000000000000004.

    Args:
        rest: sampler that draws the values.
        dimensions: dimensions of the space.
    """

    def __init__(self, rest: BaseSampler, dimensions: Sequence[Dimension]) -> None:
        self._rest = rest
        self._intervals = {each.path: each for each in dimensions if isinstance(each, Interval)}

    def reseed_rng(self) -> None:
        self._rest.reseed_rng()

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> Distributions:
        return self._rest.infer_relative_search_space(study, trial)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: Distributions) -> Internal:
        drawn = self._rest.sample_relative(study, trial, search_space)
        return {name: self._exact(name, value) for name, value in drawn.items()}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._exact(param_name, self._rest.sample_independent(study, trial, param_name, param_distribution))

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._rest.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._rest.after_trial(study, trial, state, values)

    def _exact(self, name: str, value: Any) -> Any:
        return self._intervals[name].exact(value) if name in self._intervals else value


def fixed_sampler(params: Internal) -> BaseSampler:
    """Return a sampler that always gives these parameters."""
    return PartialFixedSampler(params, RandomSampler())


def partly_fixed_sampler(params: Internal, rest: BaseSampler) -> BaseSampler:
    """Return a sampler that gives these parameters, and draws the rest with another sampler."""
    return PartialFixedSampler(params, rest) if params else rest


SAMPLERS: dict[SamplerName, Callable[[StudyHistory, int], BaseSampler]] = {
    "tpe": tpe,
    "random": random,
    "gp": gp,
    "cmaes": cmaes,
    "nsga2": nsga2,
}


# ---- sequences that depend on no result ----


def grid(dimensions: Sequence[Dimension], seed: int) -> Iterator[Internal]:
    """Yield configurations of a finite space without end, each as likely as any other."""
    places = chance.Random(seed)
    while True:
        found: Internal = {}
        for dimension in dimensions:
            found |= dimension.at(places.randrange(int(dimension.count)))
        yield found


def qmc(distributions: Distributions, seed: int) -> Iterator[Internal]:
    """Yield a scrambled Sobol sequence over the space."""
    study = optuna.create_study(sampler=QMCSampler(scramble=True, seed=seed))
    study.tell(study.ask(distributions), 0.0)  # the sampler takes its space from an existing trial
    while True:
        trial = study.ask(distributions)
        study.tell(trial, state=TrialState.FAIL)
        yield trial.params


def sequence(
    name: SamplerName, dimensions: Sequence[Dimension], distributions: Distributions, seed: int
) -> Iterator[Internal] | None:
    """Return the sequence of a sampler that is one, else None."""
    if name == "grid":
        return grid(dimensions, seed)
    return qmc(distributions, seed) if name == "qmc" else None
