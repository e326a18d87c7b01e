"""The studies of both arms as a file for Optuna's own tools, such as optuna-dashboard.

The file is made from the journal, which remains the only record. Thus any search can be exported, also one that is
running or that an older version made, and no second record has to be kept in line with the first.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.experiment.arms import ARMS, Arm
from search.experiment.dimensions import END, START, Choice, Dimension, Interval
from search.experiment.formatting import flat
from search.experiment.schema import Experiment
from search.experiment.space import dimensions, merge
from search.run.trials import SearchRecord, TrialRecord
from search.tuner.distributions import Distributions, distributions
from search.tuner.study import DIRECTIONS

STATES = {"finished": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}


def study_name(experiment: Experiment, arm: Arm) -> str:
    """Return the name of an arm's study."""
    return f"{experiment.name}-{arm}"


def write_optuna_log(
    experiment: Experiment, record: SearchRecord, path: Path, about: Mapping[str, Any]
) -> Counter[Arm]:
    """Write both studies to a file that Optuna opens as a `JournalStorage`, completely or not at all.

    Trials that have not ended are omitted.

    Args:
        experiment: experiment that was searched.
        record: record of the search.
        path: file to write; an existing one is replaced.
        about: user attributes of both studies.

    Returns:
        Number of written trials of each arm.

    Raises:
        OSError: if the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        storage = JournalStorage(JournalFileBackend(str(temporary)))
        for arm in reversed(ARMS):
            ended = [trial for trial in record if trial.arm == arm and trial.is_over]
            _write_study(experiment, arm, ended, storage, about)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return Counter(trial.arm for trial in record if trial.is_over)


def _write_study(
    experiment: Experiment, arm: Arm, trials: Sequence[TrialRecord], storage: JournalStorage, about: Mapping[str, Any]
) -> None:
    objectives = experiment.search.objectives
    study = optuna.create_study(
        storage=storage,
        study_name=study_name(experiment, arm),
        directions=[DIRECTIONS[objective.mode] for objective in objectives],
    )
    study.set_metric_names([objective.metric for objective in objectives])
    for name, value in {"arm": arm, **about}.items():
        study.set_user_attr(name, value)
    settings = [flat(merge(experiment.trial, trial.changes)) for trial in trials]
    space = _space(experiment, arm, settings)
    for trial, values in zip(trials, settings, strict=True):
        study.add_trial(_frozen(trial, values, space, experiment))


def _frozen(
    trial: TrialRecord, settings: Mapping[str, Any], space: Distributions, experiment: Experiment
) -> FrozenTrial:
    """Return a trial that has ended as Optuna keeps it; its duration is the time that its epochs took to train."""
    metrics = [objective.metric for objective in experiment.search.objectives]
    best = trial.best_epoch(metrics[0])
    outside = {path: json.dumps(value) for path, value in trial.changes.items() if path not in space}
    frozen = create_trial(
        state=STATES[trial.status],
        values=[best[metric] for metric in metrics] if trial.status == "finished" and best else None,
        params={path: _parameter(settings[path]) for path in space},
        distributions=space,
        intermediate_values={int(epoch["epoch"]): epoch[metrics[0]] for epoch in trial.epochs},
        user_attrs={**_attributes(trial), **outside},
    )
    seconds = sum(epoch["seconds"] for epoch in trial.epochs if "inherited" not in epoch)
    frozen.datetime_complete = frozen.datetime_complete or datetime.now()
    frozen.datetime_start = frozen.datetime_complete - timedelta(seconds=seconds)
    return frozen


def _attributes(trial: TrialRecord) -> dict[str, Any]:
    found = {
        "trial": trial.number,
        "status": trial.status,
        "source": trial.source and trial.source.value,
        "reason": trial.reason and str(trial.reason),
        "inherited_epochs": trial.inherited_epochs or None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _space(experiment: Experiment, arm: Arm, settings: Iterable[Mapping[str, Any]]) -> Distributions:
    """Return the distribution of each searched setting, by dotted path.

    Trials of `search.first` may lie outside the space. The distribution then includes their values: Optuna computes
    importances only over settings whose distribution is the same in every trial.
    """
    every = list(settings)
    found: Distributions = {}
    for dimension in dimensions(experiment.space, experiment.trial, modulated=arm == "modulated"):
        for path, distribution in _distributions(dimension).items():
            found[path] = _widened(distribution, [_parameter(values[path]) for values in every])
    return found


def _distributions(dimension: Dimension) -> Distributions:
    if isinstance(dimension, Choice):
        return {dimension.path: CategoricalDistribution([_parameter(value) for value in dimension.values])}
    if isinstance(dimension, Interval):
        return distributions(dimension)
    starts, ends = zip(*dimension.pairs, strict=True)
    return {START: _whole_numbers(starts), END: _whole_numbers(ends)}


def _whole_numbers(values: Iterable[int]) -> IntDistribution:
    """Return the narrowest range of whole numbers, in steps, that includes these values.

    >>> _whole_numbers([0, 4, 6])
    IntDistribution(high=6, log=False, low=0, step=2)
    """
    low, *more = sorted(set(values))
    return IntDistribution(low, max(more, default=low), step=math.gcd(*(value - low for value in more)) or 1)


def _parameter(value: Any) -> Any:
    """Return a setting as a value that Optuna takes: a list or a section becomes JSON."""
    return value if value is None or isinstance(value, bool | int | float | str) else json.dumps(value)


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    with suppress(ValueError, TypeError):
        return distribution._contains(distribution.to_internal_repr(value))
    return False


def _widened(distribution: BaseDistribution, values: Iterable[Any]) -> BaseDistribution:
    """Return a distribution that includes these values too, or the same one if it does already."""
    outside = [value for value in dict.fromkeys(values) if not _contains(distribution, value)]
    if not outside:
        return distribution
    if isinstance(distribution, CategoricalDistribution):
        return CategoricalDistribution([*distribution.choices, *outside])
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    low, high = min(distribution.low, *outside), max(distribution.high, *outside)
    return type(distribution)(low, high, log=distribution.log and low > 0)
