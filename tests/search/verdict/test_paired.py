"""Statistics of pairs, against plain loops from their equations, scipy's own tests, and counting by hand."""

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from search.verdict import paired as module
from search.verdict.paired import (
    Paired,
    Range,
    Spread,
    detectable,
    holm,
    paired_bootstrap,
    power_of,
    prediction_interval,
    secondary,
    seeds_for,
    sign_flip,
    smallest_p,
    t_interval,
)
from tests.support.tells import tells

values = st.integers(0, 1000).map(lambda correct: correct / 1000)  # accuracies on 1,000 examples
pairs = st.lists(st.tuples(values, values), min_size=2, max_size=15)
confidences = st.sampled_from([0.8, 0.95, 0.99])


def differ(found: list[tuple[float, float]]) -> bool:
    return max(a - b for a, b in found) - min(a - b for a, b in found) > 1e-4


# ---- t interval ----


@given(pairs, confidences)
def test_the_interval_is_that_of_the_equation_and_of_scipys_paired_t_test(found, confidence):
    assume(differ(found))
    a, b = zip(*found, strict=True)
    ours, theirs = t_interval(a, b, confidence), stats.ttest_rel(a, b)
    d = [x - y for x, y in found]
    mean = sum(d) / len(d)
    sd = math.sqrt(sum((x - mean) ** 2 for x in d) / (len(d) - 1))
    half = stats.t.ppf((1 + confidence) / 2, len(d) - 1) * sd / math.sqrt(len(d))
    assert (ours.n, ours.confidence) == (len(d), confidence)
    assert [ours.mean, ours.sd, ours.low, ours.high] == pytest.approx([mean, sd, mean - half, mean + half], abs=1e-9)
    assert [ours.low, ours.high] == pytest.approx(list(theirs.confidence_interval(confidence)), abs=1e-9)
    assert ours.p == pytest.approx(theirs.pvalue, abs=1e-9)
    for arm, results in ((ours.modulated, a), (ours.baseline, b)):
        assert arm.mean == pytest.approx(statistics.fmean(results))
        assert arm.sd == pytest.approx(statistics.stdev(results), abs=1e-6)


def test_a_single_pair_has_neither_spread_nor_interval():
    assert t_interval([0.75], [0.5]) == Paired(
        1, 0.25, None, None, None, None, 0.95, Spread(0.75, None), Spread(0.5, None)
    )


@pytest.mark.parametrize(
    ("modulated", "baseline"),
    [
        ([0.5, 0.6, 0.7], [0.5, 0.6, 0.7]),
        ([0.62, 0.52, 0.72], [0.61, 0.51, 0.71]),  # the differences are equal except for the last bits
        (np.float32([0.62, 0.52, 0.72]), np.float32([0.61, 0.51, 0.71])),
        ([0.9] * 5, [0.8] * 5),
        ([0.0, 0.0], [0.0, 0.0]),
    ],
)
def test_differences_that_are_all_the_same_are_one_result_and_get_no_interval(modulated, baseline):
    found = t_interval(modulated, baseline)
    assert (found.sd, found.low, found.high, found.p) == (0.0, None, None, None)
    assert found.mean == pytest.approx(modulated[0] - baseline[0], abs=1e-7)


def test_equal_differences_may_be_a_coincidence():
    assert t_interval([0.84, 0.62], [0.81, 0.59]).seeds_have_effect
    assert not t_interval([0.9] * 5, [0.8] * 5).seeds_have_effect


def test_differences_that_are_small_but_real_have_an_interval():
    found = t_interval([0.501, 0.502, 0.5015], [0.5, 0.5, 0.5])
    assert found.low < found.mean < found.high


@pytest.mark.parametrize(
    ("modulated", "baseline", "facts"),
    [
        ([0.5, 0.6], [0.5], ["2 modulated", "1 baseline"]),
        ([], [], ["`modulated`", "(0,)"]),
        ([0.5, math.nan], [0.5, 0.5], ["`modulated`", "finite"]),
        ([0.5, 0.5], [math.inf, 0.5], ["`baseline`", "finite"]),
        ([[0.5]], [[0.5]], ["(1, 1)"]),
    ],
)
def test_results_that_are_no_pairs_are_refused(modulated, baseline, facts):
    with pytest.raises(ValueError) as refused:  # noqa: PT011, its facts say which
        t_interval(modulated, baseline)
    tells(refused.value, *facts)


