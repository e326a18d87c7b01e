"""Resources of trials: how many fit, which share of a GPU each gets, and what follows if memory runs out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ogmge.config import TrialConfig
from search.backend import autopack
from search.backend import resources as packing
from search.backend.autopack import PackingDecision
from search.backend.cluster import nodes
from search.backend.resources import (
    CONTEXT_BYTES,
    Peak,
    ResourceError,
    Resources,
    resource_levels,
    share,
    trials_at_once,
    trials_on_gpu,
)
from search.backend.step_cost import Cost
from search.commands import run_trials
from search.experiment.schema import ExperimentError
from search.run.folder import RunFolder
from tests.search.backend.test_throughput import QUICK
from tests.search.tuner.test_tuner import experiment
from tests.support.tells import tells


@pytest.mark.parametrize(
    ("resources", "nodes", "fit"),
    [
        (Resources(1, 0), [{"CPU": 8, "GPU": 2}], 8),
        (Resources(4, 0), [{"CPU": 8, "GPU": 2}], 2),
        (Resources(1, 0.5), [{"CPU": 8, "GPU": 2}], 4),
        (Resources(1, 0.3333), [{"CPU": 8, "GPU": 1}], 3),
        (Resources(0.1, 0), [{"CPU": 0.3}], 3),  # 0.3 / 0.1 is 2.9999…
        (Resources(3, 0.25), [{"CPU": 8, "GPU": 2}], 2),
        (Resources(8, 2), [{"CPU": 8, "GPU": 2}], 1),
        (Resources(3, 0), [{"CPU": 4}, {"CPU": 4}, {"CPU": 2}], 2),  # not 10 // 3: the third node has only two
        (Resources(1, 1), [{"CPU": 4}, {"CPU": 4, "GPU": 1}], 1),
    ],
)
def test_as_many_run_at_once_as_fit_on_each_node(resources, nodes, fit):
    assert trials_at_once(resources, nodes, "Ray") == fit


@pytest.mark.parametrize(
    ("resources", "nodes", "facts"),
    [
        (Resources(1, 1), [{"CPU": 8}], ("`search.resources.gpu`", "1 GPU", "8 CPU", "0 GPU")),
        (Resources(6, 0), [{"CPU": 4}, {"CPU": 4}], ("`search.resources.cpu`", "6 CPU", "4 CPU", "0 GPU", "nodes")),
        (Resources(8, 1), [{"CPU": 8}, {"CPU": 4, "GPU": 1}], ("`search.resources`", "8 CPU", "1 GPU", "node", "both")),
    ],
)
def test_what_fits_nowhere_is_refused_with_what_there_is(resources, nodes, facts):
    with pytest.raises(ResourceError) as error:
        trials_at_once(resources, nodes, "Ray")
    tells(error.value, *facts, "Ray")


@given(st.integers(1, 10**11), st.integers(10**9, 10**11), st.integers(1, 64))
def test_as_many_share_a_gpu_as_it_holds_of_the_heaviest_with_a_margin(needed, total, at_most):
    try:
        trials = trials_on_gpu(Peak("x", needed, total), at_most)
    except ResourceError:
        assert needed + CONTEXT_BYTES > total
        return
    takes = needed * packing.MARGIN + CONTEXT_BYTES
    assert trials == 1 or trials * takes <= total
    assert trials == at_most or (trials + 1) * takes > total
    assert trials * share(trials) <= 1
    assert trials_at_once(Resources(1, share(trials)), [{"CPU": 100, "GPU": 1}], "Ray") == trials


def test_a_gpu_that_is_too_small_is_told_with_what_would_help():
    with pytest.raises(ResourceError) as error:
        trials_on_gpu(Peak("batch_size=512", 30 * 10**9, 24 * 10**9), 4)
    tells(error.value, "batch_size=512", "30.0 GB", "24.0 GB", "bf16", "`trial.accumulate`")


@pytest.mark.parametrize(
    ("first", "cpus", "levels"),
    [
        (Resources(1, 0.25), 8, [Resources(1, 0.25), Resources(1, 0.5), Resources(1, 1)]),
        (Resources(1, 0.5), 8, [Resources(1, 0.5), Resources(1, 1)]),
        (Resources(1, 0.7), 8, [Resources(1, 0.7), Resources(1, 1)]),
        (Resources(1, 1), 8, [Resources(1, 1)]),
        (Resources(2, 2), 8, [Resources(2, 2)]),
        (Resources(1, 0), 8, [Resources(1, 0), Resources(2, 0), Resources(8, 0)]),
        (Resources(3, 0), 4, [Resources(3, 0), Resources(4, 0)]),
        (Resources(4, 0), 4, [Resources(4, 0)]),
    ],
)
def test_after_too_little_comes_twice_as_much_and_then_all(first, cpus, levels):
    assert resource_levels(first, cpus) == levels


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
    assert autopack.cpus_for(cpu, nodes) == at_most


def test_without_a_gpu_auto_trains_on_cpus_and_says_so():
    assert autopack.resources_for(asked("search.resources.cpu=2"), [{"CPU": 4}]) == PackingDecision(
        Resources(2, 0), autopack.NO_GPU
    )


@pytest.mark.parametrize(
    ("wanted", "nodes", "resources"),
    [
        ("{cpu: 2, gpu: 0.25}", [], Resources(2, 0.25)),
        ("{cpu: 2, gpu: 0}", [{"CPU": 4}], Resources(2, 0)),
        ("{cpu: auto, gpu: 0.25}", [{"CPU": 16, "GPU": 1}], Resources(4, 0.25)),
        ("{cpu: auto, gpu: 0.25}", [{"CPU": 16, "GPU": 1}, {"CPU": 12, "GPU": 2}, {"CPU": 64}], Resources(1, 0.25)),
        ("{cpu: auto, gpu: 2}", [{"CPU": 16, "GPU": 4}], Resources(8, 2)),
        ("{cpu: auto, gpu: 0.1}", [{"CPU": 2, "GPU": 1}], Resources(1, 0.1)),
    ],
)
def test_what_the_file_names_is_taken_as_it_is(wanted, nodes, resources):
    """With a share of a GPU, `cpu: auto` means the same share of the CPUs."""
    assert autopack.resources_for(experiment(f"search.resources={wanted}"), nodes) == PackingDecision(resources)


@pytest.fixture
def pretended(ray_instance: None) -> list[dict[str, float]]:
    """Return the nodes of a Ray that is configured with a GPU."""
    return nodes()


def test_what_is_found_out_on_the_gpu_is_given(pretended, monkeypatch):
    monkeypatch.setattr(autopack, "_decide_on_gpu", lambda *_: PackingDecision(Resources(1, 0.5), "2 trials per GPU"))
    assert autopack.resources_for(asked(), pretended) == PackingDecision(Resources(1, 0.5), "2 trials per GPU")


def test_more_cores_than_there_are_beside_a_gpu_are_not_waited_for(pretended):
    with pytest.raises(ResourceError) as error:
        autopack.resources_for(asked("search.resources.cpu=3"), pretended)
    tells(error.value, "`search.resources.cpu`", "3 CPU", "Ray", "2 CPU")


def test_what_fails_in_the_probe_is_told(ray_instance):
    own = "dataset={name: 'tests.support.own_data:Broken'}"
    broken = experiment(own, "trial.encoder=mlp", "search.resources.cpu=auto")
    with pytest.raises(ExperimentError) as error:
        autopack.resources_for(broken, [{"CPU": 1}])
    [sentence] = error.value.sentences
    tells(sentence, "OSError: clip 17 is damaged")


@pytest.mark.skipif(torch.cuda.is_available(), reason="it can use this one")
def test_a_gpu_that_torch_cannot_use_is_told(pretended):
    with pytest.raises(ResourceError) as error:
        autopack.resources_for(asked(), pretended)
    tells(error.value, "GPU", "torch", "`search.resources.gpu=0`")


@pytest.mark.parametrize(
    ("cpu", "rates", "resources", "facts"),
    [
        (2, {1: 10, 2: 18, 4: 31, 8: 30}, Resources(2, 0.25), ("4 trials", "3.1 times", 8)),
        ("auto", {1: 10, 2: 18, 4: 31, 8: 30}, Resources(4, 0.25), ("4 trials", "3.1 times")),
        (4, {1: 10, 2: 18, 4: 31}, Resources(4, 0.25), ("4 trials", "CPU", "fusion=film", "1.0", "80.0 GB")),
        (2, {1: 10, 2: 9}, Resources(2, 1), ("1 trial", 2)),
    ],
)
def test_throughput_decides_how_many_share_a_gpu(monkeypatch, cpu, rates, resources, facts):
    peak = Peak("fusion=film", 10**9, 80 * 10**9)
    monkeypatch.setattr(autopack, "peak_of", lambda _: peak)
    monkeypatch.setattr(autopack.Crew, "rate", lambda crew, packing: rates[packing.trials])
    costs = {"fusion=film": Cost(1, 1, 1.0, 10**9, 0, 0, 1, TrialConfig())}
    asked_for = experiment(f"search.resources={{gpu: auto, cpu: {cpu}}}")
    packed = autopack.pack_gpu(asked_for, costs, [{"CPU": 16, "GPU": 1}])
    assert packed.resources == resources
    tells(packed.note, *facts)


def test_cores_are_measured_by_a_worker_that_has_all_of_them(ray_instance, tmp_path):
    """With real processes of a real worker; which packing is chosen depends on the machine."""
    own = experiment(
        f"dataset={{name: '{QUICK}'}}", "trial={encoder: mlp, modulation: {parameters: all}}", "space.fusion=[sum]",
        "search.resources.cpu=auto",
    )  # fmt: skip
    decision = autopack.resources_for(own, [{"CPU": 2}])
    assert decision.resources in (Resources(1, 0), Resources(2, 0))
    tells(decision.note, *(("2 trials", "1 core") if decision.resources.cpu == 1 else ("1 trial", "2 cores", 2)))


def test_a_search_that_goes_on_gives_a_trial_what_it_gave_before(tmp_path, monkeypatch):
    """If the nodes and the requested resources are the same."""
    found = [Resources(1, 0), Resources(2, 0), Resources(4, 0)]
    left = iter(found)
    monkeypatch.setattr(run_trials, "resources_for", lambda *_: PackingDecision(next(left), "note"))
    folder = RunFolder(tmp_path)
    folder.tune.mkdir()
    auto, there = experiment("search.resources.cpu=auto"), [{"CPU": 4.0, "memory": 1e9}]
    both = experiment("search.resources={cpu: auto, gpu: auto}")
    assert run_trials.trial_resources(auto, folder, there) == PackingDecision(found[0], "note")
    assert run_trials.trial_resources(auto, folder, [{"CPU": 4.0, "memory": 2e9}]) == PackingDecision(found[0], "note")
    assert run_trials.trial_resources(auto, folder, [{"CPU": 8.0}]) == PackingDecision(found[1], "note")
    assert run_trials.trial_resources(both, folder, there) == PackingDecision(found[2], "note")


def test_what_an_older_version_measured_still_holds(tmp_path):
    folder = RunFolder(tmp_path)
    folder.tune.mkdir()
    folder.packing.write_text('{"asked": [["auto", 0.0], [4.0, 0]], "room": {"cpu": 2.0, "gpu": 0}, "note": "so"}\n')
    auto = experiment("search.resources.cpu=auto")
    assert run_trials.trial_resources(auto, folder, [{"CPU": 4.0}]) == PackingDecision(Resources(2, 0), "so")
