"""A paired t test that may be looked at after every pair: the rule of `--sequential`.

The differences are weighed by a Bayes factor whose prior on the effect (mean / sd) is normal about 0 and whose prior on
the sd is the right Haar one, 1 / sd. Such a factor depends on the differences by what no change of unit alters, and on
these it is a martingale that starts at 1, whatever the sd, as long as the mean is 0. By Ville's inequality it ever
reaches 20 in at most 1 of 20 searches, however often one looks and whenever one stops. The differences are taken as
normal, as in every t test.

Sources: Lai, *On Confidence Sequences*, Annals of Statistics 1976; Pérez-Ortiz, Lardy, de Heide and Grünwald,
*E-Statistics, Group Invariance and Anytime-Valid Testing*, Annals of Statistics 2024 (arXiv 2208.07610); Wang and
Ramdas, *Anytime-Valid t-Tests and Confidence Sequences for Gaussian Means with Unknown Variance*, 2024 (arXiv
2310.03722), section 4.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

EFFECT_VARIANCE = 1.0  # of the prior; of other values each needs more seeds somewhere, none makes it err more often
EVIDENCE = 20.0  # 1 / 5 %


def log_evidence(differences: ArrayLike) -> NDArray[np.float64]:
    """The logarithm of the Bayes factor against "no difference", after each pair.

    With S the sum and V the sum of squares of the first n, and g the variance of the prior:
    -log(1 + n g) / 2 - n / 2 · log(1 - g S² / ((1 + n g) V)), which equals the usual form in t,
    (1 + n g)^(-1/2) · ((1 + t² / (n - 1)) / (1 + t² / ((n - 1)(1 + n g))))^(n / 2).

    Args:
        differences: [..., n]. Zeros to begin with, which say nothing of the scale, count as no evidence.
    """
    x = np.asarray(differences, float)
    n = np.arange(1, x.shape[-1] + 1)
    total, squares = x.cumsum(-1), (x**2).cumsum(-1)
    share = np.divide(total**2, squares, out=np.zeros_like(total), where=squares > 0)
    shrink = 1 + n * EFFECT_VARIANCE
    found: NDArray[np.float64] = -np.log(shrink) / 2 - n / 2 * np.log1p(-EFFECT_VARIANCE * share / shrink)
    return np.where(squares > 0, found, 0.0)


def half_width(sd: float, n: int) -> float | None:
    """That of the 95 % confidence sequence: the mean difference ± this is where the evidence against a difference is
    below 20. All of a search's intervals hold at once, so that the last one holds however the last one was chosen.

    From the form in t: with c = (20 · sqrt(1 + n g))^(2 / n), t² / (n - 1) < (c - 1) / (1 - c / (1 + n g)).

    Args:
        sd: of the differences, above 0.
        n: pairs. With fewer than 5 no evidence could be enough, and the interval is the whole line: None.
    """
    shrink = 1 + n * EFFECT_VARIANCE
    c = (EVIDENCE * math.sqrt(shrink)) ** (2 / n)
    if c >= shrink:
        return None
    return sd * math.sqrt((n - 1) / n * (c - 1) / (1 - c / shrink))
