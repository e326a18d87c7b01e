"""Optuna's distributions for the dimensions of a space."""

from __future__ import annotations

import json

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search.experiment.dimensions import END, START, Choice, Dimension, Interval

Distributions = dict[str, BaseDistribution]


def distributions(dimension: Dimension) -> Distributions:
    """Return the distribution of each parameter of a dimension, by dotted path."""
    if isinstance(dimension, Choice):
        return {dimension.path: _of_choice(dimension)}
    if isinstance(dimension, Interval):
        return {dimension.path: _of_interval(dimension)}
    window = {START: IntDistribution(0, len(dimension.ends) - 1), END: FloatDistribution(0.0, 1.0)}
    return {path: window[path] for path in dimension.varying}


def _of_choice(choice: Choice) -> BaseDistribution:
    if choice.is_ranked:
        return IntDistribution(0, len(choice.values) - 1)
    return CategoricalDistribution([json.dumps(value) for value in choice.values])


def _of_interval(interval: Interval) -> BaseDistribution:
    r = interval.range
    if interval.integer:
        return IntDistribution(int(r.low), int(r.high), log=r.log, step=int(r.step or 1))
    return FloatDistribution(float(r.low), float(r.high), log=r.log, step=r.step)
