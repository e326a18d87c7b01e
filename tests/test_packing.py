"""How many trials fit, how much of a GPU one gets, and what it gets when that was too little."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from search.execution import packing, probe
from search.execution.cluster import nodes
from search.execution.packing import CONTEXT_BYTES, Peak, ResourceError, Room, larger, share, trials_at_once
from search.experiment import ExperimentError
from tests.test_session import experiment


@pytest.mark.parametrize(
    ("room", "nodes", "fit"),
    [
        (Room(1, 0), [{"CPU": 8, "GPU": 2}], 8),
        (Room(4, 0), [{"CPU": 8, "GPU": 2}], 2),
        (Room(1, 0.5), [{"CPU": 8, "GPU": 2}], 4),
        (Room(1, 0.3333), [{"CPU": 8, "GPU": 1}], 3),
        (Room(0.1, 0), [{"CPU": 0.3}], 3),  # 0.3 / 0.1 is 2.9999…
        (Room(3, 0.25), [{"CPU": 8, "GPU": 2}], 2),
        (Room(8, 2), [{"CPU": 8, "GPU": 2}], 1),
        (Room(3, 0), [{"CPU": 4}, {"CPU": 4}, {"CPU": 2}], 2),  # not three of the ten CPUs
        (Room(1, 1), [{"CPU": 4}, {"CPU": 4, "GPU": 1}], 1),
    ],
)
def test_as_many_run_at_once_as_fit_on_each_node(room, nodes, fit):
    assert trials_at_once(room, nodes, "Ray") == fit


@pytest.mark.parametrize(
    ("room", "nodes", "sentence"),
    [
        (
            Room(1, 1),
            [{"CPU": 8}],
            "`search.resources.gpu` asks for 1 GPU a trial, but Ray has no more than 8 CPU and 0 GPU here: ask for "
            "less",
        ),
        (
            Room(6, 0),
            [{"CPU": 4}, {"CPU": 4}],
            "`search.resources.cpu` asks for 6 CPU a trial, but Ray has no more than 4 CPU and 0 GPU on any one of its "
            "nodes: ask for less",
        ),
        (
            Room(8, 1),
            [{"CPU": 8}, {"CPU": 4, "GPU": 1}],
            "`search.resources` asks for 8 CPU and 1 GPU a trial, but no node of Ray has both: ask for less",
        ),
    ],
)
def test_what_fits_nowhere_is_refused_with_what_there_is(room, nodes, sentence):
    with pytest.raises(ResourceError) as error:
        trials_at_once(room, nodes, "Ray")
    assert str(error.value) == sentence


@given(st.integers(1, 10**11), st.integers(10**9, 10**11), st.integers(1, 64))
def test_the_share_is_the_smallest_that_holds_the_heaviest_with_a_margin(needed, total, at_most):
    try:
        gpu = share(Peak("x", needed, total), at_most)
    except ResourceError:
        assert needed + CONTEXT_BYTES > total
        return
    fit = round(1 / gpu)
    takes = needed * packing.MARGIN + CONTEXT_BYTES
    assert fit * gpu <= 1
    assert fit == 1 or fit * takes <= total
    assert fit == at_most or (fit + 1) * takes > total
    assert trials_at_once(Room(1, gpu), [{"CPU": 100, "GPU": 1}], "Ray") == fit


def test_a_gpu_that_is_too_small_is_told_with_what_would_help():
    with pytest.raises(ResourceError, match=r"\(batch_size=512\) takes 30.0 GB, and a GPU here has 24.0 GB: bf16"):
        share(Peak("batch_size=512", 30 * 10**9, 24 * 10**9), 4)


@pytest.mark.parametrize(
    ("first", "cpus", "rooms"),
    [
        (Room(1, 0.25), 8, [Room(1, 0.25), Room(1, 0.5), Room(1, 1)]),
        (Room(1, 0.5), 8, [Room(1, 0.5), Room(1, 1)]),
        (Room(1, 0.7), 8, [Room(1, 0.7), Room(1, 1)]),
        (Room(1, 1), 8, [Room(1, 1)]),
        (Room(2, 2), 8, [Room(2, 2)]),
        (Room(1, 0), 8, [Room(1, 0), Room(2, 0), Room(8, 0)]),
        (Room(3, 0), 4, [Room(3, 0), Room(4, 0)]),
        (Room(4, 0), 4, [Room(4, 0)]),
    ],
)
def test_after_too_little_comes_twice_as_much_and_then_all(first, cpus, rooms):
    assert larger(first, cpus) == rooms


# ---- gpu: auto ----


def asked(*assignments: str):
    return experiment("search.resources.gpu=auto", *assignments)


@pytest.mark.parametrize(
    ("cpu", "nodes", "at_most"),
    [
        (1, [{"CPU": 8}], 0),
        (1, [{"CPU": 8, "GPU": 1}], 8),
        (2, [{"CPU": 8, "GPU": 2}], 2),
        (1, [{"CPU": 64}, {"CPU": 4, "GPU": 1}], 4),
        (4, [{"CPU": 2, "GPU": 1}], 1),
    ],
)
def test_no_more_share_a_gpu_than_there_are_cpus_for(cpu, nodes, at_most):
    assert probe.cpus_for(cpu, nodes) == at_most


def test_without_a_gpu_auto_trains_on_cpus_and_says_so():
    assert probe.room_for(asked("search.resources.cpu=2"), [{"CPU": 4}]) == (Room(2, 0), probe.NO_GPU)


def test_a_share_that_the_file_names_is_taken_as_it_is():
    assert probe.room_for(experiment("search.resources.gpu=0.25"), []) == (Room(1, 0.25), None)


@pytest.fixture
def pretended(ray_instance: None) -> list[dict[str, float]]:
    """The nodes of a Ray that believes in a GPU."""
    return nodes()


def test_the_heaviest_configuration_decides_on_the_share(pretended, monkeypatch):
    monkeypatch.setattr(probe, "_peak", lambda _: Peak("fusion=film", 3 * 10**9, 8 * 10**9))
    room, note = probe.room_for(asked(), pretended)
    assert room == Room(1, 0.5)
    assert note == "2 trials a GPU: the heaviest configuration (fusion=film) takes 3.0 of its 8.0 GB"


def test_a_trial_that_fails_in_the_probe_is_told(pretended, monkeypatch):
    monkeypatch.setattr(probe, "_peak", lambda _: ["a trial (x) fails in its first steps: OSError: y"])
    with pytest.raises(ExperimentError, match="fails in its first steps: OSError: y"):
        probe.room_for(asked(), pretended)


@pytest.mark.skipif(torch.cuda.is_available(), reason="it can use this one")
def test_a_gpu_that_torch_cannot_use_is_told(pretended):
    with pytest.raises(ResourceError, match="Ray has a GPU here, and torch in a worker sees none"):
        probe.room_for(asked(), pretended)
