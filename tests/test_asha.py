"""Who is stopped at a rung: never who is among the best of what its arm has shown so far."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search import asha
from search.asha import Asha, rung_epochs


def test_the_examples_in_the_documentation_hold():
    assert doctest.testmod(asha) == (0, 1)


@pytest.mark.parametrize(
    ("grace", "factor", "epochs", "rungs"),
    [
        (1, 2, 9, [1, 2, 4, 8]),
        (1, 2, 8, [1, 2, 4]),
        (3, 3, 12, [3, 9]),
        (3, 4, 100, [3, 12, 48]),
        (11, 3, 12, [11]),
        (12, 3, 12, []),
        (50, 3, 12, []),
        (1, 2, 1, []),
    ],
)
def test_rungs_lie_a_factor_apart_below_the_end_of_training(grace, factor, epochs, rungs):
    assert rung_epochs(grace, factor, epochs) == rungs


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize(
    ("factor", "values", "going_on"),
    [
        # values in the order in which they come, the higher the better; + goes on and - stops
        (3, [5], "+"),
        (3, [0], "+"),
        (3, [5, 4, 6], "+-+"),
        (3, [1, 2, 3, 4], "++++"),
        (3, [9, 8, 7, 6], "+---"),
        (3, [9, 8, 7, 6, 5, 8.5], "+----+"),
        (3, [9, 8, 7, 6, 5, 4, 8.5], "+-----+"),
        (2, [9, 8, 7, 8.5], "+--+"),
        (2, [9, 8, 7, 7.5], "+---"),
        (4, [9, 8, 7, 6, 5, 4, 8.5], "+------"),
        (2, [5, 5, 5, 5], "++++"),
        (3, [5, 5, 4, 5], "++-+"),
    ],
)
def test_a_trial_goes_on_that_is_among_the_best_shown_so_far(mode, factor, values, going_on):
    sign = 1 if mode == "max" else -1
    scheduler = Asha([3], factor, mode)
    decisions = [scheduler.decide("baseline", number, 3, sign * value) for number, value in enumerate(values)]
    assert "".join("+" if decision is None else "-" for decision in decisions) == going_on


@pytest.mark.parametrize("trained", [1, 2, 4, 8, 10, 100])
def test_off_the_rungs_nothing_is_decided_and_nothing_remembered(trained):
    scheduler = Asha([3, 9], 3, "max")
    for number in range(9):
        assert scheduler.decide("baseline", number, trained, -float(number)) is None
    assert scheduler.seen == {}


def test_without_rungs_every_trial_goes_on():
    scheduler = Asha([], 3, "max")
    assert [scheduler.decide("baseline", n, epoch, -n) for n in range(9) for epoch in range(9)] == [None] * 81


@pytest.mark.parametrize("others", [{"arm": "modulated", "trained": 3}, {"arm": "baseline", "trained": 9}])
def test_a_trial_is_ranked_within_its_arm_and_rung_only(others):
    scheduler = Asha([3, 9], 3, "max")
    for number in range(5):
        scheduler.decide(**others, number=number, value=9.0 - number)
    assert scheduler.decide("baseline", 5, 3, 0.0) is None


def test_a_reason_tells_the_rank_and_among_how_many():
    scheduler = Asha([3], 3, "max")
    reasons = [scheduler.decide("modulated", number, 3, 100.0 - number) for number in range(23)]
    assert reasons[1].startswith("asha: 2nd of 2 modulated trials after 3 epochs")
    ranks = [reason.split()[1] for reason in reasons[1:]]
    assert ranks[:4] == ["2nd", "3rd", "4th", "5th"]
    assert ranks[9:12] == ["11th", "12th", "13th"]
    assert ranks[19:] == ["21st", "22nd", "23rd"]


_arms = st.sampled_from(["baseline", "modulated"])
_events = st.lists(
    st.tuples(_arms, st.integers(0, 30), st.sampled_from([1, 2, 3, 4, 9]), st.integers(-9, 9).map(float)),
    unique_by=lambda event: event[1:3],
    max_size=40,
)
_schedulers = st.builds(Asha, st.just([1, 3, 9]), st.integers(2, 4), st.sampled_from(["max", "min"]))


@given(_schedulers, _events)
def test_a_decision_depends_on_what_its_own_arm_showed_at_this_rung_before(scheduler, events):
    for index, (arm, number, trained, value) in enumerate(events):
        shown = [v for a, _, t, v in events[: index + 1] if (a, t) == (arm, trained)]
        ordered = sorted(shown, reverse=scheduler.mode == "max")
        among = value in ordered[: max(1, len(shown) // scheduler.reduction_factor)]
        stopped = scheduler.decide(arm, number, trained, value) is not None
        assert stopped == (trained in scheduler.rungs and not among)


@given(_schedulers, _events)
def test_at_every_rung_the_first_to_come_and_the_best_of_all_go_on(scheduler, events):
    best = max if scheduler.mode == "max" else min
    went_on = [event for event in events if scheduler.decide(*event) is None]
    for arm, trained in scheduler.seen:
        at_rung = [event for event in events if (event[0], event[2]) == (arm, trained)]
        assert at_rung[0] in went_on
        assert best(value for *_, value in at_rung) in [v for a, _, t, v in went_on if (a, t) == (arm, trained)]


@given(_schedulers, _events)
def test_of_trials_that_come_from_the_worst_to_the_best_none_is_stopped(scheduler, events):
    for event in sorted(events, key=lambda event: event[3], reverse=scheduler.mode == "min"):
        assert scheduler.decide(*event) is None


@given(_schedulers, _events, st.data())
def test_a_replay_decides_the_same_and_goes_on_as_if_nothing_had_been(scheduler, events, data):
    first = [scheduler.decide(*event) for event in events]
    cut = data.draw(st.integers(0, len(events)))
    resumed = Asha(scheduler.rungs, scheduler.reduction_factor, scheduler.mode)
    assert [resumed.decide(*event) for event in events[:cut]] == first[:cut]
    assert [resumed.decide(*event) for event in events[cut:]] == first[cut:]
    assert resumed == scheduler


@given(_schedulers, _events)
def test_a_trial_that_is_seen_again_counts_once(scheduler, events):
    decisions = [scheduler.decide(*event) for event in events]
    if events:
        assert scheduler.decide(*events[-1]) == decisions[-1]
    assert sum(map(len, scheduler.seen.values())) == sum(trained in scheduler.rungs for _, _, trained, _ in events)