@given(pairs, st.randoms(), st.floats(0.01, 100))
def test_swapping_negates_scaling_scales_and_the_order_of_seeds_is_nothing(found, random, scale):
    assume(differ(found))
    a, b = (list(column) for column in zip(*found, strict=True))
    one = t_interval(a, b)
    swapped = t_interval(b, a)
    assert [swapped.mean, swapped.low, swapped.high] == pytest.approx([-one.mean, -one.high, -one.low])
    assert swapped.p == pytest.approx(one.p)
    scaled = t_interval([scale * x for x in a], [scale * x for x in b])
    assert [scaled.mean, scaled.low, scaled.high] == pytest.approx([scale * x for x in (one.mean, one.low, one.high)])
    shuffled = random.sample(found, len(found))
    again = t_interval(*zip(*shuffled, strict=True))
    assert [again.mean, again.low, again.high, again.p] == pytest.approx([one.mean, one.low, one.high, one.p])


# ---- prediction of one more training ----


@given(st.lists(values, min_size=2, max_size=15), confidences)
def test_the_prediction_interval_is_that_of_the_equation(results, confidence):
    assume(max(results) - min(results) > 1e-4)
    n, mean, sd = len(results), statistics.fmean(results), statistics.stdev(results)
    half = stats.t.ppf((1 + confidence) / 2, n - 1) * sd * math.sqrt(1 + 1 / n)
    found = prediction_interval(results, confidence)
    assert [found.mean, found.low, found.high] == pytest.approx([mean, mean - half, mean + half])


@pytest.mark.parametrize("results", [[0.5], [0.5, 0.5, 0.5], np.float32([0.1, 0.1]), [0.1 + 0.2, 0.3]])
def test_results_without_spread_predict_nothing(results):
    assert prediction_interval(results) is None


def test_the_prediction_interval_holds_one_more_result_as_often_as_it_says():
    rng = np.random.default_rng(0)
    drawn = rng.normal(80, 1, (4000, 4))
    found = [prediction_interval(row[:3]) for row in drawn]
    held = np.mean([r.low <= row[3] <= r.high for r, row in zip(found, drawn, strict=True)])
    assert held == pytest.approx(0.95, abs=0.012)


# ---- sign flips ----


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=9))
def test_the_sign_flip_p_is_the_share_of_all_assignments_that_are_as_far_from_nothing(differences):
    sums = [
        sum(s * d for s, d in zip(s, differences, strict=True))
        for s in itertools.product((-1, 1), repeat=len(differences))
    ]
    expected = sum(abs(total) >= abs(sum(differences)) for total in sums) / len(sums)
    assert sign_flip(differences) == expected
    assert sign_flip([0.1 * d for d in differences]) == expected  # the sums of these are rounded
    assert sign_flip([-d for d in differences]) == expected


@pytest.mark.parametrize("n", [1, 2, 5, 6, 10, 20, 29, 30])
def test_the_smallest_p_is_that_of_differences_that_all_point_one_way(n):
    assert sign_flip(np.linspace(0.1, 1.3, n)) == smallest_p(n) == 2 / 2**n


def test_six_seeds_are_the_fewest_that_can_reach_five_per_cent():
    assert smallest_p(5) > 0.05 > smallest_p(6)


def test_more_pairs_than_can_be_counted_are_drawn_and_never_give_a_p_of_nothing(monkeypatch):
    differences = np.random.default_rng(1).normal(0.3, 1, 20)
    exact = sign_flip(differences)
    monkeypatch.setattr(module, "EXACT_PAIRS", 10)
    monkeypatch.setattr(module, "DRAWS", 20_000)
    drawn = sign_flip(differences, seed=1)
    assert drawn == sign_flip(differences, seed=1)
    assert drawn == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 20_000))
    assert sign_flip(np.ones(60)) == pytest.approx(1 / 20_001)


# ---- power ----


