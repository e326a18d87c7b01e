"""`gpu: auto` and `cpu: auto`: what a trial is best given, measured with the heaviest configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
import torch

from search.backend.costs import costs_of
from search.backend.device import device_for
from search.backend.resources import Peak, ResourceError, Room, cpus_a_gpu, fit, requested_resources, trials_at_once
from search.backend.step_cost import Cost
from search.backend.throughput import Crew, Packing, best_packing, climb, format_packings, on_a_gpu, on_cpus
from search.experiment.schema import Experiment, ExperimentError, Resources
from search.run.open_data import open_data

NO_GPU = "no GPU here: with `search.resources.gpu` = auto trials train on CPUs"
FULL = "each core has one"


@dataclass(frozen=True)
class PackingDecision:
    """What was found out.

    Args:
        room: of a trial.
        note: for whoever waits.
        crowding: how much longer an epoch takes beside the others than in the same room alone.
    """

    room: Room
    note: str | None
    crowding: float = 1.0


def peak_of(costs: Mapping[str, Cost]) -> Peak:
    """The heaviest of configurations that were measured on this process's GPU."""
    label = max(costs, key=lambda name: costs[name].peak_bytes)
    return Peak(label, costs[label].peak_bytes, torch.cuda.get_device_properties(0).total_memory)


def cpus_for(cpu: float, nodes: Sequence[Mapping[str, float]]) -> int:
    """For how many trials a GPU the nodes with GPUs have CPUs; 0 where there is no GPU."""
    return max((int(node["CPU"] / node["GPU"] / cpu) or 1 for node in nodes if node.get("GPU")), default=0)


def least(resources: Resources) -> float:
    """Cores that a trial has at least, where it is still to be measured how many."""
    return 1.0 if resources.cpu == "auto" else resources.cpu


def pack_gpu(
    experiment: Experiment, costs: Mapping[str, Cost], nodes: Sequence[Mapping[str, float]], *, forecast: bool = False
) -> PackingDecision:
    """How many trials share a GPU, measured on this process's.

    Args:
        experiment: whose trials.
        costs: of its configurations, measured likewise.
        nodes: what each has.
        forecast: whether `crowding` is asked for, which takes seconds more.

    Raises:
        ResourceError: the GPU is too small for one.
    """
    resources, peak = experiment.search.resources, peak_of(costs)
    at_most = cpus_for(least(resources), nodes)
    most = fit(peak, at_most)
    lacking = "CPU" if most == at_most else "memory"
    takes = f"{peak.needed_bytes / 1e9:.1f} of its {peak.total_bytes / 1e9:.1f} GB"
    needs = f"there is no more {lacking}: the heaviest configuration ({peak.label}) takes {takes}"
    packings = on_a_gpu(resources.cpu, cpus_a_gpu(nodes), most)
    return _best(experiment, costs[peak.label], packings, needs, forecast)


def pack_cpus(
    experiment: Experiment, costs: Mapping[str, Cost], cpus: int, *, forecast: bool = False
) -> PackingDecision:
    """How many cores a trial gets of so many, measured on this machine; see `pack_gpu`."""
    slowest = max(costs.values(), key=lambda cost: cost.epoch_seconds)
    return _best(experiment, slowest, on_cpus(cpus), FULL, forecast)


def _best(
    experiment: Experiment, heaviest: Cost, packings: Sequence[Packing], limit: str, forecast: bool
) -> PackingDecision:
    torch.cuda.empty_cache()  # of what this process has measured
    with Crew(experiment.dataset, heaviest.trial) as crew:
        found = climb(packings, crew.rate)
        best = best_packing(found)
        packing, crowding = best.packing, 1.0
        if forecast and packing.trials > 1 and best.rate:
            alone = crew.rate(Packing(1, packing.room)) or 0.0
            crowding = max(1.0, packing.trials * alone / best.rate)
    return PackingDecision(packing.room, format_packings(found, limit), crowding)


def _gpu(experiment: Experiment, nodes: Sequence[Mapping[str, float]]) -> PackingDecision | list[str] | None:
    """In a worker: what it found, the mistakes, or None where torch sees no GPU."""
    if not torch.cuda.is_available():
        return None
    try:
        costs = costs_of(experiment, open_data(experiment.dataset), torch.device("cuda"))
    except ExperimentError as error:
        return list(error.sentences)
    return pack_gpu(experiment, costs, nodes)


def _cpus(experiment: Experiment, cpus: int) -> PackingDecision | list[str]:
    """In a worker that has all cores of a node."""
    try:
        costs = costs_of(experiment, open_data(experiment.dataset), device_for(1, 0))
    except ExperimentError as error:
        return list(error.sentences)
    return pack_cpus(experiment, costs, cpus)


def resources_for(experiment: Experiment, nodes: Sequence[Mapping[str, float]]) -> tuple[Room, str | None]:
    """What a trial is given, and what its user should be told. Ray must be running.

    Args:
        experiment: its `search.resources`.
        nodes: what each has.

    Raises:
        ExperimentError: a trial fails in its first steps.
        ResourceError: a GPU that is too small, or that torch cannot use; more CPUs a trial than there are.
    """
    resources = experiment.search.resources
    if (room := requested_resources(resources, nodes)) is not None:
        return room, None
    if resources.gpu != "auto" or not any(node.get("GPU") for node in nodes):
        return _on_cpus(experiment, nodes)
    cpu = least(resources)
    trials_at_once(Room(cpu, 1), nodes, "Ray")  # else nobody would ever measure
    cores = max(cpu, cpus_a_gpu(nodes) // 1)
    found = _ask_worker(experiment, _gpu, nodes, cpus=cores, gpus=1)
    if found is None:
        raise ResourceError(
            "Ray has a GPU here, and torch in a worker sees none: install a torch that is built for it, or say "
            "`search.resources.gpu=0`"
        )
    return found.room, found.note


def _on_cpus(experiment: Experiment, nodes: Sequence[Mapping[str, float]]) -> tuple[Room, str | None]:
    resources = experiment.search.resources
    lacks = NO_GPU if resources.gpu == "auto" else None
    if resources.cpu != "auto":
        return Room(resources.cpu, 0), lacks
    cpus = int(max(node.get("CPU", 0) for node in nodes))
    found = _ask_worker(experiment, _cpus, cpus, cpus=cpus)
    return found.room, "; ".join(filter(None, (lacks, found.note)))


def _ask_worker(experiment: Experiment, what: Any, there: Any, *, cpus: float, gpus: float = 0) -> Any:
    """The answer of a worker that has as much.

    Raises:
        ExperimentError: a trial failed in it.
    """
    found = ray.get(ray.remote(num_cpus=cpus, num_gpus=gpus, max_calls=1)(what).remote(experiment, there))
    if isinstance(found, list):
        raise ExperimentError(experiment.name, found)
    return found
