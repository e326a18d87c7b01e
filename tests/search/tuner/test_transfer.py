"""First trials and transfer between the arms: one rule for both arms, from the results alone."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.experiment.arms import ARMS, other_arm
from search.experiment.dimensions import METHOD, MODULATION
from search.experiment.placement import place
from search.experiment.sources import Source, openings
from search.run.journal import Journal
from search.run.trials import TrialRecord
from search.run.version import VERSION
from search.tuner import transfer
from search.tuner.search_policy import SearchPolicy
from search.tuner.tuner import Tuner
from tests.search.tuner.test_study import FINITE, NAMES, NUMBERS
from tests.search.tuner.test_tuner import experiment

pytestmark = pytest.mark.filterwarnings("ignore:.* is experimental")

STEPS = """space={fusion: [concat, sum, film], optimizer.lr: [1e-3, 1e-2, 1e-1], modulation.method: [ogm, ogm_ge],
modulation.alpha: {low: 0.25, high: 1.5, step: 0.25}, modulation.end: [3, 4]}"""
WIDE = "space.optimizer.lr={low: 1e-4, high: 1, log: true}"  # enough settings for the baseline, too
TAKEN = {"cmaes": [NUMBERS], "grid": [FINITE]}
slow_gp = pytest.param("gp", marks=pytest.mark.slow)
sampler = pytest.mark.parametrize("name", [slow_gp if name == "gp" else name for name in NAMES])

Value = Callable[[TrialRecord], float | None]


def chance(trial: TrialRecord) -> float:
    """Return a value that depends only on the configuration, so that it is the same after a restart."""
    text = json.dumps(trial.changes, sort_keys=True)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest()) / 2**32


def sometimes(trial: TrialRecord) -> float | None:
    """Return the value of `chance`; one trial in five fails."""
    value = chance(trial)
    return None if value < 0.2 else value


def opened(path: Path, *assignments: str) -> Tuner:
    asked = experiment("search.scheduler={name: none}", *assignments)
    return Tuner(asked, Journal(path), SearchPolicy(asked))


def train(tuner: Tuner, value: Value = chance, trials: int = 1000) -> Tuner:
    """Train trials one after the other, each for one epoch; a trial without a value fails."""
    metrics = [objective.metric for objective in tuner.experiment.search.objectives]
    for _ in range(trials):
        trial = tuner.next()
        if trial is None:
            break
        number, worth = trial.number, value(trial)
        if worth is not None:
            tuner.record_epoch(number, {"epoch": 0, "best": worth, **dict.fromkeys(metrics, worth)})
        tuner.record_end(number, "failed" if worth is None else "stopped")
    return tuner


def shared(trial: TrialRecord) -> str:
    """Return the settings that both arms have, as text."""
    return json.dumps({p: v for p, v in trial.changes.items() if not p.startswith(MODULATION)}, sort_keys=True)


def described(tuner: Tuner) -> list[tuple]:
    return [(t.number, t.arm, t.source, t.internal, t.changes, t.status) for t in tuner.record]


# ---- first trials ----


def test_the_recipe_is_the_first_trial_of_each_arm(tmp_path):
    tuner = train(opened(tmp_path / "j.jsonl"))
    for arm in ARMS:
        first = next(trial for trial in tuner.record if trial.arm == arm)
        placed = place(tuner.experiment, {}, arm)
        assert (first.source, first.changes) == (Source.RECIPE, placed.nearest)
        assert sum(trial.source == Source.RECIPE for trial in tuner.record if trial.arm == arm) == 1
    assert next(trial for trial in tuner.record if trial.arm == "baseline").changes[METHOD] == "none"


def test_known_good_configurations_follow_it_in_both_arms_within_the_space_or_outside(tmp_path):
    first = "search.first=[{fusion: film, modulation.alpha: 0.5}, {batch_size: 8}, {fusion: film}]"
    tuner = train(opened(tmp_path / "j.jsonl", first))
    for arm, named in (("modulated", 3), ("baseline", 2)):  # without modulation, two of them are equal
        trials = [trial for trial in tuner.record if trial.arm == arm]
        assert [trial.source for trial in trials[: named + 1]] == [Source.RECIPE] + named * [Source.FIRST]
        assert Source.FIRST not in [trial.source for trial in trials[named + 1 :]]
        assert [trial.changes for trial in trials[1 : named + 1]] == [
            opening.changes for opening in openings(tuner.experiment, arm)[1:]
        ]
        assert (trials[2].changes["batch_size"], trials[2].internal) == (8, {})  # outside the space
    assert len({json.dumps(trial.changes, sort_keys=True) for trial in tuner.record}) == len(tuner.record.trials)


def test_one_outside_the_space_can_be_the_best_and_one_within_it_is_not_tried_again(tmp_path):
    tuner = opened(tmp_path / "j.jsonl", STEPS, "search.first=[{batch_size: 8}, {fusion: film}]", "search.trials=200")
    train(tuner)
    counts = Counter(json.dumps(trial.changes, sort_keys=True) for trial in tuner.record)
    assert set(counts.values()) == {1}
    by_arm = Counter(trial.arm for trial in tuner.record)
    assert by_arm == {"baseline": 9 + 1, "modulated": 9 * 2 * 6 * 2 + 1 - by_arm_excess(tuner)}


def by_arm_excess(tuner: Tuner) -> int:
    """Return the number of modulated configurations for which the plan has no trial left."""
    return 9 * 2 * 6 * 2 + 1 - tuner.policy.arms.count("modulated")


def test_what_comes_first_comes_again_after_a_kill_though_others_had_begun(tmp_path):
    """Trials that share a prefix begin in another order, and a trial that waited is not in the journal."""
    first = "search.first=[{modulation.start: 3}, {fusion: film}]"
    for waiting in (0, 1, 2):
        path = tmp_path / f"{waiting}.jsonl"
        journal, policy = Journal(path), SearchPolicy(experiment(first, "search.transfer=0"))
        suggestions = [policy.suggest(number) for number in range(5)]
        for number, suggestion in enumerate(suggestions):
            if number != 2 * waiting:  # every other trial is modulated
                journal.append({"event": "suggested", "version": VERSION, "number": number, **vars(suggestion)})
        again = opened(path, first, "search.transfer=0")
        assert again.policy.suggest(2 * waiting) == suggestions[2 * waiting]


def test_trials_that_began_in_another_order_keep_their_arms_too(tmp_path):
    path = tmp_path / "j.jsonl"
    journal, policy = Journal(path), SearchPolicy(experiment("search.transfer=0"))
    for number in (2, 0, 1, 4, 3, 5):
        journal.append({"event": "suggested", "number": number, **vars(policy.suggest(number)), "source": None})
    tuner = train(opened(path))  # this plan would start with the baseline
    assert Counter(trial.arm for trial in tuner.record) == {"modulated": 7, "baseline": 7}


def test_a_search_that_is_resumed_with_fewer_trials_still_has_both_arms(tmp_path):
    """Even if all of these trials were baseline trials, which come first."""
    path = tmp_path / "j.jsonl"
    train(opened(path, WIDE, "search.trials=24"), trials=8)
    tuner = train(opened(path, WIDE, "search.trials=8"))
    assert Counter(trial.arm for trial in tuner.record) == {"baseline": 8, "modulated": 4}
    assert tuner.complete


# ---- transferred settings ----


def best_untried(tuner: Tuner, trial: TrialRecord) -> str | None:
    """Return, by the plain rule, the other arm's best shared settings before a trial that its arm may still try."""
    before = [t for t in tuner.record if t.number < trial.number]
    sign = 1 if tuner.experiment.search.objective.mode == "max" else -1
    others = [t for t in before if t.arm == other_arm(trial.arm) and t.best is not None and t.status != "failed"]
    for other in sorted(others, key=lambda t: (-sign * t.best, t.number)):
        tried = sum(t.arm == trial.arm and shared(t) == shared(other) for t in before if t.internal)
        if trial.arm == "modulated" or not tried:
            return shared(other)
    return None


