"""Optuna's samplers by name: how each is made anew for a trial from the results so far.

tpe and random are asked in the arm's study as it is. The others are asked in a study of their own, made for the one
question: gp, cmaes and nsga2 learn nothing from a trial that was stopped early, as most are, and are told the best that
it reached, and so is tpe where there are several objectives; cmaes and nsga2 go by notes that they leave on their
trials, which are written again from the results; qmc counts its trials, and so that the count depends on nothing else,
it and grid are sequences that are known beforehand.
"""

from __future__ import annotations

import itertools
import math
import random as chance
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import optuna
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIISampler,
    PartialFixedSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import FrozenTrial, TrialState, create_trial
from threadpoolctl import threadpool_limits

from search.experiment.schema import SamplerName
from search.experiment.space import Dimension, Internal
from search.tuner.distributions import Distributions


@dataclass(frozen=True)
class Known:
    """What a sampler goes by.

    Args:
        study: the arm's, with its results so far.
        distributions: the arm's whole space.
        values: number in the study -> the objectives of a trial that has ended, whichever way.
        startup: trials drawn at random before there is anything to learn from; nsga2's generation.
    """

    study: optuna.Study
    distributions: Distributions
    values: Mapping[int, Sequence[float]]
    startup: int

    def results(self) -> list[FrozenTrial]:
        """What came of the trials, in their order; one that was stopped counts with the best that it reached."""
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        return [self._result(trial.params, values=self.values[trial.number]) for trial in trials]

    def pending(self) -> list[FrozenTrial]:
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [self._result(trial.params, state=TrialState.RUNNING) for trial in trials]

    def _result(
        self, params: Internal, *, values: Sequence[float] | None = None, state: TrialState = TrialState.COMPLETE
    ) -> FrozenTrial:
        return create_trial(state=state, values=values, params=params, distributions=self.distributions)

    def empty(self, sampler: BaseSampler) -> optuna.Study:
        """A study of the sampler's own."""
        return optuna.create_study(directions=self.study.directions, sampler=sampler)

    def asked(self, sampler: BaseSampler) -> BaseSampler:
        """What a sampler makes of all results and of what is still to come, in a study of its own."""
        study = self.empty(sampler)
        study.add_trials([*self.results(), *self.pending()])
        return fixed_sampler(study.ask(self.distributions).params)


class _FlatTPE(TPESampler):
    """TPE over the whole of a space that is known. Optuna's looks for it in all trials so far, anew for each trial."""

    def __init__(self, known: Known, seed: int) -> None:
        super().__init__(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=known.startup)
        self._space = {name: d for name, d in sorted(known.distributions.items()) if not d.single()}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> Distributions:
        return self._space


def random(known: Known, seed: int) -> BaseSampler:
    return RandomSampler(seed=seed)


def tpe(known: Known, seed: int) -> BaseSampler:
    sampler = _FlatTPE(known, seed)
    return sampler if len(known.study.directions) == 1 else known.asked(sampler)


def gp(known: Known, seed: int) -> BaseSampler:
    with threadpool_limits(1):  # ten times as fast as with threads that fight for the cores, and the same to the bit
        return known.asked(GPSampler(seed=seed, n_startup_trials=known.startup))


def cmaes(known: Known, seed: int) -> BaseSampler:
    numeric = sum(not d.single() for d in known.distributions.values())
    generation = 4 + math.floor(3 * math.log(max(1, numeric)))  # Hansen, arXiv:1604.00772, eq. 48
    study = known.empty(CmaEsSampler(seed=seed, popsize=generation))
    return _by_generations(known, study, itertools.chain([1], itertools.repeat(generation)))


def nsga2(known: Known, seed: int) -> BaseSampler:
    study = known.empty(NSGAIISampler(seed=seed, population_size=known.startup))
    return _by_generations(known, study, itertools.repeat(known.startup))


def _by_generations(known: Known, study: optuna.Study, sizes: Iterable[int]) -> BaseSampler:
    """The results again, a generation at a time, each with the notes that the sampler leaves on a trial of it."""
    results = iter(known.results())
    for size in sizes:
        asked = study.ask(known.distributions)
        generation = list(itertools.islice(results, size))
        if len(generation) < size:
            break
        study.tell(asked, state=TrialState.FAIL)
        notes = study.get_trials(deepcopy=False)[-1].system_attrs
        for trial in generation:
            trial.system_attrs.update(notes)
        study.add_trials(generation)
    return fixed_sampler(asked.params)


def fixed_sampler(params: Internal) -> BaseSampler:
    """A sampler of these parameters and no others."""
    return PartialFixedSampler(params, RandomSampler())


SAMPLERS: dict[SamplerName, Callable[[Known, int], BaseSampler]] = {
    "tpe": tpe,
    "random": random,
    "gp": gp,
    "cmaes": cmaes,
    "nsga2": nsga2,
}


# ---- sequences that are known beforehand ----


def grid(dimensions: Sequence[Dimension], seed: int) -> Iterator[Internal]:
    """Configurations of a finite space, each as likely as any other, without end."""
    places = chance.Random(seed)
    while True:
        found: Internal = {}
        for dimension in dimensions:
            found |= dimension.at(places.randrange(int(dimension.count)))
        yield found


def qmc(distributions: Distributions, seed: int) -> Iterator[Internal]:
    """A scrambled Sobol sequence over the space."""
    study = optuna.create_study(sampler=QMCSampler(scramble=True, seed=seed))
    study.tell(study.ask(distributions), 0.0)  # it takes its space from a trial that is there
    while True:
        trial = study.ask(distributions)
        study.tell(trial, state=TrialState.FAIL)
        yield trial.params


def sequence(
    name: SamplerName, dimensions: Sequence[Dimension], distributions: Distributions, seed: int
) -> Iterator[Internal] | None:
    """The sequence of a sampler that is one, else None."""
    if name == "grid":
        return grid(dimensions, seed)
    return qmc(distributions, seed) if name == "qmc" else None
