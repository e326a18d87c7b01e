"""How many trials at the same time make the most epochs an hour: each packing is tried, by processes that train."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Literal

import torch

from ogmge import fit
from ogmge.config import TrialConfig
from ogmge.trainer import Batch, NonFiniteLoss
from search.backend.device import device_for
from search.backend.resources import Resources, share
from search.run.open_data import open_data

log = logging.getLogger(__name__)

WARM_UP = 2  # steps
SECONDS = 3.0  # of training that are timed, all processes at once
WORTH = 1.05  # times the epochs an hour, for which more trials are taken: fewer at a time leave more to learn from


@dataclass(frozen=True)
class Packing:
    """A way to use a GPU, or the cores of a machine.

    Args:
        trials: at the same time.
        resources: of each.
    """

    trials: int
    resources: Resources


@dataclass(frozen=True)
class Measurement:
    """What came of a packing.

    Args:
        packing: that was tried.
        rate: samples per second that all of its trials train together; None where they found no room.
    """

    packing: Packing
    rate: float | None


# ---- what is tried, and what follows ----


def doublings(most: int) -> list[int]:
    """1, 2, 4, … and the most.

    >>> doublings(8), doublings(6), doublings(1)
    ([1, 2, 4, 8], [1, 2, 4, 6], [1])
    """
    return [*(2**n for n in range((most - 1).bit_length())), most]


def on_a_gpu(cpu: float | Literal["auto"], cpus: float, most: int) -> list[Packing]:
    """The packings of one GPU, from one trial to the most.

    Args:
        cpu: cores of a trial; `auto` is an equal part of them.
        cpus: cores beside the GPU.
        most: trials for which there are memory and cores.
    """
    return [
        Packing(trials, Resources(max(1.0, cpus // trials) if cpu == "auto" else cpu, share(trials)))
        for trials in doublings(most)
    ]


def on_cpus(cpus: int) -> list[Packing]:
    """The packings of a machine's cores, from one trial that has all of them to one for each."""
    found = {cpus // cores: Packing(cpus // cores, Resources(float(cores), 0)) for cores in doublings(cpus)}
    return sorted(found.values(), key=lambda packing: packing.trials)


def climb(packings: Sequence[Packing], rate: Callable[[Packing], float | None]) -> list[Measurement]:
    """What is measured of packings that get denser, up to the first that is slower than one before, or has no room."""
    found: list[Measurement] = []
    for packing in packings:
        best = max((m.rate or 0.0 for m in found), default=0.0)
        found.append(Measurement(packing, rate(packing)))
        if (found[-1].rate or 0.0) <= best:
            break
    return found


def best_packing(found: Sequence[Measurement]) -> Measurement:
    """The packing with the most epochs an hour; of those within reach of it, the one with the fewest trials."""
    best = max(m.rate or 0.0 for m in found)
    return next(m for m in found if (m.rate or 0.0) * WORTH >= best)


def format_packings(found: Sequence[Measurement], limit: str) -> str:
    """A line on what was measured, for whoever waits.

    Args:
        found: see `climb`.
        limit: why there is nothing denser than the last of them.
    """
    best = best_packing(found)
    trials, resources = best.packing.trials, best.packing.resources
    cores = f"{resources.cpu:g} core" + ("s" if resources.cpu != 1 else "")
    where = "a GPU" if resources.gpu else f"at a time, with {cores} each"
    line = f"{trials} trial{'s' if trials > 1 else ''} {where}"
    if trials > 1 and best.rate and found[0].rate:
        line += f": {best.rate / found[0].rate:.1f} times the epochs per hour of one"
    denser = found[found.index(best) + 1 :]
    if not denser:
        return f"{line}; {limit}"
    return f"{line}; {denser[-1].packing.trials} " + (
        "find no room" if denser[-1].rate is None else "would not be faster"
    )


# ---- measuring ----


def _speed(trial: TrialConfig, data: fit.Data, device: torch.device, begin: Callable[[], None]) -> float:
    """Samples per second, from steps that are taken after `begin` returns."""
    trainer, samples = fit.start(trial, data, device), 0

    def epoch() -> Iterator[Batch]:
        return iter(data.train(batch_size=trial.batch_size, seed=trial.seed, epoch=0))

    def until_then() -> Iterator[Batch]:
        nonlocal samples
        for x, y in epoch():
            samples += len(y)
            yield x, y
            if time.perf_counter() - began > SECONDS:
                return

    with suppress(NonFiniteLoss):  # it is the speed that is asked for
        trainer.train_epoch(islice(epoch(), WARM_UP), trial.modulation.start)
    begin()
    began = time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        with suppress(NonFiniteLoss):
            trainer.train_epoch(until_then(), trial.modulation.start)
    return samples / (time.perf_counter() - began)


def _member(told: Connection, dataset: dict[str, Any], trial: TrialConfig) -> None:
    """One of the processes: for each room that it is told, it says when it is ready, waits, and says how fast it was;
    or why it was not."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it ends it

    def begin() -> None:
        told.send(None)
        told.recv()

    try:
        data = open_data(dataset)
        while True:
            room = told.recv()
            told.send(_speed(trial, data, device_for(room.cpu, room.gpu), begin))
    except EOFError:
        return
    except Exception as error:
        told.send(error if isinstance(error, MemoryError) else RuntimeError(f"{type(error).__name__}: {error}"))


class Crew:
    """Processes that train the same configuration, each as a trial of its own, at the same time.

    Args:
        dataset: the experiment's.
        trial: that each of them trains.
    """

    def __init__(self, dataset: dict[str, Any], trial: TrialConfig) -> None:
        self._dataset, self._trial = dataset, trial
        self._members: list[tuple[BaseProcess, Connection]] = []

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for process, told in self._members:
            told.close()
            process.terminate()
        for process, _told in self._members:
            process.join()

    def rate(self, packing: Packing) -> float | None:
        """Samples per second of so many of them together; None where one of them fails, for a lack of memory it may be:
        alone the configuration has trained."""
        while len(self._members) < packing.trials:
            self._join()
        team = [told for _, told in self._members[: packing.trials]]
        try:
            _all(team, packing.resources)  # all are ready
            speeds = _all(team, None)
        except (EOFError, OSError, RuntimeError, MemoryError) as error:
            log.info("%s at the same time: %s", packing.trials, error)
            return None
        return float(sum(speeds))

    def _join(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_member, args=(theirs, self._dataset, self._trial), daemon=True)
        process.start()
        theirs.close()
        self._members.append((process, ours))


def _all(team: Sequence[Connection], word: Any) -> list[Any]:
    """Tells all of them, and has all their answers.

    Raises:
        EOFError, OSError: one has died.
        RuntimeError, MemoryError: one has failed.
    """
    for told in team:
        told.send(word)
    answers = [told.recv() for told in team]
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers
