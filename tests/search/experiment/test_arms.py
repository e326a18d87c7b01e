"""The assignment of trials to arms."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from search.experiment.arms import ARMS, arm_of, plan

INF = math.inf
FREE = {"baseline": INF, "modulated": INF}

_shares = st.floats(0, 1, exclude_min=True, exclude_max=True)
_capacities = st.sampled_from([0, 1, 2, 5, INF])


@given(st.integers(1, 999), st.integers(0, 300))
@example(290, 100)  # 0.29 * 100 is 28.999999999999996
@example(570, 100)
def test_after_n_trials_the_baseline_had_its_share_of_them_rounded_down(thousandths, trials):
    exact = math.floor(trials * Fraction(thousandths, 1000))
    assert plan(trials, thousandths / 1000, FREE).count("baseline") == exact


@given(_shares, st.integers(0, 300))
def test_at_any_time_either_arm_is_less_than_one_trial_from_its_share(share, trials):
    baseline = sum(arm_of(number, share) == "baseline" for number in range(trials))
    assert -1 < baseline - trials * share < 1e-6


@pytest.mark.parametrize(
    ("share", "order"),
    [
        (0.5, "mbmbmbmb"),
        (0.25, "mmmbmmmb"),
        (0.75, "mbbbmbbb"),
        (1 / 3, "mmbmmbmm"),
        (0.1, "mmmmmmmmmb"),
        (0.9, "mbbbbbbbbb"),
        (1e-6, "mmmm"),
    ],
)
def test_the_arms_take_turns(share, order):
    assert "".join(arm[0] for arm in plan(len(order), share, FREE)) == order


@given(_shares, st.integers(0, 60), st.integers(0, 60))
def test_a_longer_search_begins_as_a_shorter_one(share, trials, more):
    assert plan(trials + more, share, FREE)[:trials] == plan(trials, share, FREE)


@given(_shares, st.integers(0, 60), _capacities, _capacities)
def test_an_arm_gets_its_share_but_no_more_than_there_is(share, trials, baseline, modulated):
    capacity = {"baseline": baseline, "modulated": modulated}
    free, capped = plan(trials, share, FREE), plan(trials, share, capacity)
    for arm in ARMS:
        assert capped.count(arm) == min(free.count(arm), capacity[arm])
