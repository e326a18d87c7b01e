"""How much of a machine a trial gets: what its file says, or what was measured; more where it ran out of memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from search.experiment.mistakes import UserError
from search.experiment.schema import ResourceRequest

CONTEXT_BYTES = 600_000_000  # of a GPU's memory that a process takes before its first tensor
MARGIN = 1.1  # of the measured peak: memory is taken in blocks, and not each step takes as much as those measured


class ResourceError(UserError):
    """A trial asks for more than any machine here has."""


@dataclass(frozen=True)
class Resources:
    """What a trial is given."""

    cpu: float
    gpu: float

    def __str__(self) -> str:
        return " and ".join(f"{amount:g} {kind}" for kind, amount in self.amounts.items())

    @property
    def amounts(self) -> dict[str, float]:
        """By kind, as Ray names them: `CPU`, and `GPU` where there is any."""
        return {"CPU": self.cpu, **({"GPU": self.gpu} if self.gpu else {})}

    def trials_on(self, node: Mapping[str, float]) -> int:
        """How many trials fit at the same time on a node with so many `CPU` and `GPU`."""
        return min(int(node.get(kind, 0) / amount + 1e-9) for kind, amount in self.amounts.items())


@dataclass(frozen=True)
class Peak:
    """The memory of a GPU, and what the heaviest configuration takes of it.

    Args:
        label: of the configuration.
        needed_bytes: by its tensors.
        total_bytes: of the GPU.
    """

    label: str
    needed_bytes: int
    total_bytes: int


def trials_at_once(resources: Resources, nodes: Sequence[Mapping[str, float]], owner: str) -> int:
    """How many trials fit at the same time on nodes with so many `CPU` and `GPU` each.

    Raises:
        ResourceError: not even one fits on any.
    """
    if fitting := sum(map(resources.trials_on, nodes)):
        return fitting
    most = {kind: max(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU")}
    where = "here" if len(nodes) == 1 else "on any one of its nodes"
    for kind, amount in resources.amounts.items():
        if amount > most[kind]:
            raise ResourceError(
                f"`search.resources.{kind.lower()}` asks for {amount:g} {kind} a trial, but {owner} has no more than "
                f"{most['CPU']:g} CPU and {most['GPU']:g} GPU {where}: ask for less"
            )
    raise ResourceError(
        f"`search.resources` asks for {resources} a trial, but no node of {owner} has both: ask for less"
    )


def trials_on_gpu(peak: Peak, at_most: int) -> int:
    """How many trials of the heaviest configuration are sure to fit on a GPU.

    Args:
        peak: memory of one.
        at_most: trials on a GPU for which there are CPUs.

    Raises:
        ResourceError: the GPU is too small for one.
    """
    if peak.needed_bytes + CONTEXT_BYTES > peak.total_bytes:
        raise ResourceError(
            f"the heaviest configuration ({peak.label}) takes {peak.needed_bytes / 1e9:.1f} GB, and a GPU here has "
            f"{peak.total_bytes / 1e9:.1f} GB: bf16, or `trial.accumulate` = 2 and more, needs less"
        )
    return max(1, min(int(peak.total_bytes / (peak.needed_bytes * MARGIN + CONTEXT_BYTES)), at_most))


def share(trials: int) -> float:
    """The part of a GPU that each of so many gets, as finely as Ray counts.

    >>> share(3)
    0.3333
    """
    return math.floor(10_000 / trials) / 10_000


def resource_levels(first: Resources, most_cpu: float) -> list[Resources]:
    """What a trial is given: at first, after it has run out of memory, and after it has done so again.

    Twice as much, then a whole GPU to itself, or all CPUs of a node where it trains on these.

    Args:
        first: what it is given at first.
        most_cpu: of any node.

    >>> [str(level) for level in resource_levels(Resources(1, 0.25), 8)]
    ['1 CPU and 0.25 GPU', '1 CPU and 0.5 GPU', '1 CPU and 1 GPU']
    >>> [str(level) for level in resource_levels(Resources(2, 0), 4)]
    ['2 CPU', '4 CPU']
    """
    key, now, limit = ("gpu", first.gpu, 1.0) if first.gpu else ("cpu", first.cpu, most_cpu)
    more = (max(now, min(2 * now, limit)), max(now, limit))
    return list(dict.fromkeys([first, *(replace(first, **{key: amount}) for amount in more)]))


def cpus_a_gpu(nodes: Sequence[Mapping[str, float]]) -> float:
    """How many CPUs there are for each GPU, where there are fewest; 0 where there is no GPU."""
    return min((node.get("CPU", 0) / node["GPU"] for node in nodes if node.get("GPU")), default=0.0)


def cores_each(processes: int, nodes: Sequence[Mapping[str, float]]) -> float:
    """Cores for each of so many processes, spread evenly over nodes.

    >>> cores_each(3, [{"CPU": 8}, {"CPU": 9}]), cores_each(1, [{"CPU": 8}, {"CPU": 8}]), cores_each(4, [{"CPU": 2}])
    (4.0, 8.0, 1.0)
    """
    there = [node["CPU"] for node in nodes if node.get("CPU")]
    return float(max(1, min(there) // math.ceil(processes / len(there))))


def requested_resources(request: ResourceRequest, nodes: Sequence[Mapping[str, float]]) -> Resources | None:
    """The resources that a file asks for; None where they are to be measured. Beside a part of a GPU, `cpu: auto` is
    the same part of its CPUs."""
    cpu, gpu = request.cpu, request.gpu
    if gpu == "auto" or (cpu == "auto" and not gpu):
        return None
    return Resources(max(1.0, cpus_a_gpu(nodes) * gpu // 1) if cpu == "auto" else cpu, gpu)
