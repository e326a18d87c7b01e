"""`gpu: auto` and `cpu: auto`: choose the resources of a trial by measuring the heaviest configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import ray
import torch
from ray.exceptions import RayTaskError

from ogmge.fit import Data
from search.backend.costs import costs_of
from search.backend.device import device_for
from search.backend.resources import (
    Peak,
    ResourceError,
    Resources,
    cpus_a_gpu,
    requested_resources,
    trials_at_once,
    trials_on_gpu,
)
from search.backend.step_cost import Cost
from search.backend.throughput import Crew, Packing, best_packing, climb, format_packings, on_a_gpu, on_cpus
from search.experiment.mistakes import UserError
from search.experiment.own_code import search_first
from search.experiment.schema import Experiment, ResourceRequest
from search.run.open_data import open_data

T = TypeVar("T")

NO_GPU = "no GPU was found, so trials train on CPUs (`search.resources.gpu` is auto)"
FULL = "that is one per core"


@dataclass(frozen=True)
class PackingDecision:
    """Resources of a trial, and how they were chosen.

    Args:
        resources: resources of each trial.
        note: note to show to the user.
        crowding: duration of an epoch when all trials run at once, as a multiple of its duration alone with the same
            resources.
    """

    resources: Resources
    note: str | None = None
    crowding: float = 1.0


def peak_of(costs: Mapping[str, Cost]) -> Peak:
    """Return the largest memory peak of configurations that were measured on this process's GPU."""
    label = max(costs, key=lambda name: costs[name].peak_bytes)
    return Peak(label, costs[label].peak_bytes, torch.cuda.get_device_properties(0).total_memory)


def cpus_for(cpu: float, nodes: Sequence[Mapping[str, float]]) -> int:
    """Return the number of trials per GPU for which nodes with GPUs have enough CPUs; 0 if there is no GPU."""
    return max((int(node["CPU"] / node["GPU"] / cpu) or 1 for node in nodes if node.get("GPU")), default=0)


def least_cpu(request: ResourceRequest) -> float:
    """Return the smallest number of cores that a trial can get: 1 if the number will be measured."""
    return 1.0 if request.cpu == "auto" else request.cpu


def pack_gpu(
    experiment: Experiment, costs: Mapping[str, Cost], nodes: Sequence[Mapping[str, float]], *, forecast: bool = False
) -> PackingDecision:
    """Measure on this process's GPU how many trials should share one GPU.

    Args:
        experiment: experiment that defines the trials.
        costs: costs of its configurations, measured on this GPU.
        nodes: resources of each node.
        forecast: whether to measure `crowding` too, which takes a few more seconds.

    Raises:
        ResourceError: if the GPU is too small for a single trial.
    """
    request, peak = experiment.search.resources, peak_of(costs)
    at_most = cpus_for(least_cpu(request), nodes)
    most = trials_on_gpu(peak, at_most)
    scarce = "CPU" if most == at_most else "memory"
    needs = f"{peak.needed_bytes / 1e9:.1f} of the GPU's {peak.total_bytes / 1e9:.1f} GB"
    limit = f"limited by {scarce}: the heaviest configuration ({peak.label}) takes {needs}"
    packings = on_a_gpu(request.cpu, cpus_a_gpu(nodes), most)
    return _measure_packings(experiment, costs[peak.label], packings, limit, forecast)


def pack_cpus(
    experiment: Experiment, costs: Mapping[str, Cost], cpus: int, *, forecast: bool = False
) -> PackingDecision:
    """Measure how many of this machine's cores each trial should get; see `pack_gpu`."""
    slowest = max(costs.values(), key=lambda cost: cost.epoch_seconds)
    return _measure_packings(experiment, slowest, on_cpus(cpus), FULL, forecast)


