"""Paired t test that may be evaluated after every pair: the rule of `--sequential`.

The evidence in the differences is a Bayes factor. Its prior on the effect (mean / sd) is normal around 0, its prior on
the sd is the right Haar prior, 1 / sd. Such a factor depends on the differences only through quantities without a unit.
If the mean is 0, it is a martingale in these quantities that starts at 1, whatever the sd. By Ville's inequality it
reaches 20 in at most 1 of 20 searches, however often one looks and whenever one stops. The differences are assumed to
be normal, as in every t test.

Sources: Lai, *On Confidence Sequences*, Annals of Statistics 1976; Pérez-Ortiz, Lardy, de Heide and Grünwald,
*E-Statistics, Group Invariance and Anytime-Valid Testing*, Annals of Statistics 2024 (arXiv 2208.07610); Wang and
Ramdas, *Anytime-Valid t-Tests and Confidence Sequences for Gaussian Means with Unknown Variance*, 2024 (arXiv
2310.03722), section 4.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

# variance of the prior; other values need more seeds for some effects, but none raises the error rate
EFFECT_VARIANCE = 1.0
EVIDENCE = 20.0  # 1 / 5 %


def log_evidence(differences: ArrayLike) -> NDArray[np.float64]:
    """Return the logarithm of the Bayes factor against "no difference" after each pair: [..., n].

    With S the sum and V the sum of squares of the first n differences, and g the variance of the prior, it is -log(1 +
    n g) / 2 - n / 2 · log(1 - g S² / ((1 + n g) V)). This equals the usual form in t, (1 + n g)^(-1/2) · ((1 + t² / (n
    - 1)) / (1 + t² / ((n - 1)(1 + n g))))^(n / 2).

    Args:
        differences: differences of the pairs, [..., n]. Leading zeros, which carry no scale, count as no evidence.
    """
    x = np.asarray(differences, float)
    n = np.arange(1, x.shape[-1] + 1)
    total, squares = x.cumsum(-1), (x**2).cumsum(-1)
    share = np.divide(total**2, squares, out=np.zeros_like(total), where=squares > 0)
    shrink = 1 + n * EFFECT_VARIANCE
    found: NDArray[np.float64] = -np.log(shrink) / 2 - n / 2 * np.log1p(-EFFECT_VARIANCE * share / shrink)
    return np.where(squares > 0, found, 0.0)


def half_width(sd: float, n: int) -> float | None:
    """Return the half-width of the 95 % confidence sequence; None if it is unbounded, as with fewer than 5 pairs.

    The evidence against each true difference in mean ± half-width is below 20. The intervals after all pairs hold
    together, so the last one holds however the time to stop was chosen. From the form in t, with c = (20 · sqrt(1 + n
    g))^(2 / n): t² / (n - 1) < (c - 1) / (1 - c / (1 + n g)).

    Args:
        sd: standard deviation of the differences, above 0.
        n: number of pairs.
    """
    shrink = 1 + n * EFFECT_VARIANCE
    c = (EVIDENCE * math.sqrt(shrink)) ** (2 / n)
    if c >= shrink:
        return None
    return sd * math.sqrt((n - 1) / n * (c - 1) / (1 - c / shrink))