@pytest.mark.parametrize("value", [chance, sometimes])
@pytest.mark.parametrize("assignments", [[], ["search.mode=min", "search.metric=val/loss"], ["search.transfer=1"]])
def test_settings_are_those_of_the_best_of_the_other_arm_that_can_still_be_tried(assignments, value, tmp_path):
    tuner = train(opened(tmp_path / "j.jsonl", WIDE, "search.trials=60", *assignments), value)
    taken = [trial for trial in tuner.record if trial.source == Source.OTHER_ARM]
    assert taken
    for trial in taken:
        assert shared(trial) == best_untried(tuner, trial)


@pytest.mark.parametrize("share", [0, 0.25, 0.5])
def test_as_many_are_taken_over_as_are_asked_for_in_both_arms(share, tmp_path):
    tuner = train(opened(tmp_path / "j.jsonl", WIDE, "search.trials=120", f"search.transfer={share}"))
    for arm in ARMS:
        trials = [trial for trial in tuner.record if trial.arm == arm]
        taken = sum(trial.source == Source.OTHER_ARM for trial in trials)
        assert len(trials) == 60
        assert taken == int(share * (60 - 1) + 1e-9)


def test_nothing_is_taken_over_before_the_other_arm_has_as_many_results_as_the_sampler_draws_first(tmp_path):
    tuner = train(opened(tmp_path / "j.jsonl", WIDE, "search.trials=40", "search.transfer=1"), sometimes)
    startup = tuner.policy.studies["baseline"].startup
    for trial in (t for t in tuner.record if t.source == Source.OTHER_ARM):
        before = [t for t in tuner.record if t.number < trial.number and t.arm != trial.arm]
        assert sum(t.status == "stopped" for t in before) >= startup


