"""Statistics of paired results: one of each arm, with the same seed and the same validation split."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

CONFIDENCE = 0.95
POWER = 0.8
SAME = 1e-6  # a spread below this share of the values is rounding: metrics are computed in single precision
EXACT_PAIRS = 30  # up to this number of pairs, all sign assignments are counted; beyond, they are drawn at random
DRAWS = 99_999
RESAMPLES = 9_999
MOST_SEEDS = 10_000


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (n - 1) of some results, in the metric's unit. A single result has no deviation."""

    mean: float
    sd: float | None


@dataclass(frozen=True)
class Paired:
    """Statistics of the difference modulated - baseline over n pairs, in the metric's unit.

    Args:
        n: number of pairs.
        mean, sd: mean and standard deviation of the differences; `sd` is None for a single pair, and 0 if all
            differences are equal.
        low, high: two-sided interval of the mean difference; None if there is none (n < 2 or sd = 0).
        p: two-sided p of the paired t test; None if there is no interval.
        confidence: confidence level of the interval.
        modulated, baseline: mean and standard deviation of each arm.
    """

    n: int
    mean: float
    sd: float | None
    low: float | None
    high: float | None
    p: float | None
    confidence: float
    modulated: Spread
    baseline: Spread

    @property
    def interval(self) -> tuple[float, float] | None:
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def seeds_have_effect(self) -> bool:
        """Whether the seed changes the results of an arm. If it does, equal differences are a coincidence."""
        return bool(self.modulated.sd or self.baseline.sd)


@dataclass(frozen=True)
class Secondary:
    """Secondary comparison: one of several that share an error rate.

    Args:
        paired: statistics of the comparison, with an interval at 1 - 0.05 / m for m comparisons (Bonferroni): all m
            hold together with 95 %, and none excludes 0 if Holm's p is above 0.05.
        holm_p: p adjusted for the number of comparisons; None if there is no p.
    """

    paired: Paired
    holm_p: float | None


@dataclass(frozen=True)
class Range:
    """Interval around a mean."""

    mean: float
    low: float
    high: float


def t_interval(modulated: Sequence[float], baseline: Sequence[float], confidence: float = CONFIDENCE) -> Paired:
    """Return the paired t interval, d ± t(n - 1) · s / sqrt(n), with d and s the mean and sd of the n differences.

    Source: Student, *The Probable Error of a Mean*, Biometrika 1908.

    Differences that are all equal, up to rounding, get no interval. With an sd of 0, the interval would be a point and
    any difference certain. But if the seed changes nothing, n seeds are one result n times, and one result has no
    interval.

    Args:
        modulated, baseline: results [n]; results of the same seed have the same index.
        confidence: confidence level of the two-sided interval.

    Raises:
        ValueError: if a result is not finite, if the arms have different numbers of results, or if there are none.
    """
    a, b = _results("modulated", modulated), _results("baseline", baseline)
    if len(a) != len(b):
        raise ValueError(f"expected results in pairs, but got {len(a)} modulated and {len(b)} baseline ones")
    n, d = len(a), a - b
    mean, sd = float(d.mean()), _deviation(d, float(np.abs([a, b]).max()))
    low = high = p = None
    if sd:
        error = sd / math.sqrt(n)
        half = float(stdtrit(n - 1, (1 + confidence) / 2)) * error
        low, high, p = mean - half, mean + half, float(2 * stdtr(n - 1, -abs(mean) / error))
    return Paired(n, mean, sd, low, high, p, confidence, _spread(a), _spread(b))


