"""How many trials at the same time make the most epochs an hour: each packing is tried, by processes that train."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Literal

from ogmge import fit
from ogmge.config import TrialConfig
from ogmge.trainer import Batch, NonFiniteLoss, Trainer
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
        rate: samples per second that all of its trials train together; None where one of them failed.
    """

    packing: Packing
    rate: float | None

    @property
    def speed(self) -> float:
        """The rate; 0 where there is none."""
        return self.rate or 0.0


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
    """Measures packings that get denser, up to the first that is no faster than one before, or fails."""
    measurements: list[Measurement] = []
    for packing in packings:
        fastest = max((m.speed for m in measurements), default=0.0)
        measurements.append(Measurement(packing, rate(packing)))
        if measurements[-1].speed <= fastest:
            break
    return measurements


def best_packing(measurements: Sequence[Measurement]) -> Measurement:
    """The packing with the most epochs an hour; of those within reach of it, the one with the fewest trials."""
    fastest = max(m.speed for m in measurements)
    return next(m for m in measurements if m.speed * WORTH >= fastest)


def format_packings(measurements: Sequence[Measurement], limit: str) -> str:
    """A line on what was measured, for the user who waits.

    Args:
        measurements: see `climb`.
        limit: why there is nothing denser than the last of them.
    """
    one, best = measurements[0], best_packing(measurements)
    trials, resources = best.packing.trials, best.packing.resources
    where = "a GPU" if resources.gpu else f"at a time, with {_format_count(resources.cpu, 'core')} each"
    line = f"{_format_count(trials, 'trial')} {where}"
    if trials > 1 and one.rate:
        line += f": {best.speed / one.rate:.1f} times the epochs per hour of one"
    if best == measurements[-1]:
        return f"{line}; {limit}"
    densest = measurements[-1]
    return f"{line}; {densest.packing.trials} {'find no room' if densest.rate is None else 'would not be faster'}"


def _format_count(number: float, thing: str) -> str:
    return f"{number:g} {thing}" + "s" * (number != 1)


# ---- measuring: a process answers each request with a reply ----


@dataclass(frozen=True)
class Prepare:
    """Asks for a trial with these resources that has taken its first steps."""

    resources: Resources


@dataclass(frozen=True)
class Measure:
    """Asks the trial to train on for `SECONDS`."""


@dataclass(frozen=True)
class Done:
    """The reply to a request that was met.

    Args:
        rate: samples per second, of a measurement.
    """

    rate: float = 0.0


class MemberError(RuntimeError):
    """The reply to a request that was not met: the reason."""


class _Member:
    """What a process of a crew does: it trains a trial."""

    def __init__(self, dataset: dict[str, Any], trial: TrialConfig) -> None:
        self._dataset, self._trial = dataset, trial
        self._trainer: Trainer | None = None

    @cached_property
    def _data(self) -> fit.Data:
        return open_data(self._dataset)

    def answer(self, request: Prepare | Measure) -> Done | MemberError:
        trainer, self._trainer = self._trainer, None  # whatever happens, its memory is free for the next
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
        with suppress(NonFiniteLoss):  # it is the speed that is asked for
            trainer.train_epoch(batches, self._trial.modulation.start)

    def _rate(self, trainer: Trainer) -> float:
        """Samples per second."""
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
    """In a process: answers requests until the crew is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the crew ends it
    member = _Member(dataset, trial)
    with suppress(EOFError, ConnectionError):
        while True:
            crew.send(member.answer(crew.recv()))


class Crew:
    """Processes that train the same configuration, each as a trial of its own, at the same time.

    They are forked from a server that has imported torch and this module, once for all of them, and begun nothing.

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
        for process, member in self._members:
            member.close()
            process.terminate()
        for process, _member in self._members:
            process.join()

    def rate(self, packing: Packing) -> float | None:
        """Samples per second of so many of them together; None where one of them fails, for a lack of memory it may be:
        alone the configuration has trained."""
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
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["torch", __name__])  # torch is found also where this module is not
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._dataset, self._trial), daemon=True)
        process.start()
        theirs.close()
        self._members.append((process, ours))


def _ask_all(team: Sequence[Connection], request: Prepare | Measure) -> list[Done]:
    """Sends a request to all of them, and waits for all their replies.

    Raises:
        EOFError, OSError: one has died.
        MemberError: one has failed.
    """
    for member in team:
        member.send(request)
    done = []
    for reply in [member.recv() for member in team]:  # of all of them, before any is looked at
        if isinstance(reply, MemberError):
            raise reply
        done.append(reply)
    return done
