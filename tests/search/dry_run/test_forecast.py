"""The expected number of epochs is what the real early stopping leaves, on average over random results."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.dry_run.forecast import expected_epochs
from search.experiment.rungs import rung_epochs
from search.tuner.pruners.asha import Asha
from search.tuner.pruners.peers import LearningCurve
from search.tuner.pruners.pruner import NoPruning


def epochs_of(goodness: Sequence[float], epochs: int, scheduler: Asha, at_once: int = 1) -> int:
    """Return the epochs of an arm that the real scheduler leaves if `at_once` trials take turns."""
    waiting, running, runs = list(range(len(goodness))), [], {}
    while waiting or running:
        while waiting and len(running) < at_once:
            running.append((waiting.pop(0), 1))
        number, trained = running.pop(0)
        runs[number] = LearningCurve(number, "baseline", None, [goodness[number]] * trained)
        if scheduler.decide(runs[number], runs.values()) is None and trained < epochs:
            running.append((number, trained + 1))
    return sum(len(run.values) for run in runs.values())


def baseline(trials: int, epochs: int, scheduler: Asha) -> float:
    return expected_epochs(["baseline"] * trials, [0], epochs, scheduler)


@pytest.mark.parametrize(("epochs", "grace", "factor"), [(12, 3, 3), (20, 1, 2), (9, 2, 4), (5, 9, 2)])
def test_the_expectation_is_the_mean_over_all_orders(epochs, grace, factor):
    asha = Asha(rung_epochs(grace, factor, epochs), factor, "max")
    every = [epochs_of(order, epochs, asha) for order in itertools.permutations(range(5))]
    assert baseline(5, epochs, asha) == pytest.approx(fmean(every), rel=0.12)


@pytest.mark.parametrize(("trials", "epochs", "grace", "factor"), [(12, 12, 3, 3), (32, 40, 4, 3), (30, 20, 1, 2)])
def test_the_expectation_is_near_with_several_trials_at_once_and_random_results(trials, epochs, grace, factor):
    asha, rng = Asha(rung_epochs(grace, factor, epochs), factor, "max"), random.Random(1)
    seen = [epochs_of([rng.random() for _ in range(trials)], epochs, asha, at_once=4) for _ in range(60)]
    assert baseline(trials, epochs, asha) == pytest.approx(fmean(seen), rel=0.15)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 12), st.integers(1, 30), st.integers(1, 12), st.integers(2, 5))
def test_it_lies_between_all_but_one_stopped_at_once_and_all_trained_to_the_end(trials, epochs, grace, factor):
    rungs = rung_epochs(grace, factor, epochs)
    asha = Asha(rungs, factor, "max")
    expected = baseline(trials, epochs, asha)
    first = rungs[0] if rungs else epochs
    assert (trials - 1) * first + epochs <= expected <= trials * epochs  # the first trial always continues
    assert expected == baseline(trials, epochs, asha)


def test_windows_that_open_late_are_reckoned_with():
    """In its grace a trial is not compared; before its window opens, it is compared with the baseline."""
    asha = Asha([2], 2, "max", grace_epochs=2)
    arms = ["baseline", "modulated"] * 6
    at_once, in_grace, waiting = (expected_epochs(arms, [start], 4, asha) for start in (0, 1, 2))
    assert in_grace > at_once  # the rung is delayed to epoch 3
    assert waiting != at_once
    assert expected_epochs(arms, [0], 4, NoPruning()) == 12 * 4
