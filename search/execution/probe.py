"""`gpu: auto`: what the heaviest configuration takes of a GPU, measured in a worker that has one to itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ray
import torch

from search.data import open_data
from search.execution.packing import Peak, ResourceError, Room, fixed, share
from search.experiment import Experiment, ExperimentError
from search.planning.costs import costs_of
from search.planning.measure import Cost

NO_GPU = "no GPU here: with `search.resources.gpu` = auto trials train on CPUs"


def peak_of(costs: Mapping[str, Cost]) -> Peak:
    """The heaviest of configurations that were measured on this process's GPU."""
    label = max(costs, key=lambda name: costs[name].peak_bytes)
    return Peak(label, costs[label].peak_bytes, torch.cuda.get_device_properties(0).total_memory)


def _peak(experiment: Experiment) -> Peak | list[str] | None:
    """In a worker: what it measured, the mistakes that it found, or None where torch sees no GPU."""
    if not torch.cuda.is_available():
        return None
    try:
        return peak_of(costs_of(experiment, open_data(experiment.dataset), torch.device("cuda")))
    except ExperimentError as error:
        return list(error.sentences)


def cpus_for(cpu: float, nodes: Sequence[Mapping[str, float]]) -> int:
    """For how many trials a GPU the nodes with GPUs have CPUs; 0 where there is no GPU."""
    return max((int(node["CPU"] / node["GPU"] / cpu) or 1 for node in nodes if node.get("GPU")), default=0)


def room_for(experiment: Experiment, nodes: Sequence[Mapping[str, float]]) -> tuple[Room, str | None]:
    """What a trial is given, and what its user should be told. Ray must be running.

    Args:
        experiment: its `search.resources`.
        nodes: what each has.

    Raises:
        ExperimentError: a trial fails in its first steps.
        ResourceError: a GPU that is too small, or that torch cannot use.
    """
    resources = experiment.search.resources
    if (room := fixed(resources)) is not None:
        return room, None
    at_most = cpus_for(resources.cpu, nodes)
    if not at_most:
        return Room(resources.cpu, 0), NO_GPU
    found = ray.get(ray.remote(num_gpus=1, num_cpus=resources.cpu, max_calls=1)(_peak).remote(experiment))
    if found is None:
        raise ResourceError(
            "Ray has a GPU here, and torch in a worker sees none: install a torch that is built for it, or say "
            "`search.resources.gpu=0`"
        )
    if isinstance(found, list):
        raise ExperimentError(experiment.name, found)
    gpu = share(found, at_most)
    note = (
        f"{round(1 / gpu)} trials a GPU: the heaviest configuration ({found.label}) takes "
        f"{found.needed_bytes / 1e9:.1f} of its {found.total_bytes / 1e9:.1f} GB"
    )
    return Room(resources.cpu, gpu), note