def _results(name: str, values: Sequence[float]) -> NDArray[np.float64]:
    found = np.asarray(values, float)
    if found.ndim != 1 or not len(found):
        raise ValueError(f"`{name}`: expected one result per seed, and at least one, but got shape {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError(f"`{name}`: expected finite results, but got {found.tolist()}")
    return found


def _deviation(values: NDArray[np.float64], scale: float) -> float | None:
    """Return the standard deviation, or 0 if it is no larger than the rounding of numbers of the size `scale`."""
    if len(values) < 2:
        return None
    sd = float(values.std(ddof=1))
    return sd if sd > SAME * scale else 0.0


def _spread(values: NDArray[np.float64]) -> Spread:
    return Spread(float(values.mean()), _deviation(values, float(np.abs(values).max())))


def prediction_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Range | None:
    """Return the interval that contains the result of one more training: mean ± t(n - 1) · s · sqrt(1 + 1 / n).

    None for a single result, and if all results are equal. Source: Hahn and Meeker, *Statistical Intervals*, 1991,
    section 4.8.

    Args:
        values: results [n] of trainings that differ only in their seed.
        confidence: probability that one more such training lies in the interval.
    """
    found = _results("values", values)
    n, spread = len(found), _spread(found)
    if not spread.sd:
        return None
    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * spread.sd * math.sqrt(1 + 1 / n)
    return Range(spread.mean, spread.mean - half, spread.mean + half)


# ---- exact test ----


def smallest_p(n: int) -> float:
    """Return the smallest two-sided p that a sign-flip test of n pairs can give: 2 of 2^n assignments.

    >>> smallest_p(5), smallest_p(6)
    (0.0625, 0.03125)
    """
    return 2.0 ** (1 - n)


def sign_flip(differences: Sequence[float], seed: int = 0) -> float:
    """Return the two-sided p of the sign-flip test (Fisher, *The Design of Experiments*, 1935, section 21).

    It is the share of all 2^n assignments of signs to the differences whose sum is at least as far from 0. The test
    only assumes that, if the method changes nothing, a difference is as likely as its negative.

    Exact up to 30 pairs, by counting the sums of both halves. Beyond, it is (b + 1) / (m + 1) for m = 99 999 random
    assignments (Phipson and Smyth, *Permutation P-values Should Never Be Zero*, 2010).

    Args:
        differences: differences of the pairs, [n].
        seed: seed of the random assignments.
    """
    d = _results("differences", differences)
    observed = abs(float(d.sum())) - 1e-9 * float(np.abs(d).sum())  # tolerates the rounding of sums in another order
    if len(d) <= EXACT_PAIRS:
        left, right = _signed_sums(d[: len(d) // 2]), np.sort(_signed_sums(d[len(d) // 2 :]))
        above = len(right) - np.searchsorted(right, observed - left)
        return min(1.0, 2 * float(above.sum()) / 2.0 ** len(d))  # as many sums lie as far below 0
    rng, sums = np.random.default_rng(seed), np.zeros(DRAWS)
    for value in d:
        sums += value * rng.choice([-1.0, 1.0], DRAWS)
    return float(1 + (np.abs(sums) >= observed).sum()) / (DRAWS + 1)


def _signed_sums(d: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum of each of the 2^n assignments of signs."""
    sums = np.zeros(1)
    for value in d:
        sums = np.concatenate([sums - value, sums + value])
    return sums


# ---- power ----


def power_of(difference: float, sd: float, n: int, alpha: float = 1 - CONFIDENCE) -> float:
    """Return the probability that a two-sided paired t test of n pairs detects a true difference.

    It is the probability beyond the critical values of the noncentral t distribution with n - 1 degrees of freedom and
    noncentrality difference · sqrt(n) / sd (Cohen, *Statistical Power Analysis*, 1988, chapter 2).

    Args:
        difference: true difference, in the metric's unit; its sign does not matter.
        sd: standard deviation of the pairs' differences, above 0.
        n: number of pairs, at least 2.
        alpha: significance level of the test.
    """
    return _power(abs(difference) / sd * math.sqrt(n), n, alpha)


def _power(noncentrality: float, n: int, alpha: float) -> float:
    from scipy.stats import nct  # takes a second to import, which every command would have to wait for

    critical = float(stdtrit(n - 1, 1 - alpha / 2))
    there, opposite = (float(nct.sf(critical, n - 1, s * noncentrality)) for s in (1, -1))
    return there + opposite


def detectable(sd: float, n: int, power: float = POWER, alpha: float = 1 - CONFIDENCE) -> float:
    """Return the smallest true difference that n pairs detect with probability `power`, in the unit of `sd`.

    Solved from `power_of`, for the two-sided paired t test.

    Args:
        sd: standard deviation of the pairs' differences.
        n: number of pairs, at least 2.
        power: power of the test, above alpha.
        alpha: significance level of the test.
    """
    from scipy.optimize import brentq  # slow to import, as above

    high = 4.0
    while _power(high, n, alpha) < power:
        high *= 2
    return float(brentq(lambda nc: _power(nc, n, alpha) - power, 0.0, high)) * sd / math.sqrt(n)


def seeds_for(difference: float, sd: float, power: float = POWER, alpha: float = 1 - CONFIDENCE) -> int | None:
    """Return the smallest number of pairs that detects a true difference with probability `power`.

    The test is the two-sided paired t test. None if it takes more than 10 000 pairs, or if the difference or `sd` is 0.

    Args:
        difference: true difference, in the metric's unit.
        sd: standard deviation of the pairs' differences.
        power: power of the test, above alpha.
        alpha: significance level of the test.
    """
    if not difference or not sd:
        return None
    counts = range(2, MOST_SEEDS + 1)  # a single pair tests nothing
    place = bisect_left(counts, power, key=lambda n: power_of(difference, sd, n, alpha))
    return counts[place] if place < len(counts) else None


# ---- several comparisons, and examples ----


def holm(p_values: Sequence[float]) -> list[float]:
    """Return adjusted p-values, in the given order.

    The i-th smallest of m p-values is multiplied by m - i + 1, and is at least as large as those before it (Holm, *A
    Simple Sequentially Rejective Multiple Test Procedure*, 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def secondary(results: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> dict[str, Secondary]:
    """Return several comparisons that share an error rate of 5 %.

    Args:
        results: name -> results [n] of the modulated and of the baseline arm. A comparison without a p (see
            `t_interval`) still counts as one of them.
    """
    each = {name: t_interval(a, b, 1 - (1 - CONFIDENCE) / len(results)) for name, (a, b) in results.items()}
    adjusted = holm([1.0 if one.p is None else one.p for one in each.values()])
    found = zip(each.items(), adjusted, strict=True)
    return {name: Secondary(one, None if one.p is None else p) for (name, one), p in found}


def paired_bootstrap(
    modulated: ArrayLike, baseline: ArrayLike, confidence: float = CONFIDENCE, seed: int = 0
) -> Range | None:
    """Return the bootstrap interval of the difference in accuracy over redrawn examples; the trained models are kept.

    It is the percentile interval (Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 13). An
    example is drawn together with the predictions of all 2n models. Only one number of it matters: how many more
    modulated than baseline models are right, from -n to n. A resample is therefore a multinomial draw of the counts of
    these 2n + 1 values, whatever the number of examples. None for fewer than two examples.

    Args:
        modulated, baseline: whether each model classified each example correctly, bool [n, N], with rows and columns in
            the same order.
        confidence: confidence level of the two-sided interval.
        seed: seed of the 9 999 resamples.

    Raises:
        ValueError: if the shapes differ.
    """
    a, b = np.asarray(modulated, bool), np.asarray(baseline, bool)
    if a.shape != b.shape or a.ndim != 2 or not a.size:
        raise ValueError(f"expected predictions [pairs, examples] of the same shape, but got {a.shape} and {b.shape}")
    pairs, examples = a.shape
    if examples < 2:
        return None
    levels, counts = np.unique(a.sum(0) - b.sum(0), return_counts=True)
    draws = np.random.default_rng(seed).multinomial(examples, counts / examples, RESAMPLES)
    scale = 1 / (pairs * examples)
    low, high = np.quantile(draws @ levels * scale, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Range(float(counts @ levels) * scale, float(low), float(high))
