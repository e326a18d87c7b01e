"""Checks before the first worker starts: every kind of model is built, and trained for one step on real samples."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from dataclasses import astuple, dataclass, field, replace

import torch

from ogmge import components, fit
from ogmge.config import ConfigError, Problem, TrialConfig
from search.backend.first_step import step_problem, without_traces
from search.experiment.arms import ARMS
from search.experiment.dimensions import METHOD, Changes, Range
from search.experiment.formatting import label
from search.experiment.messages import format_setting
from search.experiment.own_errors import own_lines
from search.experiment.placement import place
from search.experiment.schema import Experiment, ExperimentError
from search.experiment.sources import opening_notes
from search.experiment.space import extremes, methods, step_notes, with_changes
from search.run.batch_check import Batches, check_batches
from search.run.open_data import open_data

# paths or prefixes of paths: each modality may have its own encoder (`encoder.audio`)
MODULATES = ("modulation.parameters", "modulation.apply", "optimizer.name")
SHAPES_THE_MODEL = ("encoder", "weights", "modalities", "fusion", *MODULATES)


def metric_names(modalities: list[str]) -> list[str]:
    """Return the metrics that can be optimised."""
    return ["val/accuracy", "val/loss", *(f"val/accuracy/{name}" for name in modalities)]


def _modalities_of_all(experiment: Experiment, data: fit.Data) -> list[str]:
    """Return the modalities of the data that every trial uses."""
    choices = experiment.space.get("modalities", [experiment.trial.modalities])
    shared = set(data.shapes)
    for names in choices if isinstance(choices, list) else []:
        shared &= set(names or data.shapes)
    return [name for name in data.shapes if name in shared]


def _metric_problems(experiment: Experiment, data: fit.Data) -> list[str]:
    known, problems = metric_names(_modalities_of_all(experiment, data)), []
    for metric, mode in map(astuple, experiment.search.objectives):
        wanted = "min" if metric == "val/loss" else "max"
        if metric not in known:
            problems.append(f"`search.metric` must be one of {', '.join(known)}, but got {metric!r}")
        elif mode != wanted:
            problems.append(f"`search.mode` must be {wanted} for {metric}, but got {mode!r}")
    return problems


def _key(experiment: Experiment, changes: Changes, problem: Problem) -> str:
    """Return the key of the file that a faulty value comes from: one of `space`, `search.first` or `trial`."""
    parts = [path for path, value in changes.items() if path.startswith(f"{problem.path}.") and value == problem.got]
    for path in (problem.path, *parts):
        entry = experiment.space.get(path)
        if path in changes and isinstance(entry, list) and changes[path] in entry:
            return f"space.{path}"
        for number, first in enumerate(experiment.search.first):
            if path in first and path in changes and first[path] == changes[path]:
                return f"search.first[{number}].{path}"
    return f"trial.{problem.path}"


def _variants(experiment: Experiment) -> Iterator[Changes]:
    """Yield the trial itself, the trial with each choice that changes its model, and the entries of `search.first`."""
    base: Changes = {METHOD: methods(experiment.space, experiment.trial)[0]} if experiment.space else {}
    yield base
    for path, entry in experiment.space.items():
        if path.startswith(SHAPES_THE_MODEL) and isinstance(entry, list):
            yield from ({**base, path: value} for value in entry)
    for changes, arm in itertools.product(experiment.search.first, ARMS):
        yield place(experiment, changes, arm).whole


@dataclass
class _Models:
    """The models of an experiment, each kind of which is built once and trained for a step.

    Args:
        data: data of the experiment.
        batches: first batch of each split.
        tried: what distinguishes the models that have been trained for a step.
        smallest_batch: smallest batch that all models so far can be trained on.
    """

    data: fit.Data
    batches: Batches
    tried: set[str] = field(default_factory=set)
    smallest_batch: int = 1

    def find_problem(self, config: TrialConfig) -> str | None:
        """Build a model, and train one of its kind for a step; return what fails in that step.

        The step has full precision, because the CPU may lack an operator in the trial's own.
        """
        trainer = fit.start(replace(config, precision="fp32"), self.data, torch.device("cpu"))
        self.smallest_batch = max(self.smallest_batch, trainer.smallest_batch)
        kind = repr((config.encoder, config.weights, config.modalities, config.fusion))
        if kind in self.tried:
            return None
        self.tried.add(kind)
        return step_problem(trainer, self.batches)


def _batch_size_problems(experiment: Experiment, smallest: int) -> list[str]:
    """Return a sentence for each batch size that is too small for the batch norm of a model."""
    sizes = {"trial.batch_size": experiment.trial.batch_size}
    if "batch_size" in experiment.space:
        entry = experiment.space["batch_size"]
        key = "space.batch_size.low" if isinstance(entry, Range) else "space.batch_size"
        sizes = {key: min(extremes(entry).values())}
    for number, first in enumerate(experiment.search.first):
        sizes[f"search.first[{number}].batch_size"] = first.get("batch_size", smallest)
    return [
        f"`{key}` must be at least {smallest}, because a batch norm of the model sees one value per sample, but got {n}"
        for key, n in sizes.items()
        if n < smallest
    ]


def _find_problems(experiment: Experiment, changes: Changes, models: _Models) -> list[str]:
    """Build the model of one kind of trial; return a sentence for each problem."""
    try:
        config = with_changes(experiment.trial, changes)
    except ValueError as error:
        return [f"`space`: {label(changes)} is not a valid trial ({error})"]
    try:
        problem = models.find_problem(config)
    except ConfigError as error:
        lines = own_lines(error.__cause__) if error.__cause__ else ""
        return [
            f"`{_key(experiment, changes, p)}` must be {p.expected}, but got {format_setting(p.got)}\n{lines}".rstrip()
            for p in error.problems
        ]
    except ValueError as error:
        return [f"`trial.modulation`: {error}"]
    return [f"the model{_of(config)} cannot be trained: {problem}"] if problem else []


def _of(config: TrialConfig) -> str:
    """Return what the model of a trial consists of, as a clause."""
    parts = components.places(config.encoder, config.fusion)
    named = (f"`{'.'.join(path)}` {components.parse(value)}" for path, value in parts.items())
    return f" ({', '.join(named)})"


def check_search(experiment: Experiment) -> tuple[fit.Data, list[str]]:
    """Check that a search can start; return its data and notes for the user.

    Raises:
        ExperimentError: if there is nothing to search; see also `check_models`.
        DatasetError: if the data are missing.
    """
    if not experiment.space:
        raise ExperimentError(
            experiment.name,
            [
                "there is no `space`, so there is nothing to search; to train `trial` once:\n"
                "  uv run python -m search train FILE"
            ],
        )
    data = open_data(experiment.dataset)
    steps = step_notes(experiment.space, experiment.trial)
    return data, [*check_models(experiment, data), *steps, *opening_notes(experiment)]


def check_models(experiment: Experiment, data: fit.Data, batches: Batches | None = None) -> list[str]:
    """Build each kind of model that the experiment asks for, and train it for a step; return notes for the user.

    Data in memory are checked as a whole; of other data, one batch per split is read. Random states do not change.

    Args:
        experiment: experiment with the models.
        data: its data.
        batches: first batch of each split, if `check_batches` has read them.

    Raises:
        DataError: if the data set of a user yields what no model can be trained on.
        ExperimentError: if a model cannot be built, or these data do not have the searched metric.
    """
    with warnings.catch_warnings(record=True) as caught, without_traces():
        warnings.simplefilter("always")
        models = _Models(data, batches or check_batches(data, experiment.trial.batch_size))
        problems = _metric_problems(experiment, data)
        for changes in _variants(experiment):
            problems += _find_problems(experiment, changes, models)
        problems += _batch_size_problems(experiment, models.smallest_batch)
    if problems:
        raise ExperimentError(experiment.name, list(dict.fromkeys(problems)))
    return list(dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, UserWarning)))
