"""The median rule."""

from __future__ import annotations

from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.tuner.pruners.median import FEWEST, Median
from search.tuner.pruners.peers import LearningCurve
from tests.support.tells import tells


def runs(*values: list[float], arm: str = "baseline", opens: int | None = None) -> list[LearningCurve]:
    return [LearningCurve(number, arm, opens, v) for number, v in enumerate(values)]


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize(
    ("value", "others", "goes_on"),
    [
        (5, [1, 2, 3, 4], True),
        (0, [1, 2, 3], True),  # too few peers
        (0, [1, 2, 3, 4], False),
        (2, [1, 2, 3, 4], False),
        (2.5, [1, 2, 3, 4], True),
        (3, [3, 3, 3, 3, 9], True),
    ],
)
def test_a_run_that_is_worse_than_half_of_the_others_stops(mode, value, others, goes_on):
    sign = 1 if mode == "max" else -1
    there = runs(*([sign * v] * 2 for v in others))
    run = LearningCurve(99, "baseline", None, [sign * value] * 2)
    reason = Median(1, mode).decide(run, [*there, run])
    assert (reason is None) == goes_on
    if reason:
        tells(reason, "median:", len(others), "baseline", "2 epochs")


@pytest.mark.parametrize(
    ("opens", "trained", "goes_on"),
    [
        (0, 2, True),  # within the grace
        (0, 3, False),
        (4, 4, True),  # its peers would be runs without modulation, but there are none
        (4, 5, True),  # its window has just opened
        (4, 6, True),
        (4, 7, False),
    ],
)
def test_a_window_that_opens_has_a_grace(opens, trained, goes_on):
    there = runs(*[[9.0] * 8] * 4, arm="modulated", opens=0)
    run = LearningCurve(99, "modulated", opens, [1.0] * trained)
    assert (Median(3, "max").decide(run, [*there, run]) is None) == goes_on


@given(st.lists(st.integers(0, 9).map(float), max_size=12), st.integers(0, 9).map(float), st.integers(1, 5))
def test_it_is_the_median_of_the_others_at_that_epoch(others, value, trained):
    there = runs(*([v] * 5 for v in others))
    run = LearningCurve(99, "baseline", None, [value] * trained)
    stopped = Median(1, "max").decide(run, [*there, run]) is not None
    assert stopped == (len(others) >= FEWEST and value < median(others))
