"""Search for the packing with the most epochs per hour, by training in processes with each packing."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any, Literal

from ogmge import fit
from ogmge.batches import Batch
from ogmge.config import TrialConfig
from ogmge.trainer import NonFiniteLoss, Trainer
from search.backend.device import device_for
from search.backend.resources import Resources, share
from search.run.open_data import open_data

log = logging.getLogger(__name__)

WARM_UP = 2  # steps
SECONDS = 3.0  # timed training, all processes at once
WORTH = 1.05  # a denser packing must be faster by this factor: with fewer trials at once, each learns from more results


@dataclass(frozen=True)
class Packing:
    """Number of trials that share a GPU, or the cores of a machine.

    Args:
        trials: number of trials that run at the same time.
        resources: resources of each trial.
    """

    trials: int
    resources: Resources


@dataclass(frozen=True)
class Measurement:
    """Measured speed of a packing.

    Args:
        packing: packing that was measured.
        rate: samples per second of all trials together; None if one of them failed.
    """

    packing: Packing
    rate: float | None

    @property
    def speed(self) -> float:
        """Rate, or 0 if there is none."""
        return self.rate or 0.0


# ---- packings to try, and the choice ----


def doublings(most: int) -> list[int]:
    """Return 1, 2, 4, … up to `most`, and `most` itself.

    >>> doublings(8), doublings(6), doublings(1)
    ([1, 2, 4, 8], [1, 2, 4, 6], [1])
    """
    return [*(2**n for n in range((most - 1).bit_length())), most]


def on_a_gpu(cpu: float | Literal["auto"], cpus: float, most: int) -> list[Packing]:
    """Return the packings of one GPU, from a single trial to the largest number.

    Args:
        cpu: cores per trial; `auto` divides the cores equally.
        cpus: number of cores per GPU.
        most: largest number of trials for which there are memory and cores.
    """
    return [
        Packing(trials, Resources(max(1.0, cpus // trials) if cpu == "auto" else cpu, share(trials)))
        for trials in doublings(most)
    ]


def on_cpus(cpus: int) -> list[Packing]:
    """Return the packings of a machine's cores, from one trial with all cores to one trial per core."""
    found = {cpus // cores: Packing(cpus // cores, Resources(float(cores), 0)) for cores in doublings(cpus)}
    return sorted(found.values(), key=lambda packing: packing.trials)


def climb(packings: Sequence[Packing], rate: Callable[[Packing], float | None]) -> list[Measurement]:
    """Measure ever denser packings, up to the first that fails or is no faster than an earlier one."""
    measurements: list[Measurement] = []
    for packing in packings:
        fastest = max((m.speed for m in measurements), default=0.0)
        measurements.append(Measurement(packing, rate(packing)))
        if measurements[-1].speed <= fastest:
            break
    return measurements


def best_packing(measurements: Sequence[Measurement]) -> Measurement:
    """Return the measurement with the fewest trials that is within a factor `WORTH` of the fastest."""
    fastest = max(m.speed for m in measurements)
    return next(m for m in measurements if m.speed * WORTH >= fastest)


def format_packings(measurements: Sequence[Measurement], limit: str) -> str:
    """Describe the measurements and the choice in one line.

    Args:
        measurements: result of `climb`.
        limit: reason why no denser packing exists.
    """
    one, best = measurements[0], best_packing(measurements)
    trials, resources = best.packing.trials, best.packing.resources
    where = "per GPU" if resources.gpu else f"at a time, with {_format_count(resources.cpu, 'core')} each"
    line = f"{_format_count(trials, 'trial')} {where}"
    if trials > 1 and one.rate:
        line += f": {best.speed / one.rate:.1f} times the epochs per hour of one"
    if best == measurements[-1]:
        return f"{line}; {limit}"
    densest = measurements[-1]
    return f"{line}; {densest.packing.trials} {'do not fit' if densest.rate is None else 'would not be faster'}"


def _format_count(number: float, thing: str) -> str:
    return f"{number:g} {thing}" + "s" * (number != 1)


# ---- measuring: each process answers each request with one reply ----


@dataclass(frozen=True)
class Prepare:
    """Request to start a trial with these resources and train its first steps."""

    resources: Resources


@dataclass(frozen=True)
class Measure:
    """Request to continue training for `SECONDS`."""


@dataclass(frozen=True)
class Done:
    """Reply to a successful request.

    Args:
        rate: samples per second, for a `Measure` request.
    """

    rate: float = 0.0


class MemberError(RuntimeError):
    """Reply to a failed request, with the reason."""


class _Member:
    """A trial that trains in one process of a crew."""

    def __init__(self, dataset: dict[str, Any], trial: TrialConfig) -> None:
        self._dataset, self._trial = dataset, trial
        self._trainer: Trainer | None = None

    @cached_property
    def _data(self) -> fit.Data:
        return open_data(self._dataset)

    def answer(self, request: Prepare | Measure) -> Done | MemberError:
        trainer, self._trainer = self._trainer, None  # on any outcome its memory is freed for the next request
        try:
            if isinstance(request, Prepare):
                del trainer
                self._trainer = self._prepare(request.resources)
                return Done()
            assert trainer is not None, "`Prepare` comes first"
            return Done(self._rate(trainer))
        except Exception as error:
            return MemberError(f"{type(error).__name__}: {error}")

    def _batches(self) -> Iterator[Batch]:
        return iter(self._data.train(batch_size=self._trial.batch_size, seed=self._trial.seed, epoch=0))

    def _prepare(self, resources: Resources) -> Trainer:
        trainer = fit.start(self._trial, self._data, device_for(resources.cpu, resources.gpu))
        self._train(trainer, islice(self._batches(), WARM_UP))
        return trainer

    def _train(self, trainer: Trainer, batches: Iterator[Batch]) -> None:
        with suppress(NonFiniteLoss):  # only the speed matters
            trainer.train_epoch(batches, self._trial.modulation.start)

    def _rate(self, trainer: Trainer) -> float:
        """Return samples per second."""
        samples, until = 0, time.perf_counter() + SECONDS

        def count() -> Iterator[Batch]:
            nonlocal samples
            for x, y in self._batches():
                samples += len(y)
                yield x, y
                if time.perf_counter() > until:
                    return

        while time.perf_counter() < until:
            self._train(trainer, count())
        return samples / (time.perf_counter() - until + SECONDS)


def _serve(crew: Connection, dataset: dict[str, Any], trial: TrialConfig) -> None:
    """Answer requests in a process until the crew is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the crew ends this process
    member = _Member(dataset, trial)
    with suppress(EOFError, ConnectionError):
        while True:
            crew.send(member.answer(crew.recv()))


class Crew:
    """Processes that train the same configuration at the same time, each as a separate trial.

    They are forked from a server that has only imported torch and this module, so that this happens once.

    Args:
        dataset: dataset section of the experiment.
        trial: configuration that each process trains.
    """

    def __init__(self, dataset: dict[str, Any], trial: TrialConfig) -> None:
        self._dataset, self._trial = dataset, trial
        self._members: list[tuple[BaseProcess, Connection]] = []

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for process, member in self._members:
            member.close()
            process.terminate()
        for process, _member in self._members:
            process.join()

    def rate(self, packing: Packing) -> float | None:
        """Measure a packing; return the samples per second of all trials together, or None if one of them fails.

        The usual reason for a failure is memory, because the configuration has already trained alone.
        """
        while len(self._members) < packing.trials:
            self._start_member()
        team = [member for _, member in self._members[: packing.trials]]
        try:
            _ask_all(team, Prepare(packing.resources))
            return sum(done.rate for done in _ask_all(team, Measure()))
        except (EOFError, OSError, MemberError) as error:
            log.info("%s at the same time: %s", packing.trials, error)
            return None

    def _start_member(self) -> None:
        context = _context()
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._dataset, self._trial), daemon=True)
        process.start()
        theirs.close()
        self._members.append((process, ours))


def _context() -> SpawnContext | ForkServerContext:
    """Return how processes start: forked from a server, but not on macOS, whose libraries do not survive a fork."""
    if sys.platform == "darwin":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", __name__])  # torch is preloaded even if this module cannot be imported
    return context


def _ask_all(team: Sequence[Connection], request: Prepare | Measure) -> list[Done]:
    """Send a request to all processes, and wait for all replies.

    Raises:
        EOFError, OSError: if a process has died.
        MemberError: if a process has failed.
    """
    for member in team:
        member.send(request)
    done = []
    for reply in [member.recv() for member in team]:  # all replies are received before any is checked
        if isinstance(reply, MemberError):
            raise reply
        done.append(reply)
    return done
