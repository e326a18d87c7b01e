"""What the tuner and its policy keep up to date is what a plain look at all trials says."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ogmge.fit import Objective
from search.run.causes import failure
from search.run.journal import Journal
from search.run.trials import TrialRecord
from search.tuner.pruners.peers import LearningCurve, peers
from search.tuner.search_policy import SearchPolicy
from search.tuner.study import shared_part
from search.tuner.transfer import Donors
from search.tuner.tuner import Tuner
from tests.search.tuner.test_tuner import experiment

pytestmark = pytest.mark.filterwarnings("ignore:.* is experimental")

# ---- the tuner ----


@given(steps=st.lists(st.integers(0, 3), max_size=60))
@settings(max_examples=25, deadline=None)
def test_numbers_of_trials_are_those_of_the_record(steps, tmp_path_factory):
    path = tmp_path_factory.mktemp("many") / "journal.jsonl"
    asked = experiment("search.trials=9", "search.sampler=random", "search.scheduler={name: median}")
    tuner = Tuner(asked, Journal(path), SearchPolicy(asked))
    for step in steps:
        _take(tuner, step)
        _check(tuner)
        if step == 3:
            tuner = Tuner(asked, Journal(path), SearchPolicy(asked))
            _check(tuner)
    for trial in tuner.record:
        tuner.record_end(trial.number, "failed", failure("the end"))
    _check(tuner)


def _take(tuner: Tuner, step: int) -> None:
    """Begin a trial, train the first one that runs for an epoch, or end the last one or let it run out of memory."""
    running = [trial for trial in tuner.record if trial.status == "running"]
    if step == 0 and (trial := tuner.next()) is not None:
        tuner.record_start(trial.number)
    elif step == 1 and running:
        value = 0.1 * running[0].number
        metrics = {"epoch": len(running[0].epochs), "best": value, tuner.experiment.search.objective.metric: value}
        tuner.record_epoch(running[0].number, metrics)
    elif step == 2 and running:
        tuner.record_end(running[-1].number, "failed", failure("by chance"))
    elif running:
        tuner.record_out_of_memory(running[-1].number)


def _check(tuner: Tuner) -> None:
    record = tuner.record
    assert tuner.ended_trials == record.over_count
    assert tuner.complete == record.is_complete(tuner.policy.total, is_stopped=False)
    taken = record.trials.keys() | tuner._drawn.keys()
    assert tuner._next_number() == min(set(range(len(taken) + 1)) - taken)


def test_early_stopping_knows_every_trial_of_the_record(tmp_path):
    asked = experiment("search.trials=12", "search.sampler=random", "search.scheduler={name: median}")
    path = tmp_path / "journal.jsonl"
    for _ in range(3):  # sessions
        policy = SearchPolicy(asked)
        tuner = Tuner(asked, Journal(path), policy)
        for _ in range(3):
            trials = [trial for trial in (tuner.next(), tuner.next()) if trial is not None]
            for trial in reversed(trials):  # the later one reports first
                tuner.record_start(trial.number)
                seen: list[LearningCurve] = []
                policy._pruner = SimpleNamespace(decide=lambda run, runs, seen=seen: seen.extend(runs))
                tuner.record_epoch(trial.number, {"epoch": len(trial.epochs), "best": 0.5, "val/accuracy": 0.5})
                by_number = sorted(seen, key=lambda run: run.number)
                assert by_number == [policy._run(each) for each in tuner.record]
            tuner.record_end(trials[0].number, "failed", failure("by chance"))


# ---- peers ----

CURVES = st.builds(
    lambda arm, opens, epochs: LearningCurve(0, arm, None if arm == "baseline" else opens, [0.5] * epochs),
    st.sampled_from(["baseline", "modulated"]),
    st.none() | st.integers(0, 8),
    st.integers(0, 9),
)


@given(curves=st.lists(CURVES, min_size=1, max_size=12), rung=st.integers(1, 8), grace=st.integers(0, 3))
def test_peers_are_those_that_may_be_compared_and_have_come_as_far(curves, rung, grace):
    runs = [replace(curve, number=number) for number, curve in enumerate(curves)]
    run = runs[0]
    due = run.due(rung, grace)
    assert peers(run, runs, rung, grace) == [
        other
        for other in runs
        if other.number != run.number
        and run.has_peer(other, rung)
        and other.due(rung, grace) <= min(due, len(other.values))
    ]


# ---- transfer ----


@given(
    trials=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=20),
    asks=st.lists(st.booleans(), min_size=40, max_size=40),
    mode=st.sampled_from(["max", "min"]),
)
def test_transferred_settings_are_the_best_that_leave_something_to_try(trials, asks, mode):
    left = dict.fromkeys(range(4), 3)  # how often each setting can be tried
    study = SimpleNamespace(has_untried=lambda shared: left[shared["fusion"]] > 0)
    donors, results = Donors(Objective("val/accuracy", mode)), []
    waiting = [
        TrialRecord(number, "baseline", {"fusion": fusion}, {}, "finished", [{"best": float(value)}])
        for number, (value, fusion) in enumerate(trials)
    ]
    for is_asked in asks:
        if is_asked:
            sign = 1 if mode == "max" else -1
            ranked = sorted(results, key=lambda trial: (-sign * trial.best, trial.number))
            plain = next((shared_part(t.internal) for t in ranked if left[t.internal["fusion"]] > 0), None)
            assert donors.settings_to_try(study) == plain
            if plain is not None:
                left[plain["fusion"]] -= 1
        elif waiting:
            results.append(waiting.pop(0))
            donors.add(results[-1])
        assert len(donors) == len(results)
