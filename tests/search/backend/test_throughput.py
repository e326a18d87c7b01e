"""Packings of a machine: which are tried, which is chosen, and that their trials train at the same time."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ogmge.config import Modulation, TrialConfig
from search.backend import throughput
from search.backend.resources import Resources
from search.backend.throughput import (
    Crew,
    Measurement,
    Packing,
    best_packing,
    climb,
    format_packings,
    on_a_gpu,
    on_cpus,
)
from tests.support.own_data import Vectors
from tests.support.tells import tells

TRIAL = TrialConfig(encoder="mlp", batch_size=16, modulation=Modulation(parameters="all"))
QUICK = "tests.search.backend.test_throughput:Quick"


@dataclass(frozen=True)
class Quick(Vectors):
    """Data that shorten the measurement to half a second in the process that opens them."""

    def open(self) -> Quick:
        throughput.SECONDS = 0.5
        return self


def measured(*rates: float | None) -> list[Measurement]:
    """Return measurements of 1, 2, 4, … trials per GPU."""
    return [Measurement(Packing(2**n, Resources(1, 1 / 2**n)), rate) for n, rate in enumerate(rates)]


# ---- which packings are tried ----


def test_the_packings_of_a_gpu():
    assert on_a_gpu(2, 16, 6) == [
        Packing(n, Resources(2, part)) for n, part in ((1, 1), (2, 0.5), (4, 0.25), (6, 0.1666))
    ]
    assert [p.resources.cpu for p in on_a_gpu("auto", 14, 8)] == [14, 7, 3, 1]


@pytest.mark.parametrize(
    ("cpus", "found"),
    [
        (1, [(1, 1)]),
        (2, [(1, 2), (2, 1)]),
        (6, [(1, 6), (3, 2), (6, 1)]),  # no trial with four cores, which would leave two idle
        (16, [(1, 16), (2, 8), (4, 4), (8, 2), (16, 1)]),
    ],
)
def test_the_packings_of_cores(cpus, found):
    assert [(p.trials, p.resources.cpu) for p in on_cpus(cpus)] == found


@pytest.mark.parametrize(
    ("rates", "tried"),
    [
        ([10, 20, 30, 40], 4),
        ([10, 20, 19, 40], 3),
        ([10, 10, 20, 40], 2),
        ([10, 11, None, 40], 3),
        ([10], 1),
    ],
)
def test_denser_packings_are_tried_while_they_are_faster(rates, tried):
    left = iter(rates)
    assert climb([m.packing for m in measured(*rates)], lambda _: next(left)) == measured(*rates[:tried])


# ---- which packing is chosen ----


@pytest.mark.parametrize(
    ("rates", "trials", "facts"),
    [
        ([10, 18, 31, 30], 4, ("4 trials", "3.1 times", 8, "faster")),
        ([10, 18, 31], 4, ("4 trials", "3.1 times", "the limit")),
        ([10, 18, None], 2, ("2 trials", "1.8 times", 4, "do not fit")),
        ([10, 18, 18.5, 18], 2, ("2 trials", "1.8 times", 8, "faster")),
        ([10, 10.4], 1, ("1 trial", 2, "faster")),
        ([10, 10.6], 2, ("2 trials", "1.1 times", "the limit")),
        ([10], 1, ("1 trial", "the limit")),
        ([None], 1, ("1 trial", "the limit")),
    ],
)
def test_the_most_epochs_an_hour_are_taken(rates, trials, facts):
    assert best_packing(measured(*rates)).packing.trials == trials
    line = format_packings(measured(*rates), "the limit")
    tells(line, *facts, "per GPU")
    assert figures(line) == figures(" ".join(map(str, facts)))
    assert ("the limit" in line) is ("the limit" in facts)


def figures(line: str) -> list[str]:
    return sorted(re.findall(r"\d[\d.]*", line))


def test_a_line_on_cores():
    found = [Measurement(packing, rate) for packing, rate in zip(on_cpus(4), (10.0, 15.0, 14.0), strict=True)]
    line = format_packings(found, "")
    tells(line, "2 trials", "2 cores", "1.5 times", 4, "faster")
    assert len(figures(line)) == 4


@given(st.lists(st.floats(0.1, 1e6) | st.none(), min_size=1, max_size=6))
def test_none_is_much_faster_than_what_is_taken_and_none_with_fewer_trials_as_fast(rates):
    found = measured(*rates)
    taken = best_packing(found)
    known = [rate for rate in rates if rate is not None]
    assert not known or (taken.rate or 0) * throughput.WORTH >= max(known)
    assert all((m.rate or 0) * throughput.WORTH < max(known) for m in found[: found.index(taken)])


# ---- measuring, with real processes ----


def test_a_packing_has_the_rate_of_all_its_trials_and_none_once_a_process_has_died():
    before = set(multiprocessing.active_children())
    with Crew({"name": QUICK}, TRIAL) as crew:
        one = crew.rate(Packing(1, Resources(1, 0)))
        [first] = set(multiprocessing.active_children()) - before
        two = crew.rate(Packing(2, Resources(1, 0)))
        [second] = set(multiprocessing.active_children()) - before - {first}
        assert first.is_alive()  # it is used again
        os.kill(second.pid, signal.SIGKILL)
        assert crew.rate(Packing(2, Resources(1, 0))) is None
    assert one is not None
    assert two is not None
    assert one > 0 < two
    assert not any(process.is_alive() for process in (first, second))


def test_a_trial_that_fails_has_found_no_room():
    with Crew({"name": "tests.support.own_data:Broken"}, TRIAL) as crew:
        assert crew.rate(Packing(1, Resources(1, 0))) is None


@dataclass(frozen=True)
class OneCore(Quick):
    """Data that raise MemoryError with more than one thread."""

    def train(self, *, batch_size, seed, epoch):
        if torch.get_num_threads() > 1:
            raise MemoryError
        return super().train(batch_size=batch_size, seed=seed, epoch=epoch)


def test_after_a_packing_that_failed_another_is_measured():
    """The forecast needs this, to measure the speed of a single trial."""
    with Crew({"name": "tests.search.backend.test_throughput:OneCore"}, TRIAL) as crew:
        assert crew.rate(Packing(1, Resources(2, 0))) is None
        assert crew.rate(Packing(1, Resources(1, 0))) is not None


def test_a_process_has_nothing_to_import_that_the_server_has():
    """Importing torch takes seconds, and must not happen in each process."""
    with Crew({"name": QUICK}, TRIAL) as crew:
        crew.rate(Packing(1, Resources(1, 0)))
        [(process, _)] = crew._members
        server = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[1])
        assert server != os.getpid()
        assert "torch" in Path(f"/proc/{server}/maps").read_text()
        assert "/nvidia" not in "".join(os.readlink(link) for link in Path(f"/proc/{server}/fd").iterdir())
