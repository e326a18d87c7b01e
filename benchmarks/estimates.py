"""Rates and means with their uncertainty."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from scipy.stats import beta

NOMINAL = 0.025  # rate of false claims on each side
SURE = 0.99


def share(hits: int, of: int) -> tuple[float, float, float]:
    """Return a rate and its two-sided 99 % interval (Clopper and Pearson, Biometrika 1934)."""
    low = float(beta.ppf((1 - SURE) / 2, hits, of - hits + 1)) if hits else 0.0
    high = float(beta.ppf((1 + SURE) / 2, hits + 1, of - hits)) if hits < of else 1.0
    return hits / of, low, high


def written(rate: tuple[float, float, float]) -> str:
    return "{:.1f} % ({:.1f}-{:.1f})".format(*(100 * r for r in rate))


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard error."""

    mean: float
    error: float

    def shown(self, digits: int, sign: str = "") -> str:
        return f"{self.mean:{sign}.{digits}f} ± {self.error:.{digits}f}"


def mean_of(values: Iterable[float]) -> Estimate:
    listed = list(values)
    return Estimate(fmean(listed), stdev(listed) / sqrt(len(listed)))
