"""What can be known to go wrong is known before the first worker starts: every kind of model is built once."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import astuple

import torch

from ogmge import fit
from ogmge.config import ConfigError, TrialConfig
from search.experiment.formatting import label
from search.experiment.schema import Experiment, ExperimentError
from search.experiment.space import METHOD, Changes, methods, with_changes
from search.run.open_data import open_data

# paths, or what they start with: each modality may have an encoder of its own (`encoder.audio`)
MODULATES = ("modulation.parameters", "modulation.apply", "optimizer.name")
SHAPES_THE_MODEL = ("encoder", "weights", "modalities", "fusion", *MODULATES)


def metric_names(modalities: list[str]) -> list[str]:
    """What can be optimised."""
    return ["val/accuracy", "val/loss", *(f"val/accuracy/{name}" for name in modalities)]


def _modalities_of_all(experiment: Experiment, data: fit.Data) -> list[str]:
    """The modalities that every trial has, of those that the data have."""
    asked = experiment.space.get("modalities", [experiment.trial.modalities])
    choices = [list(data.shapes) if names is None else names for names in asked] if isinstance(asked, list) else []
    return [name for name in data.shapes if all(name in names for names in choices)]


def _metric_problems(experiment: Experiment, data: fit.Data) -> list[str]:
    known, problems = metric_names(_modalities_of_all(experiment, data)), []
    for metric, mode in map(astuple, experiment.search.objectives):
        wanted = "min" if metric == "val/loss" else "max"
        if metric not in known:
            problems.append(f"`search.metric` must be one of {', '.join(known)}, but got {metric!r}")
        elif mode != wanted:
            problems.append(f"`search.mode` must be {wanted} for {metric}, but got {mode!r}")
    return problems


def _variants(experiment: Experiment) -> Iterator[Changes]:
    """The trial itself, and it with each choice that makes another model."""
    base: Changes = {METHOD: methods(experiment.space, experiment.trial)[0]} if experiment.space else {}
    yield base
    for path, entry in experiment.space.items():
        if path.startswith(SHAPES_THE_MODEL) and isinstance(entry, list):
            yield from ({**base, path: value} for value in entry)


def _build(config: TrialConfig, data: fit.Data) -> list[str]:
    try:
        fit.start(config, data, torch.device("cpu"))
    except ConfigError as error:
        return [f"`trial.{p.path}` must be {p.expected}, but got {p.got!r}" for p in error.problems]
    except ValueError as error:
        return [f"`trial.modulation`: {error}"]
    return []


def searchable(experiment: Experiment) -> tuple[fit.Data, list[str]]:
    """The data of a search that can begin, and what its user should be told.

    Raises:
        ExperimentError: there is nothing to search; and see `rehearse`.
        DatasetError: the data are not there.
    """
    if not experiment.space:
        raise ExperimentError(
            experiment.name,
            ["there is no `space`, so there is nothing to search: train it with `python -m search train FILE`"],
        )
    data = open_data(experiment.dataset)
    return data, rehearse(experiment, data)


def rehearse(experiment: Experiment, data: fit.Data) -> list[str]:
    """Builds each kind of model that the experiment asks for; returns what its user should be told.

    Raises:
        ExperimentError: a model that cannot be built, or a metric that these data do not have.
    """
    problems = _metric_problems(experiment, data)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for changes in _variants(experiment):
            try:
                config = with_changes(experiment.trial, changes)
            except ValueError as error:
                problems.append(f"`space`: {label(changes)} makes no valid trial ({error})")
                continue
            problems += _build(config, data)
    if problems:
        raise ExperimentError(experiment.name, list(dict.fromkeys(problems)))
    return list(dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, UserWarning)))
