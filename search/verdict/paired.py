"""Statistics of results that come in pairs: one of each arm, with the same seed and the same validation split."""

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
SAME = 1e-6  # a spread below this share of the values is their rounding: metrics are computed in single precision
EXACT_PAIRS = 30  # up to so many sign assignments are counted, beyond they are drawn
DRAWS = 99_999
RESAMPLES = 9_999
MOST_SEEDS = 10_000


@dataclass(frozen=True)
class Spread:
    """Some results: their mean and standard deviation (n - 1), in the metric's unit; a single one has no deviation."""

    mean: float
    sd: float | None


@dataclass(frozen=True)
class Paired:
    """What n pairs say of the difference modulated - baseline, in the metric's unit.

    Args:
        n: pairs.
        mean, sd: of the differences; no `sd` for a single pair, and 0 where all differences are the same.
        low, high: the two-sided interval of the mean difference; None where there is none: n < 2 or sd = 0.
        p: two-sided, of the paired t test; None where there is no interval.
        confidence: of the interval.
        modulated, baseline: each arm by itself.
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


@dataclass(frozen=True)
class Secondary:
    """A secondary comparison, one of several that share an error rate.

    Args:
        paired: the comparison, with an interval at 1 - 0.05 / m of m comparisons (Bonferroni): all m hold at once in
            95 %, and none excludes 0 where Holm's p is above 0.05.
        holm_p: p adjusted for the number of comparisons; None where there is no p.
    """

    paired: Paired
    holm_p: float | None


@dataclass(frozen=True)
class Range:
    """An interval about a mean."""

    mean: float
    low: float
    high: float


def t_interval(modulated: Sequence[float], baseline: Sequence[float], confidence: float = CONFIDENCE) -> Paired:
    """The paired t interval: d ± t(n - 1) · s / sqrt(n), d and s the mean and standard deviation of the n differences
    (Student, *The Probable Error of a Mean*, Biometrika 1908).

    Differences that are all the same, up to rounding, get no interval. Their spread of 0 would make it a point and any
    difference certain; but seeds that change nothing are one result n times, and a single one has no interval.

    Args:
        modulated, baseline: results [n], of the same seed at the same place.
        confidence: of the two-sided interval.

    Raises:
        ValueError: results that are not finite, not as many in both arms, or none at all.
    """
    a, b = _results("modulated", modulated), _results("baseline", baseline)
    if len(a) != len(b):
        raise ValueError(f"results come in pairs, but there are {len(a)} modulated and {len(b)} baseline ones")
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
        raise ValueError(f"`{name}`: expected one result for each seed and at least one, but got shape {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError(f"`{name}`: expected finite results, but got {found.tolist()}")
    return found


def _deviation(values: NDArray[np.float64], scale: float) -> float | None:
    """The standard deviation; 0 where it is what rounding of numbers as large as `scale` leaves."""
    if len(values) < 2:
        return None
    sd = float(values.std(ddof=1))
    return sd if sd > SAME * scale else 0.0


def _spread(values: NDArray[np.float64]) -> Spread:
    return Spread(float(values.mean()), _deviation(values, float(np.abs(values).max())))


def prediction_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Range | None:
    """Where the result of one more training lies: mean ± t(n - 1) · s · sqrt(1 + 1 / n) (Hahn and Meeker, *Statistical
    Intervals*, 1991, section 4.8). None for a single result, and where all are the same.

    Args:
        values: results of trainings [n] that differ by their seed alone.
        confidence: that of one more such training lying in it.
    """
    found = _results("values", values)
    n, spread = len(found), _spread(found)
    if not spread.sd:
        return None
    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * spread.sd * math.sqrt(1 + 1 / n)
    return Range(spread.mean, spread.mean - half, spread.mean + half)


# ---- the exact test beside it ----


def smallest_p(n: int) -> float:
    """The smallest two-sided p that a sign-flip test of n pairs can give: 2 of 2^n assignments.

    >>> smallest_p(5), smallest_p(6)
    (0.0625, 0.03125)
    """
    return 2.0 ** (1 - n)


def sign_flip(differences: Sequence[float], seed: int = 0) -> float:
    """The two-sided p of the sign-flip test (Fisher, *The Design of Experiments*, 1935, section 21): the share of all
    2^n assignments of signs to the differences whose sum is at least as far from 0. It asks only that a difference is
    as likely as its negative where the method changes nothing.

    Exact up to 30 pairs, by counting the sums of both halves; beyond, (b + 1) / (m + 1) of m = 99 999 drawn ones
    (Phipson and Smyth, *Permutation P-values Should Never Be Zero*, 2010).

    Args:
        differences: [n].
        seed: of the draw.
    """
    d = _results("differences", differences)
    observed = abs(float(d.sum())) - 1e-9 * float(np.abs(d).sum())  # sums in another order round in another way
    if len(d) <= EXACT_PAIRS:
        left, right = _signed_sums(d[: len(d) // 2]), np.sort(_signed_sums(d[len(d) // 2 :]))
        above = len(right) - np.searchsorted(right, observed - left)
        return min(1.0, 2 * float(above.sum()) / 2.0 ** len(d))  # as many lie as far below
    rng, sums = np.random.default_rng(seed), np.zeros(DRAWS)
    for value in d:
        sums += value * rng.choice([-1.0, 1.0], DRAWS)
    return float(1 + (np.abs(sums) >= observed).sum()) / (DRAWS + 1)


def _signed_sums(d: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum of each of the 2^n assignments of signs."""
    sums = np.zeros(1)
    for value in d:
        sums = np.concatenate([sums - value, sums + value])
    return sums


