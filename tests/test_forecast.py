"""What early stopping is expected to leave is what the real one leaves, on average over random results."""

from __future__ import annotations

import doctest
import itertools
import random
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search import forecast
from search.asha import Asha, rung_epochs
from search.forecast import expected_epochs


def test_the_examples_in_the_documentation_hold():
    assert doctest.testmod(forecast) == (0, 1)


def epochs_of(goodness: list[float], epochs: int, rungs: list[int], factor: int, at_once: int = 1) -> int:
    """Epochs that the real scheduler leaves of an arm, epoch after epoch; some trials run at the same time."""
    asha = Asha(rungs, factor, "max")
    waiting, running, total = list(range(len(goodness))), [], 0
    while waiting or running:
        while waiting and len(running) < at_once:
            running.append((waiting.pop(0), 0))
        number, trained = running.pop(0)
        total += 1
        if asha.decide("baseline", number, trained + 1, goodness[number]) is None and trained + 1 < epochs:
            running.append((number, trained + 1))
    return total


@pytest.mark.parametrize(("epochs", "grace", "factor"), [(12, 3, 3), (20, 1, 2), (9, 2, 4), (5, 9, 2)])
def test_the_expectation_is_the_mean_over_all_orders(epochs, grace, factor):
    rungs = rung_epochs(grace, factor, epochs)
    every = [epochs_of(list(order), epochs, rungs, factor) for order in itertools.permutations(range(5))]
    assert expected_epochs(5, epochs, rungs, factor) == pytest.approx(fmean(every), rel=0.06)


@pytest.mark.parametrize(("trials", "epochs", "grace", "factor"), [(12, 12, 3, 3), (32, 40, 4, 3), (30, 20, 1, 2)])
def test_the_expectation_is_near_with_several_trials_at_once_and_random_results(trials, epochs, grace, factor):
    rungs, rng = rung_epochs(grace, factor, epochs), random.Random(1)
    seen = [epochs_of([rng.random() for _ in range(trials)], epochs, rungs, factor, at_once=4) for _ in range(60)]
    assert expected_epochs(trials, epochs, rungs, factor) == pytest.approx(fmean(seen), rel=0.15)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.integers(1, 50), st.integers(1, 20), st.integers(2, 5))
def test_it_lies_between_all_but_one_stopped_at_once_and_all_trained_to_the_end(trials, epochs, grace, factor):
    rungs = rung_epochs(grace, factor, epochs)
    expected = expected_epochs(trials, epochs, rungs, factor)
    first = rungs[0] if rungs else epochs
    assert (trials - 1) * first + epochs <= expected <= trials * epochs  # the first to come always goes on
    assert expected == expected_epochs(trials, epochs, rungs, factor)
