"""How much of a machine a trial gets: what its file says, or what was measured; more where it ran out of memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search.experiment.mistakes import UserError
from search.experiment.schema import Resources

CONTEXT_BYTES = 600_000_000  # of a GPU's memory that a process takes before its first tensor
MARGIN = 1.1  # of the measured peak: memory is taken in blocks, and not each step takes as much as those measured


class ResourceError(UserError):
    """A trial asks for more than any machine here has."""


@dataclass(frozen=True)
class Room:
    """What a trial is given."""

    cpu: float
    gpu: float

    def __str__(self) -> str:
        return f"{self.cpu:g} CPU" + (f" and {self.gpu:g} GPU" if self.gpu else "")


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


def trials_at_once(room: Room, nodes: Sequence[Mapping[str, float]], owner: str) -> int:
    """How many trials fit at the same time on nodes with so many `CPU` and `GPU` each.

    Raises:
        ResourceError: not even one fits on any.
    """
    wanted = [(kind, amount) for kind, amount in (("CPU", room.cpu), ("GPU", room.gpu)) if amount]
    if found := sum(min(int(node.get(kind, 0) / amount + 1e-9) for kind, amount in wanted) for node in nodes):
        return found
    most = {kind: max(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU")}
    short = [(kind, amount) for kind, amount in wanted if amount > most[kind]]
    if not short:
        raise ResourceError(
            f"`search.resources` asks for {room} a trial, but no node of {owner} has both: ask for less"
        )
    where = "here" if len(nodes) == 1 else "on any one of its nodes"
    raise ResourceError(
        f"`search.resources.{short[0][0].lower()}` asks for {short[0][1]:g} {short[0][0]} a trial, but {owner} has no "
        f"more than {most['CPU']:g} CPU and {most['GPU']:g} GPU {where}: ask for less"
    )


def fit(peak: Peak, at_most: int) -> int:
    """How many trials of the heaviest configuration are sure to find room on a GPU.

    Args:
        peak: what one takes.
        at_most: trials on a GPU for which there are CPUs.

    Raises:
        ResourceError: the GPU is too small for one.
    """
    takes = peak.needed_bytes * MARGIN + CONTEXT_BYTES
    if peak.needed_bytes + CONTEXT_BYTES > peak.total_bytes:
        raise ResourceError(
            f"the heaviest configuration ({peak.label}) takes {peak.needed_bytes / 1e9:.1f} GB, and a GPU here has "
            f"{peak.total_bytes / 1e9:.1f} GB: bf16, or `trial.accumulate` = 2 and more, needs less"
        )
    return max(1, min(int(peak.total_bytes / takes), at_most))


def share(trials: int) -> float:
    """The part of a GPU that each of so many gets, as finely as Ray counts.

    >>> share(3)
    0.3333
    """
    return math.floor(10_000 / trials) / 10_000


def larger(first: Room, most_cpu: float) -> list[Room]:
    """What a trial is given: at first, after it has run out of memory, and after it has done so again.

    Twice as much, then a whole GPU to itself, or all CPUs of a node where it trains on these.

    Args:
        first: what it is given at first.
        most_cpu: of any node.

    >>> [str(room) for room in larger(Room(1, 0.25), 8)]
    ['1 CPU and 0.25 GPU', '1 CPU and 0.5 GPU', '1 CPU and 1 GPU']
    >>> [str(room) for room in larger(Room(2, 0), 4)]
    ['2 CPU', '4 CPU']
    """
    if first.gpu:
        more = [Room(first.cpu, min(1.0, 2 * first.gpu)), Room(first.cpu, 1.0)] if first.gpu < 1 else []
    else:
        more = [Room(min(most_cpu, 2 * first.cpu), 0), Room(most_cpu, 0)] if first.cpu < most_cpu else []
    return list(dict.fromkeys([first, *more]))


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


def requested_resources(resources: Resources, nodes: Sequence[Mapping[str, float]]) -> Room | None:
    """The room that a file asks for, beside a part of a GPU the same part of its CPUs; None where it is to be
    measured."""
    cpu, gpu = resources.cpu, resources.gpu
    if gpu == "auto" or (cpu == "auto" and not gpu):
        return None
    return Room(max(1.0, cpus_a_gpu(nodes) * gpu // 1) if cpu == "auto" else cpu, gpu)
