"""Resources of a trial: as requested or measured, and more after it has run out of memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from search.experiment.mistakes import UserError
from search.experiment.schema import ResourceRequest

CONTEXT_BYTES = 600_000_000  # GPU memory that a process takes before its first tensor
MARGIN = 1.1  # times the measured peak: memory is allocated in blocks, and later steps may need more


class ResourceError(UserError):
    """A trial that needs more than any available machine has."""


@dataclass(frozen=True)
class Resources:
    """CPUs and GPUs of a trial."""

    cpu: float
    gpu: float

    def __str__(self) -> str:
        return " and ".join(f"{amount:g} {kind}" for kind, amount in self.amounts.items())

    @property
    def amounts(self) -> dict[str, float]:
        """Amounts by Ray's names: `CPU`, and `GPU` if there is any."""
        return {"CPU": self.cpu, **({"GPU": self.gpu} if self.gpu else {})}

    def trials_on(self, node: Mapping[str, float]) -> int:
        """Return the number of trials that fit on a node at the same time.

        Args:
            node: resources of the node, `CPU` and `GPU`.
        """
        return min(int(node.get(kind, 0) / amount + 1e-9) for kind, amount in self.amounts.items())


@dataclass(frozen=True)
class Peak:
    """GPU memory, and how much of it the heaviest configuration needs.

    Args:
        label: label of the configuration.
        needed_bytes: memory of its tensors.
        total_bytes: memory of the GPU.
    """

    label: str
    needed_bytes: int
    total_bytes: int


def trials_at_once(resources: Resources, nodes: Sequence[Mapping[str, float]], owner: str) -> int:
    """Return the number of trials that fit on all nodes at the same time.

    Args:
        resources: resources of each trial.
        nodes: `CPU` and `GPU` of each node.
        owner: name of the machine or cluster, for error messages.

    Raises:
        ResourceError: if not even one trial fits on any node.
    """
    if fitting := sum(map(resources.trials_on, nodes)):
        return fitting
    most = {kind: max(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU")}
    where = "" if len(nodes) == 1 else " on any of its nodes"
    for kind, amount in resources.amounts.items():
        if amount > most[kind]:
            raise ResourceError(
                f"`search.resources.{kind.lower()}` asks for {amount:g} {kind} per trial, but {owner} has at most "
                f"{most['CPU']:g} CPU and {most['GPU']:g} GPU{where}: ask for less"
            )
    raise ResourceError(
        f"`search.resources` asks for {resources} per trial, but no node of {owner} has both: ask for less"
    )


def trials_on_gpu(peak: Peak, at_most: int) -> int:
    """Return the number of trials of the heaviest configuration that fit on a GPU with a safety margin.

    Args:
        peak: memory that one trial needs.
        at_most: number of trials per GPU for which there are CPUs.

    Raises:
        ResourceError: if the GPU is too small for a single trial.
    """
    if peak.needed_bytes + CONTEXT_BYTES > peak.total_bytes:
        raise ResourceError(
            f"the heaviest configuration ({peak.label}) needs {peak.needed_bytes / 1e9:.1f} GB of memory, but a GPU "
            f"here has {peak.total_bytes / 1e9:.1f} GB: set `trial.precision` to bf16, or "
            "`trial.accumulate` to 2 or more"
        )
    return max(1, min(int(peak.total_bytes / (peak.needed_bytes * MARGIN + CONTEXT_BYTES)), at_most))


def share(trials: int) -> float:
    """Return the share of a GPU for each of several trials, rounded down to Ray's precision.

    >>> share(3)
    0.3333
    """
    return math.floor(10_000 / trials) / 10_000


def resource_levels(first: Resources, most_cpu: float) -> list[Resources]:
    """Return the resources of a trial at first, after it has run out of memory, and after it has done so again.

    The second level doubles the GPU share; the third is a whole GPU. On CPUs, the cores are doubled, then all cores of
    a node are used.

    Args:
        first: resources at first.
        most_cpu: largest number of CPUs of any node.

    >>> [str(level) for level in resource_levels(Resources(1, 0.25), 8)]
    ['1 CPU and 0.25 GPU', '1 CPU and 0.5 GPU', '1 CPU and 1 GPU']
    >>> [str(level) for level in resource_levels(Resources(2, 0), 4)]
    ['2 CPU', '4 CPU']
    """
    key, now, limit = ("gpu", first.gpu, 1.0) if first.gpu else ("cpu", first.cpu, most_cpu)
    more = (max(now, min(2 * now, limit)), max(now, limit))
    return list(dict.fromkeys([first, *(replace(first, **{key: amount}) for amount in more)]))


def cpus_a_gpu(nodes: Sequence[Mapping[str, float]]) -> float:
    """Return the number of CPUs per GPU, on the node with the fewest; 0 if there is no GPU."""
    return min((node.get("CPU", 0) / node["GPU"] for node in nodes if node.get("GPU")), default=0.0)


def cores_each(processes: int, nodes: Sequence[Mapping[str, float]]) -> float:
    """Return the number of cores per process if processes are spread evenly over nodes.

    >>> cores_each(3, [{"CPU": 8}, {"CPU": 9}]), cores_each(1, [{"CPU": 8}, {"CPU": 8}]), cores_each(4, [{"CPU": 2}])
    (4.0, 8.0, 1.0)
    """
    there = [node["CPU"] for node in nodes if node.get("CPU")]
    return float(max(1, min(there) // math.ceil(processes / len(there))))


def requested_resources(request: ResourceRequest, nodes: Sequence[Mapping[str, float]]) -> Resources | None:
    """Return the resources that a file asks for; None if they must be measured.

    With a share of a GPU, `cpu: auto` means the same share of the CPUs.
    """
    cpu, gpu = request.cpu, request.gpu
    if gpu == "auto" or (cpu == "auto" and not gpu):
        return None
    return Resources(max(1.0, cpus_a_gpu(nodes) * gpu // 1) if cpu == "auto" else cpu, gpu)
