"""What each kind of trial of a search costs: those configurations are measured that decide how heavy one is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ogmge.fit import Data
from search.backend.step_cost import Cost, UnknownSize, measure, sizes_of
from search.experiment.formatting import label
from search.experiment.schema import Experiment, ExperimentError
from search.experiment.space import METHOD, Changes, Range, methods, with_changes

# paths, or what starts them
WEIGH = ("encoder", "modalities", "fusion", "batch_size", "accumulate", "precision", "optimizer.name")


def _choices(experiment: Experiment) -> dict[str, list[Any]]:
    """The choices that decide how heavy a trial is, by path; of a range, its ends."""
    return {
        path: [entry.low, entry.high] if isinstance(entry, Range) else entry
        for path, entry in experiment.space.items()
        if path.startswith(WEIGH)
    }


class _Costs:
    """What configurations cost, by label; each is measured once."""

    def __init__(self, experiment: Experiment, data: Data, device: torch.device) -> None:
        self.by_label: dict[str, Cost] = {}
        self._experiment, self._data, self._device = experiment, data, device
        self._sizes = _sizes(experiment, data)
        self._method: Changes = {METHOD: methods(experiment.space, experiment.trial)[0]}

    def of(self, changes: Changes) -> Cost:
        name = label(changes)
        if name not in self.by_label:
            self.by_label[name] = _measure_cost(
                self._experiment, self._data, self._sizes, {**self._method, **changes}, self._device
            )
        return self.by_label[name]

    def weight(self, changes: Changes) -> float:
        """The memory on a GPU, the time on a CPU."""
        cost = self.of(changes)
        return cost.peak_bytes if self._device.type == "cuda" else cost.epoch_seconds


def costs_of(experiment: Experiment, data: Data, device: torch.device) -> dict[str, Cost]:
    """By label: the first choice of each path, each other choice by itself, and the heaviest of each together.

    Heaviest is what takes the most memory on a GPU, and the most time on a CPU.

    Raises:
        ExperimentError: a trial fails in its first steps.
    """
    choices, costs = _choices(experiment), _Costs(experiment, data, device)
    heaviest = first = {path: values[0] for path, values in choices.items()}
    for path, values in choices.items():
        weights = [costs.weight({**first, path: value}) for value in values]
        heaviest = {**heaviest, path: values[weights.index(max(weights))]}
    costs.of(heaviest)
    return costs.by_label


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