def _measure_packings(
    experiment: Experiment, heaviest: Cost, packings: Sequence[Packing], limit: str, forecast: bool
) -> PackingDecision:
    torch.cuda.empty_cache()  # free the memory of earlier measurements in this process
    with Crew(experiment.dataset, heaviest.trial) as crew:
        measurements = climb(packings, crew.rate)
        best = best_packing(measurements)
        trials, resources, crowding = best.packing.trials, best.packing.resources, 1.0
        if forecast and trials > 1 and best.rate:
            alone = crew.rate(Packing(1, resources)) or 0.0
            crowding = max(1.0, trials * alone / best.rate)
    return PackingDecision(resources, format_packings(measurements, limit), crowding)


def crowding_of(experiment: Experiment, costs: Mapping[str, Cost], packing: Packing) -> float:
    """Measure how many times as long an epoch takes when all trials run at once on this machine; 1 if it fails."""
    slowest = max(costs.values(), key=lambda cost: cost.epoch_seconds)
    with Crew(experiment.dataset, slowest.trial) as crew:
        together, alone = crew.rate(packing), crew.rate(Packing(1, packing.resources))
    return max(1.0, packing.trials * alone / together) if together and alone else 1.0


def _decide_on_gpu(experiment: Experiment, nodes: Sequence[Mapping[str, float]]) -> PackingDecision:
    """Run in a worker that has a GPU.

    Raises:
        ResourceError: if torch does not see the GPU, or it is too small.
    """
    if not torch.cuda.is_available():
        raise ResourceError(
            "Ray sees a GPU, but torch sees none in Ray's worker: install a build of torch for this GPU, or set "
            "`search.resources.gpu=0`"
        )
    return pack_gpu(experiment, costs_of(experiment, _open(experiment), torch.device("cuda")), nodes)


def _decide_on_cpus(experiment: Experiment, cpus: int) -> PackingDecision:
    """Run in a worker that has all cores of a node."""
    return pack_cpus(experiment, costs_of(experiment, _open(experiment), device_for(1, 0)), cpus)


def _open(experiment: Experiment) -> Data:
    """Open the experiment's data in a worker."""
    search_first(experiment.modules)
    return open_data(experiment.dataset)


def resources_for(experiment: Experiment, nodes: Sequence[Mapping[str, float]]) -> PackingDecision:
    """Choose the resources of a trial: as the file requests, or as a worker measures. Ray must be running.

    Args:
        experiment: experiment whose `search.resources` are read.
        nodes: resources of each node.

    Raises:
        ExperimentError: if a trial fails in its first steps.
        ResourceError: if the GPU is too small, torch cannot use it, or a trial needs more CPUs than any node has.
    """
    request = experiment.search.resources
    if (resources := requested_resources(request, nodes)) is not None:
        return PackingDecision(resources)
    if request.gpu != "auto":
        return _measure_cpus(experiment, nodes)
    cpu = least_cpu(request)
    if not cpus_for(cpu, nodes):  # no node has a GPU
        decision = _measure_cpus(experiment, nodes)
        return replace(decision, note="; ".join(filter(None, (NO_GPU, decision.note))))
    trials_at_once(Resources(cpu, 1), nodes, "Ray")  # otherwise Ray would wait forever for such a node
    return _ask_worker(_decide_on_gpu, experiment, nodes, Resources(max(cpu, cpus_a_gpu(nodes) // 1), 1))


def _measure_cpus(experiment: Experiment, nodes: Sequence[Mapping[str, float]]) -> PackingDecision:
    request = experiment.search.resources
    if request.cpu != "auto":
        return PackingDecision(Resources(request.cpu, 0))
    cpus = int(max(node.get("CPU", 0) for node in nodes))
    return _ask_worker(_decide_on_cpus, experiment, cpus, Resources(cpus, 0))


def _ask_worker(
    decide: Callable[[Experiment, T], PackingDecision], experiment: Experiment, there: T, resources: Resources
) -> PackingDecision:
    """Run `decide` in a worker that has these resources.

    Raises:
        UserError: if the worker raises it.
    """
    task = ray.remote(num_cpus=resources.cpu, num_gpus=resources.gpu, max_calls=1)(decide)
    try:
        decision: PackingDecision = ray.get(task.remote(experiment, there))
    except RayTaskError as error:
        raise (error.cause if isinstance(error.cause, UserError) else error) from None
    return decision