# ---- what n seeds can show ----


def power_of(difference: float, sd: float, n: int, alpha: float = 1 - CONFIDENCE) -> float:
    """The chance that a two-sided paired t test of n pairs shows a true difference: the noncentral t distribution with
    n - 1 degrees of freedom and noncentrality difference · sqrt(n) / sd, beyond the critical values (Cohen,
    *Statistical Power Analysis*, 1988, chapter 2).

    Args:
        difference: true, in the metric's unit; its sign changes nothing.
        sd: of the differences of pairs, above 0.
        n: pairs, at least 2.
        alpha: of the test.
    """
    return _power(abs(difference) / sd * math.sqrt(n), n, alpha)


def _power(noncentrality: float, n: int, alpha: float) -> float:
    from scipy.stats import nct  # a second, which every command would wait for

    critical = float(stdtrit(n - 1, 1 - alpha / 2))
    there, opposite = (float(nct.sf(critical, n - 1, s * noncentrality)) for s in (1, -1))
    return there + opposite


def detectable(sd: float, n: int, power: float = POWER, alpha: float = 1 - CONFIDENCE) -> float:
    """The smallest true difference that a two-sided paired t test of n pairs shows with a chance of `power`, solved
    from `power_of`. In the unit of `sd`.

    Args:
        sd: of the differences of pairs.
        n: pairs, at least 2.
        power: above alpha.
        alpha: of the test.
    """
    from scipy.optimize import brentq  # as above

    high = 4.0
    while _power(high, n, alpha) < power:
        high *= 2
    return float(brentq(lambda nc: _power(nc, n, alpha) - power, 0.0, high)) * sd / math.sqrt(n)


def seeds_for(difference: float, sd: float, power: float = POWER, alpha: float = 1 - CONFIDENCE) -> int | None:
    """The fewest pairs with which a two-sided paired t test shows a true difference with a chance of `power`.

    None for more than 10 000, and for a difference or a spread of 0.

    Args:
        difference: true, in the metric's unit.
        sd: of the differences of pairs.
        power: above alpha.
        alpha: of the test.
    """
    if not difference or not sd:
        return None
    counts = range(2, MOST_SEEDS + 1)  # a single pair tests nothing
    place = bisect_left(counts, power, key=lambda n: power_of(difference, sd, n, alpha))
    return counts[place] if place < len(counts) else None


# ---- several comparisons, and examples ----


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in their order: the i-th smallest of m is multiplied by m - i + 1, and none is below one
    before it (Holm, *A Simple Sequentially Rejective Multiple Test Procedure*, 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def secondary(results: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> dict[str, Secondary]:
    """Each of several comparisons, the error rate of 5 % shared among them.

    Args:
        results: name -> results of the modulated and of the baseline arm, [n] each. One that has no p (see
            `t_interval`) counts among the comparisons all the same.
    """
    each = {name: t_interval(a, b, 1 - (1 - CONFIDENCE) / len(results)) for name, (a, b) in results.items()}
    adjusted = holm([1.0 if one.p is None else one.p for one in each.values()])
    found = zip(each.items(), adjusted, strict=True)
    return {name: Secondary(one, None if one.p is None else p) for (name, one), p in found}


def paired_bootstrap(
    modulated: ArrayLike, baseline: ArrayLike, confidence: float = CONFIDENCE, seed: int = 0
) -> Range | None:
    """The difference in accuracy with the examples redrawn and the trained models kept: the percentile interval of the
    bootstrap (Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 13).

    An example is drawn with the answers of all 2n models. What counts of it is then its difference in the number of
    models that are right, one of -n … n: so that a resample is a multinomial draw of how often each of these 2n + 1
    comes, whatever the number of examples. None for fewer than two examples.

    Args:
        modulated, baseline: which examples each model got right, bool [n, N] each, rows and columns in the same order.
        confidence: of the two-sided interval.
        seed: of the 9 999 resamples.

    Raises:
        ValueError: shapes that are not the same.
    """
    a, b = np.asarray(modulated, bool), np.asarray(baseline, bool)
    if a.shape != b.shape or a.ndim != 2 or not a.size:
        raise ValueError(f"expected answers [pairs, examples] of the same models' examples, got {a.shape}, {b.shape}")
    pairs, examples = a.shape
    if examples < 2:
        return None
    levels, counts = np.unique(a.sum(0) - b.sum(0), return_counts=True)
    draws = np.random.default_rng(seed).multinomial(examples, counts / examples, RESAMPLES)
    scale = 1 / (pairs * examples)
    low, high = np.quantile(draws @ levels * scale, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Range(float(counts @ levels) * scale, float(low), float(high))