@pytest.mark.parametrize("n", [2, 3, 5, 10, 30])
@pytest.mark.parametrize("difference", [0.0, 0.3, 1.0, 4.0])
def test_power_is_the_normal_one_averaged_over_the_spread_that_may_be_seen(difference, n):
    sd, critical, root = 1.5, stats.t.ppf(0.975, n - 1), math.sqrt(n - 1)
    shift = difference / sd * math.sqrt(n)

    def shown(u: float) -> float:
        edge = critical * u / root
        return (stats.norm.sf(edge - shift) + stats.norm.cdf(-edge - shift)) * stats.chi.pdf(u, n - 1)

    expected, _ = integrate.quad(shown, 0, math.inf)
    assert power_of(difference, sd, n) == pytest.approx(expected, abs=1e-7)
    assert power_of(-difference, sd, n) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(("effect", "n"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_seeds_needed_are_those_of_published_tables(effect, n):
    assert seeds_for(effect, 1.0) == n  # tabulated for paired t tests at 5 % with 80 % power


@settings(max_examples=30, deadline=None)
@given(st.floats(0.5, 20), st.floats(0.1, 5), st.sampled_from([0.5, 0.8, 0.95]))
def test_seeds_needed_are_the_fewest_and_what_is_detectable_has_the_power(difference, sd, power):
    n = seeds_for(difference, sd, power)
    assert power_of(difference, sd, n) >= power
    assert n == 2 or power_of(difference, sd, n - 1) < power
    assert power_of(detectable(sd, n, power), sd, n) == pytest.approx(power, abs=1e-6)
    assert seeds_for(-difference, sd, power) == n


@pytest.mark.parametrize(("difference", "sd"), [(0.0, 1.0), (1.0, 0.0), (0.02, 1.0)])
def test_a_difference_that_no_number_of_seeds_shows_needs_none(difference, sd):
    assert seeds_for(difference, sd) is None


# ---- several comparisons ----


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.floats(0.001, 0.999))
def test_holms_p_rejects_what_his_procedure_rejects(p_values, alpha):
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    rejected = set()
    for step, index in enumerate(order):
        if p_values[index] * (len(p_values) - step) > alpha:
            break
        rejected.add(index)
    assert {i for i, p in enumerate(holm(p_values)) if p <= alpha} == rejected


@given(st.lists(st.floats(0, 1), max_size=6))
def test_holms_p_is_never_smaller_than_p_nor_above_one(p_values):
    assert all(p <= adjusted <= 1 for p, adjusted in zip(p_values, holm(p_values), strict=True))


@given(st.lists(pairs, min_size=1, max_size=3))
def test_modalities_share_the_error_rate(found):
    results = {f"u{i}": tuple(zip(*one, strict=True)) for i, one in enumerate(found)}
    each = secondary(results)
    assert list(each) == list(results)
    plain = {name: t_interval(a, b) for name, (a, b) in results.items()}
    for name, one in each.items():
        assert one.paired.confidence == pytest.approx(1 - 0.05 / len(found))
        assert one.paired.p == plain[name].p
        if one.holm_p is None:
            assert one.paired.low is None
        elif not one.paired.low <= 0 <= one.paired.high:
            assert one.holm_p <= 0.05 + 1e-9
    expected = holm([1.0 if p.p is None else p.p for p in plain.values()])
    assert [one.holm_p for one in each.values() if one.holm_p is not None] == [
        p for p, one in zip(expected, plain.values(), strict=True) if one.p is not None
    ]


# ---- examples ----


def test_the_bootstrap_is_that_of_whole_columns_of_answers():
    rng = np.random.default_rng(0)
    hard = rng.random(300)
    a, b = ((rng.random((3, 300)) + bonus > hard) for bonus in (0.2, 0.1))
    found = paired_bootstrap(a, b)
    means = []
    for _ in range(4000):
        drawn = rng.integers(0, 300, 300)
        means.append(a[:, drawn].mean() - b[:, drawn].mean())
    assert found.mean == pytest.approx(a.mean() - b.mean())
    assert [found.low, found.high] == pytest.approx(np.quantile(means, [0.025, 0.975]).tolist(), abs=0.004)
    theirs = stats.bootstrap(((a.mean(0) - b.mean(0)),), np.mean, method="percentile", rng=1).confidence_interval
    assert [found.low, found.high] == pytest.approx([theirs.low, theirs.high], abs=0.004)
    assert found == paired_bootstrap(a, b)
    narrow = paired_bootstrap(a, b, 0.5)
    assert found.low < narrow.low < narrow.high < found.high
    swapped = paired_bootstrap(b, a)
    assert [swapped.low, swapped.high] == pytest.approx([-found.high, -found.low], abs=0.004)


def test_models_that_answer_alike_differ_by_exactly_nothing():
    answers = np.random.default_rng(0).random((2, 50)) < 0.5
    assert paired_bootstrap(answers, answers) == Range(0.0, 0.0, 0.0)


def test_one_example_is_no_sample():
    assert paired_bootstrap([[True], [True]], [[False], [True]]) is None


@pytest.mark.parametrize("shapes", [((2, 5), (2, 6)), ((2, 5), (3, 5)), ((5,), (5,)), ((0, 5), (0, 5))])
def test_answers_to_other_examples_are_refused(shapes):
    with pytest.raises(ValueError) as refused:  # noqa: PT011, its facts say which
        paired_bootstrap(*(np.zeros(shape, bool) for shape in shapes))
    tells(refused.value, *shapes)
