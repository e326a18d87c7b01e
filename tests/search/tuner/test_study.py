"""Suggestions of a study: reproducible, never repeated, within the arm's space, and learned from earlier results."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from search.experiment.arms import ARMS
from search.experiment.dimensions import METHOD
from search.experiment.load import check
from search.experiment.schema import Experiment, SamplerName
from search.experiment.space import with_changes
from search.experiment.yaml_source import override, parse
from search.run.journal import Journal
from search.run.trials import TrialRecord
from search.tuner.search_policy import SearchPolicy
from search.tuner.study import ArmStudy
from search.tuner.tuner import Tuner
from tests.support.tells import tells

pytestmark = pytest.mark.filterwarnings("ignore:.* is experimental")

SPACE = """
name: sampled
dataset: {name: digits}
trial: {epochs: 8, modulation: {end: 7}}
space:
  fusion: [concat, sum, film, gated]
  optimizer.lr: {low: 1.0e-4, high: 1.0e-1, log: true}
  batch_size: {low: 16, high: 64, step: 16}
  modulation.method: [none, ogm, ogm_ge]
  modulation.alpha: {low: 0.05, high: 1.5}
  modulation.start: {low: 0, high: 6, step: 2}
  modulation.end: [3, 7]
search: {trials: 40}
"""
NUMBERS = """space={optimizer.lr: {low: 1.0e-4, high: 1.0e-1, log: true}, batch_size: [16, 32, 64],
modulation.alpha: {low: 0.05, high: 1.5}, optimizer.weight_decay: {low: 0.0, high: 0.1},
modulation.start: [0, 2], modulation.end: [3, 7]}"""
FINITE = """space={fusion: [concat, sum, film, gated], optimizer.lr: [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 1.0],
modulation.method: [ogm, ogm_ge], modulation.alpha: {low: 0.05, high: 1.5, step: 0.05}, modulation.end: [3, 7]}"""
TAKEN = {"cmaes": [NUMBERS], "grid": [FINITE]}  # spaces for samplers that do not accept every space
ENDS = ("finished", "stopped", "failed", "running")


def experiment(*assignments: str) -> Experiment:
    document = parse(SPACE, "sampled.yaml")
    override(document, assignments)
    return check(document)


def sampled(name: str, *assignments: str) -> Experiment:
    """Return an experiment with this sampler, and a space that it accepts."""
    return experiment(f"search.sampler={name}", *TAKEN.get(name, []), *assignments)


def record_of(number: int, arm: str, suggestion: tuple[dict, dict], end: str, value: float) -> TrialRecord:
    """Return a trial whose best value rose to `value` in three epochs, and that ended in the given way."""
    values = [value - (2 - e) / 10 for e in range(3)]
    epochs = [{"epoch": e, "val/accuracy": v, "best": v} for e, v in enumerate(values)]
    return TrialRecord(number, arm, *json.loads(json.dumps(suggestion)), status=end, epochs=epochs)


def run(study: ArmStudy, arm: str, ends: list[tuple[str, float]], first: int = 0) -> list[TrialRecord]:
    """Suggest a trial for each end, and report the end to the study."""
    records = []
    for number, (end, value) in enumerate(ends, start=first):
        records.append(record_of(number, arm, study.suggest(number), end, value))
        if end != "running":
            study.tell(records[-1])
    return records


def changes(records: list[TrialRecord]) -> list[dict]:
    return [record.changes for record in records]


def created_studies(monkeypatch: pytest.MonkeyPatch) -> list[optuna.Study]:
    """Collect the Optuna studies that are created from now on."""
    create, studies = optuna.create_study, []

    def watched(**options) -> optuna.Study:
        studies.append(create(**options))
        return studies[-1]

    monkeypatch.setattr(optuna, "create_study", watched)
    return studies


some_ends = st.lists(st.tuples(st.sampled_from(ENDS), st.floats(0, 1)), min_size=1, max_size=20)
NAMES = get_args(SamplerName)
LEARNERS = ["tpe", "gp", "cmaes", "nsga2"]
slow_gp = pytest.param("gp", marks=pytest.mark.slow)  # it takes 0.2 s per suggestion
sampler = pytest.mark.parametrize("name", [slow_gp if name == "gp" else name for name in NAMES])
each_arm = pytest.mark.parametrize("arm", ARMS)


@sampler
@each_arm
@settings(deadline=None, max_examples=15)
@given(ends=some_ends, seed=st.integers(0, 2**31))
def test_the_same_seed_and_results_give_the_same_suggestions(name, arm, ends, seed):
    asked = sampled(name, f"search.seed={seed}")
    first, second = (changes(run(ArmStudy(asked, arm), arm, ends)) for _ in range(2))
    assert first == second
    for suggestion in first:
        with_changes(asked.trial, suggestion)  # raises if it is invalid


@sampler
def test_another_seed_and_the_other_arm_give_others(name):
    ends = [("finished", 0.5)] * 12

    def rates(seed: int, arm: str) -> list[float]:
        study = ArmStudy(sampled(name, f"search.seed={seed}"), arm)
        return [c["optimizer.lr"] for c in changes(run(study, arm, ends))]

    for one, other in itertools.combinations([rates(0, "baseline"), rates(1, "baseline"), rates(0, "modulated")], 2):
        assert one != other
        assert name in ("grid", "gp") or not set(one) & set(other)  # gp tends to the ends of a range


@sampler
@each_arm
@settings(deadline=None, max_examples=15)
@given(ends=some_ends, data=st.data())
def test_a_resumed_study_suggests_what_the_uninterrupted_one_does(name, arm, ends, data):
    asked = sampled(name)
    whole = ArmStudy(asked, arm)
    records = run(whole, arm, ends)
    known = data.draw(st.integers(0, len(ends)))
    resumed = ArmStudy(asked, arm)
    for record in records[:known]:
        resumed.add(record)
    again = run(resumed, arm, ends[known:], first=known)
    assert changes(again) == changes(records[known:])
    assert resumed.suggest(len(ends)) == whole.suggest(len(ends))


@sampler
def test_a_trial_that_ends_after_a_resume_is_learnt_from_as_any_other(name):
    asked = sampled(name)
    ends = [("finished", n / 20) for n in range(20)]
    whole, resumed = ArmStudy(asked, "modulated"), ArmStudy(asked, "modulated")
    for record in run(whole, "modulated", ends):
        record.status = "running"
        resumed.add(record)
        record.status = "finished"
        resumed.tell(record)
    assert resumed.suggest(20) == whole.suggest(20)


@pytest.mark.parametrize("end", ["finished", "stopped", "failed"])
@sampler
def test_those_that_learn_learn_from_what_was_finished_or_stopped(name, end):
    """The best trials had a low alpha: it is suggested in more than one trial out of three."""
    study, low = ArmStudy(sampled(name), "modulated"), []
    for number in range(60):
        suggestion = study.suggest(number)
        low.append(suggestion[1]["modulation.alpha"] < 0.5)
        study.tell(record_of(number, "modulated", suggestion, end, 1.0 - suggestion[1]["modulation.alpha"] / 2))
    share = sum(low[20:]) / 40
    assert share > 0.6 if name in LEARNERS and end != "failed" else share < 0.5


@pytest.mark.parametrize("name", [name for name in LEARNERS if name != "gp"])
@settings(deadline=None, max_examples=15)
@given(ends=some_ends)
def test_minimising_is_maximising_the_negative(name, ends):
    """For finished trials and for stopped ones."""
    found = []
    for mode, sign in (("max", 1), ("min", -1)):
        study, suggestions = ArmStudy(sampled(name, f"search.mode={mode}"), "modulated"), []
        for number, (end, value) in enumerate([*ends, *[("finished", 0.25)] * 10]):
            suggestions.append(study.suggest(number))
            record = record_of(number, "modulated", suggestions[-1], end, value)
            for metrics in record.epochs:
                metrics["best"] *= sign
                metrics["val/accuracy"] *= sign
            if end != "running":
                study.tell(record)
        found.append(suggestions)
    assert found[0] == found[1]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("resumed", [False, True])
def test_optuna_is_told_how_a_trial_ended(name, resumed, monkeypatch):
    studies = created_studies(monkeypatch)
    study = ArmStudy(sampled(name), "modulated")
    records = run(study, "modulated", [("finished", 0.7), ("stopped", 0.4), ("failed", 0.0), ("running", 0.3)])
    if resumed:
        studies.clear()
        study = ArmStudy(sampled(name), "modulated")
        for record in records:
            study.add(record)
    finished, stopped, failed, running = studies[0].trials
    assert (finished.state, finished.value) == (TrialState.COMPLETE, 0.7)
    assert stopped.state == TrialState.PRUNED
    assert stopped.intermediate_values == {0: pytest.approx(0.2), 1: pytest.approx(0.3), 2: 0.4}
    assert failed.state == TrialState.FAIL
    assert running.state == TrialState.RUNNING


def test_a_trial_that_ended_without_an_epoch_counts_as_failed(monkeypatch):
    studies = created_studies(monkeypatch)
    study = ArmStudy(experiment(), "modulated")
    suggestion = study.suggest(0)
    study.tell(TrialRecord(0, "modulated", *suggestion, status="stopped"))
    assert [t.state for t in studies[0].trials] == [TrialState.FAIL]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "gp"])
@settings(deadline=None, max_examples=10)
@given(ends=some_ends)
def test_the_baseline_is_never_modulated_and_the_other_arm_always(name, ends):
    asked = sampled(name)
    for suggestion in changes(run(ArmStudy(asked, "baseline"), "baseline", ends)):
        assert {p: v for p, v in suggestion.items() if p.startswith("modulation.")} == {METHOD: "none"}
        assert with_changes(asked.trial, suggestion).modulation.method == "none"
    for suggestion in changes(run(ArmStudy(asked, "modulated"), "modulated", ends)):
        assert suggestion[METHOD] in ("ogm", "ogm_ge")
        assert 0 <= suggestion["modulation.start"] <= suggestion["modulation.end"] <= 7


# ---- finite spaces ----

OGM = "modulation.method: [ogm, ogm_ge]"
SPACES = [  # a space, and its number of configurations for the baseline and for the modulated arm
    ("fusion: [concat, sum]", 2, 2),
    ("fusion: [concat, sum, concat], optimizer.lr: [1e-3, 1e-2, 1e-3]", 4, 4),
    (f"fusion: [concat, sum], {OGM}", 2, 4),
    (OGM, 1, 2),
    ("batch_size: {low: 16, high: 64, step: 16}", 4, 4),
    ("batch_size: {low: 16, high: 70, step: 16}", 4, 4),
    ("batch_size: {low: 1, high: 8, log: true}", 8, 8),
    ("optimizer.momentum: {low: 0.0, high: 0.3, step: 0.1}", 4, 4),
    ("optimizer.momentum: {low: 0.1, high: 0.75, step: 0.1}", 7, 7),
    ("weights: [null, DEFAULT]", 2, 2),
    ("modulation.start: [0, 2, 4, 6], modulation.end: [3, 7]", 1, 6),
    ("modulation.end: {low: 3, high: 30}", 1, 5),  # all ends after the last epoch are the same
    (f"{OGM}, modulation.start: [0, 1], fusion: [concat, sum, film]", 3, 12),
]


def suggest_all(study: ArmStudy, arm: str) -> list[str]:
    records = run(study, arm, [("finished", 0.5)] * int(study.capacity))
    return [json.dumps(c, sort_keys=True) for c in changes(records)]


@sampler
@each_arm
@pytest.mark.filterwarnings("ignore:The distribution is specified by")  # the step does not divide a range
def test_a_space_is_used_up_to_its_last_configuration_and_no_further(name, arm):
    taken = [(s, n) for s, *n in SPACES if name != "cmaes" or not re.search("fusion|method|weights", s)]  # no choices
    assert len(taken) >= 7
    for space, counts in taken:
        study = ArmStudy(experiment(f"space={{{space}}}", f"search.sampler={name}"), arm)
        assert study.capacity == dict(zip(("baseline", "modulated"), counts, strict=True))[arm], space
        found = suggest_all(study, arm)
        assert len(set(found)) == len(found) == study.capacity, space
        with pytest.raises(RuntimeError) as error:
            study.suggest(len(found))
        tells(error.value, arm, f"{study.capacity:g} configurations")


@sampler
@each_arm
@pytest.mark.filterwarnings("ignore:The distribution is specified by")  # the step does not divide a range
def test_values_of_a_range_with_a_step_have_the_decimals_as_written(name, arm):
    steps = {"optimizer.momentum": (0.1, 0.75, 0.2), "optimizer.weight_decay": (1e-5, 1e-4, 1e-5)}
    space = ", ".join(
        f"{path}: {{low: {low}, high: {high}, step: {step}}}" for path, (low, high, step) in steps.items()
    )
    study = ArmStudy(experiment(f"space={{{space}, modulation.method: [ogm]}}", f"search.sampler={name}"), arm)
    allowed = {
        "optimizer.momentum": {0.1, 0.3, 0.5, 0.7},
        "optimizer.weight_decay": {float(f"{n}e-5") for n in range(1, 11)},
    }
    for record in run(study, arm, [("finished", 0.5)] * 25):
        for path, values in allowed.items():
            assert record.internal[path] == record.changes[path] in values


def test_the_last_configuration_of_a_large_space_is_found():
    """Random draws alone would have to hit one in hundreds."""
    space = "space={batch_size: {low: 1, high: 300}, modulation.method: [ogm]}"
    study = ArmStudy(experiment(space, "search.sampler=random", "search.seed=30"), "baseline")
    assert len(set(suggest_all(study, "baseline"))) == 300


@pytest.mark.parametrize("space", [SPACE, "space={optimizer.lr: {low: 0.1, high: 1.0}}"])
@each_arm
def test_a_space_with_an_interval_without_steps_is_never_used_up(space, arm):
    assignments = [space] if space != SPACE else []
    assert ArmStudy(experiment(*assignments), arm).capacity == float("inf")


@sampler
@settings(deadline=None, max_examples=10)
@given(stop=st.integers(0, 12))
def test_no_configuration_comes_twice_in_an_arm_whether_or_not_the_search_is_resumed(name, stop):
    """The session exhausts the spaces of both arms."""
    asked = experiment(
        "space={batch_size: [16, 32, 64, 128], modulation.start: [0, 1]}",
        f"search.sampler={name}",
        "search.baseline_share=0.34",
    )
    with TemporaryDirectory() as folder:
        for trials in (stop, None):
            tuner = Tuner(asked, Journal(Path(folder) / "journal.jsonl"), SearchPolicy(asked))
            for _ in range(tuner.remaining_trials if trials is None else trials):
                number = tuner.next().number
                tuner.record_epoch(number, {"epoch": 0, "val/accuracy": number % 3, "best": number % 3})
                tuner.record_end(number, ("finished", "stopped", "failed")[number % 3])
    assert tuner.complete
    for arm, configurations in (("baseline", 4), ("modulated", 8)):
        found = [json.dumps(t.changes, sort_keys=True) for t in tuner.record if t.arm == arm]
        assert len(set(found)) == len(found) == configurations
