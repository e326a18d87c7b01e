"""Cost of each kind of trial in a search, measured with the configurations that decide how heavy a trial is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ogmge.fit import Data
from search.backend.step_cost import Cost, UnknownSize, measure, sizes_of
from search.experiment.dimensions import METHOD, Changes, Range
from search.experiment.formatting import label
from search.experiment.schema import Experiment, ExperimentError
from search.experiment.space import methods, with_changes

# paths or prefixes of paths
WEIGH = ("encoder", "modalities", "fusion", "batch_size", "accumulate", "precision", "optimizer.name")


def _choices(experiment: Experiment) -> dict[str, list[Any]]:
    """Return the choices that decide how heavy a trial is, by path; for a range, its two ends."""
    choices = {path: entry for path, entry in experiment.space.items() if path.startswith(WEIGH)}
    return {path: [e.low, e.high] if isinstance(e, Range) else e for path, e in choices.items()}


def costs_of(experiment: Experiment, data: Data, device: torch.device) -> dict[str, Cost]:
    """Measure configurations and return their costs by label.

    Measured are: the first choice of every path, each other choice with the rest unchanged, the heaviest choices of all
    paths together, and the entries of `search.first`. The heaviest takes the most memory on a GPU, the most time on a
    CPU.

    Raises:
        ExperimentError: if a trial fails in its first steps.
    """
    base: Changes = {METHOD: methods(experiment.space, experiment.trial)[0]}
    choices, sizes = _choices(experiment), _sizes(experiment, data)
    base_choice = {path: values[0] for path, values in choices.items()}
    costs: dict[str, Cost] = {}

    def weigh(changes: Changes) -> float:
        name = label(changes)
        if name not in costs:
            costs[name] = _measure_cost(experiment, data, sizes, {**base, **changes}, device)
        return costs[name].peak_bytes if device.type == "cuda" else costs[name].epoch_seconds

    weights = {path: [weigh({**base_choice, path: value}) for value in values] for path, values in choices.items()}
    weigh({path: choices[path][w.index(max(w))] for path, w in weights.items()})
    for changes in experiment.search.first:
        weigh(base_choice | {path: value for path, value in changes.items() if path.startswith(WEIGH)})
    return costs


def _sizes(experiment: Experiment, data: Data) -> Mapping[str, int]:
    try:
        return sizes_of(data)
    except UnknownSize as error:
        raise ExperimentError(experiment.name, [f"`dataset`: {error}"]) from error
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ExperimentError(experiment.name, [f"`dataset`: a pass over the data fails: {reason}"]) from error


def _measure_cost(
    experiment: Experiment, data: Data, sizes: Mapping[str, int], changes: Changes, device: torch.device
) -> Cost:
    objective = experiment.search.objective
    try:
        return measure(with_changes(experiment.trial, changes), data, sizes, objective, device)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ExperimentError(
            experiment.name, [f"a trial ({label(changes)}) fails in its first steps: {reason}"]
        ) from error
