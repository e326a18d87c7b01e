"""Evidence that may be evaluated after every pair."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from search.verdict.anytime import EVIDENCE, half_width, log_evidence

differences = st.lists(st.integers(-400, 400).map(lambda d: d / 100), min_size=1, max_size=12)


def clear(differences) -> bool:
    """Return whether the evidence against "no difference" is 20 or more."""
    return log_evidence(differences)[-1] >= math.log(EVIDENCE)


def bayes_factor(x: list[float]) -> float:
    """Return the Bayes factor by sums over a fine grid of its priors: normal effect, sd as 1 / sd (flat in its
    logarithm)."""
    effect = np.linspace(-7, 7, 561)[:, None]
    sd = np.geomspace(0.02, 2000, 2401)

    def likelihood(mean: np.ndarray | float) -> np.ndarray:
        return np.prod([stats.norm.pdf(d, mean, sd) for d in x], 0)

    above = (likelihood(effect * sd) * stats.norm.pdf(effect)).sum() * (14 / 560)
    return float(above / likelihood(0.0).sum())


@pytest.mark.parametrize("x", [[0.5, 1.5, 0.7], [-1.0, 2.0, 0.3], [-1.5, -1.0, -1.2, -0.4]])
def test_the_evidence_is_the_bayes_factor_of_its_priors(x):
    assert math.exp(log_evidence(x)[-1]) == pytest.approx(bayes_factor(x), rel=1e-4)


@given(differences)
def test_the_evidence_is_that_of_the_form_in_t_and_begins_with_nothing(x):
    found = log_evidence(x)
    for n in range(2, len(x) + 1):
        sd = float(np.std(x[:n], ddof=1))
        if sd > 1e-6:
            t2 = float(np.mean(x[:n])) ** 2 * n / sd**2
            ratio = (1 + t2 / (n - 1)) / (1 + t2 / ((n - 1) * (1 + n)))
            assert found[n - 1] == pytest.approx(-math.log(1 + n) / 2 + n / 2 * math.log(ratio), abs=1e-9)
    assert found[0] == pytest.approx(0, abs=1e-12)


@given(differences, st.floats(0.01, 100))
def test_neither_the_unit_nor_the_direction_changes_the_evidence(x, scale):
    assert log_evidence([-scale * d for d in x]) == pytest.approx(log_evidence(x), abs=1e-9)


@given(differences)
def test_differences_of_nothing_are_no_evidence(x):
    assert log_evidence([0.0] * len(x)).tolist() == [0.0] * len(x)


def test_many_searches_at_once_are_those_one_by_one():
    x = np.random.default_rng(0).normal(0.5, 1, (5, 7))
    assert log_evidence(x) == pytest.approx(np.array([log_evidence(row) for row in x]))


@given(differences, st.sampled_from([-1, 1]))
def test_it_is_clear_where_the_confidence_sequence_excludes_nothing(x, sign):
    sd, n = float(np.std(x, ddof=1)) if len(x) > 1 else 0.0, len(x)
    assume(sd > 1e-6)
    half, about_nothing = half_width(sd, n), np.array(x) - np.mean(x)
    if half is None:
        assert not clear(about_nothing + 1000 * sd)
        return
    assert clear(about_nothing + sign * 1.001 * half)
    assert not clear(about_nothing + sign * 0.999 * half)


def test_five_pairs_are_the_fewest_that_can_be_clear():
    assert [half_width(1.0, n) is None for n in range(2, 8)] == [True] * 3 + [False] * 3
    assert not clear([1.0, 1.1, 0.9, 1.0])
    assert clear([1.0, 1.1, 0.9, 1.0, 1.05])


@pytest.mark.parametrize("sd", [0.1, 30.0])
def test_looking_after_every_pair_errs_in_less_than_five_per_cent_where_a_t_test_errs_in_a_quarter(sd):
    looks, searches = 100, 4000
    x = np.random.default_rng(0).normal(0, sd, (searches, looks))
    evident = log_evidence(x) >= math.log(EVIDENCE)
    ever = evident.any(1)
    at = x.cumsum(1)[ever, evident[ever].argmax(1)]
    assert (at > 0).sum() / searches < 0.025
    assert (at < 0).sum() / searches < 0.025
    n = np.arange(1, looks + 1)
    mean = x.cumsum(1) / n
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(((x**2).cumsum(1) - n * mean**2) / (n - 1) / n)
        t_test = np.abs(mean / error) > stats.t.ppf(0.975, np.maximum(n - 1, 1))
    assert t_test[:, 1:].any(1).mean() > 0.25


def test_all_intervals_of_a_search_hold_the_true_difference_at_once():
    x = np.random.default_rng(1).normal(0.7, 1, (1000, 40))
    held = np.ones(1000, bool)
    for n in range(5, 41):
        mean, sd = x[:, :n].mean(1), x[:, :n].std(1, ddof=1)
        held &= np.abs(mean - 0.7) < sd * half_width(1.0, n)
    assert held.mean() > 0.95


def test_a_true_difference_is_clear_sooner_or_later():
    x = np.random.default_rng(2).normal(1, 1, (200, 60))
    assert (log_evidence(x)[:, -1] > math.log(EVIDENCE)).all()