# ---- order of the arms ----


def test_the_baseline_begins_so_that_there_is_something_to_take_over(tmp_path):
    tuner = opened(tmp_path / "j.jsonl", WIDE, "search.trials=40")
    lead = 2 * tuner.policy.studies["baseline"].startup
    assert tuner.policy.arms[: lead + 1] == ["baseline"] * lead + ["modulated"]
    assert Counter(tuner.policy.arms) == {"baseline": 20, "modulated": 20}


@pytest.mark.parametrize("assignment", ["search.transfer=0", "search.budget.hours=1", "search.budget.epochs=500"])
def test_the_arms_alternate_where_they_are_searched_apart_or_a_budget_may_end_it(assignment, tmp_path):
    tuner = opened(tmp_path / "j.jsonl", assignment)
    assert tuner.policy.arms[:6] == ["modulated", "baseline"] * 3


def test_a_search_of_before_keeps_the_arms_that_its_trials_had(tmp_path):
    """Its arms alternated, whereas the baseline comes first now."""
    path = tmp_path / "j.jsonl"
    train(opened(path, "search.transfer=0"), trials=5)
    tuner = train(opened(path))
    assert [trial.arm for trial in tuner.record][:5] == ["modulated", "baseline", "modulated", "baseline", "modulated"]
    assert Counter(trial.arm for trial in tuner.record) == {"modulated": 7, "baseline": 7}


# ---- tried settings ----


def test_the_baseline_tries_no_settings_twice_and_the_modulated_arm_none_with_the_same_modulation(tmp_path):
    tuner = train(opened(tmp_path / "j.jsonl", STEPS, "search.trials=60", "search.transfer=1"))
    for arm in ARMS:
        tried = [json.dumps(trial.changes, sort_keys=True) for trial in tuner.record if trial.arm == arm]
        assert len(set(tried)) == len(tried)


def test_an_arm_that_is_used_up_takes_nothing_and_the_other_goes_on(tmp_path):
    tuner = train(opened(tmp_path / "j.jsonl", "space={fusion: [concat, sum], modulation.alpha: {low: 0.1, high: 1}}"))
    assert Counter(trial.arm for trial in tuner.record) == {"baseline": 2, "modulated": 7}
    assert tuner.complete


def test_where_the_arms_share_no_setting_nothing_is_taken_over(tmp_path):
    tuner = train(opened(tmp_path / "j.jsonl", "space={modulation.alpha: {low: 0.1, high: 1}}"))
    assert {trial.source for trial in tuner.record} == {Source.RECIPE, Source.SAMPLER}


def test_a_grid_is_only_ordered_by_it(tmp_path):
    tuner = train(opened(tmp_path / "j.jsonl", STEPS, "search.sampler=grid", "search.trials=400"))
    tried = Counter(json.dumps(trial.changes, sort_keys=True) for trial in tuner.record)
    assert set(tried.values()) == {1}
    assert sum(trial.arm == "baseline" for trial in tuner.record) == 9
    assert sum(trial.arm == "modulated" for trial in tuner.record) == min(216, tuner.policy.arms.count("modulated"))


@sampler
@pytest.mark.parametrize("metrics", [[], ["search.metric=[val/accuracy, val/loss]", "search.mode=[max, min]"]])
def test_it_works_with_every_sampler_and_with_several_metrics(name, metrics, tmp_path):
    if name == "cmaes" and metrics:
        pytest.skip("cmaes takes one metric")
    tuner = train(
        opened(tmp_path / "j.jsonl", f"search.sampler={name}", *TAKEN.get(name, [WIDE]), *metrics, "search.trials=48")
    )
    for arm in ARMS:
        assert sum(t.source == Source.OTHER_ARM for t in tuner.record if t.arm == arm) >= 2
    for trial in (t for t in tuner.record if t.source == Source.OTHER_ARM):
        assert shared(trial) == best_untried(tuner, trial)


@sampler
@settings(deadline=None, max_examples=5)
@given(stops=st.lists(st.integers(1, 12), min_size=1, max_size=3))
def test_a_resumed_search_goes_on_as_the_uninterrupted_one(name, stops):
    assignments = [f"search.sampler={name}", *TAKEN.get(name, [WIDE]), "search.trials=24"]
    with TemporaryDirectory() as folder:
        whole = train(opened(Path(folder) / "whole.jsonl", *assignments), sometimes)
        for trials in (*stops, 1000):
            resumed = train(opened(Path(folder) / "resumed.jsonl", *assignments), sometimes, trials)
        assert described(resumed) == described(whole)


# ---- the rule ----


@given(st.floats(0, 1), st.integers(0, 200))
def test_the_share_is_kept_to_from_the_first_trial_on(share, trials):
    taken = 0
    for number in range(1, trials + 1):
        taken += transfer.is_due(taken, number, share)
        assert share * number - 1 - 1e-6 <= taken <= share * number + 1e-6
