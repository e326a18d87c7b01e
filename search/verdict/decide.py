"""Verdict: whether the method helps, from the best configuration of each arm, trained again with fresh seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from numpy.typing import ArrayLike

from search.experiment.arms import Arm
from search.tuner.pruners.peers import Mode
from search.verdict import anytime
from search.verdict.paired import (
    CONFIDENCE,
    Paired,
    Range,
    Secondary,
    detectable,
    paired_bootstrap,
    secondary,
    seeds_for,
    sign_flip,
    smallest_p,
    t_interval,
)

Claim = Literal["helps", "hurts", "none"]


@dataclass(frozen=True)
class Ablation:
    """Results of the better configuration with its modulation switched, trained with the seeds and splits of the pairs.

    The best configurations of two separately searched arms differ in more than the modulation, and the better one may
    owe its lead to these other settings. If the method changes nothing, such a lead is the luck of one search. An
    ablation differs only in the modulation. See docs/statistics.md.

    Args:
        of: arm whose configuration is switched. The ablation of the modulated arm is unmodulated; the ablation of the
            baseline has the modulation of the best modulated configuration.
        values: results [n].
    """

    of: Arm
    values: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Verdict on n pairs of fresh seeds. Values are in the metric's unit, differences are modulated - baseline.

    Args:
        claim: claim about the method.
        word: the claim in words: "helps", "hurts", "no difference that 10 seeds can show".
        mode: whether a higher (`max`) or a lower (`min`) metric is better.
        sequential: whether seeds were added until the result was clear.
        interval: interval that decides: the paired t interval or, if `sequential`, that of the confidence sequence;
            None if there is none.
        paired: statistics of the pairs: mean and sd of each arm, the difference, its t interval.
        ablation_interval, ablation: interval and statistics of the better configuration and its ablation, modulated -
            unmodulated.
        sign_flip_p: exact p of the sign-flip test; None if n is too small for it to reach 5 %.
        smallest_p: smallest p that the sign-flip test allows for n pairs.
        detectable: smallest true difference that n pairs detect with 80 % power, given the observed sd.
        seeds_for_seen: number of pairs that detect a true difference of the observed size with 80 % power.
        evidence: evidence against "no difference", valid at any time of looking, if `sequential`; see
            `search.verdict.anytime`.
        unimodal: secondary comparison of each modality's unimodal accuracy.
        examples: interval of the difference in accuracy over redrawn examples, if the publisher fixes the split.
        notes: sentences that belong to the verdict.
    """

    claim: Claim
    word: str
    mode: Mode
    sequential: bool
    interval: tuple[float, float] | None = None
    paired: Paired
    ablation_interval: tuple[float, float] | None = None
    ablation: Paired | None = None
    sign_flip_p: float | None = None
    smallest_p: float
    detectable: float | None = None
    seeds_for_seen: int | None = None
    evidence: float | None = None
    unimodal: dict[str, Secondary]
    examples: Range | None = None
    notes: tuple[str, ...]


def leader(pairs: Paired, mode: Mode) -> Arm:
    """Return the arm with the better mean, whose ablation is trained; the baseline on ties."""
    return "modulated" if (pairs.mean > 0 if mode == "max" else pairs.mean < 0) else "baseline"


def claim_of(interval: tuple[float, float] | None, mode: Mode) -> Claim:
    """Return the claim that an interval of modulated - baseline supports: none if it contains 0 or does not exist."""
    if interval is None or interval[0] <= 0 <= interval[1]:
        return "none"
    return "helps" if (interval[0] > 0) == (mode == "max") else "hurts"


def interval_of(pairs: Paired, *, sequential: bool) -> tuple[float, float] | None:
    """Return the interval that decides: the paired t interval, or that of the confidence sequence if `sequential`."""
    if not pairs.sd or not sequential:
        return pairs.interval
    half = anytime.half_width(pairs.sd, pairs.n)
    return None if half is None else (pairs.mean - half, pairs.mean + half)


@dataclass(frozen=True)
class Decision:
    """Claim about the method, and the intervals that it rests on.

    Args:
        claim: final claim.
        first: claim of the pairs alone.
        paired, ablation: statistics of the pairs, and of the ablation.
        interval, ablation_interval: intervals of modulated - baseline; None if there is none.
    """

    claim: Claim
    first: Claim
    paired: Paired
    interval: tuple[float, float] | None
    ablation: Paired | None
    ablation_interval: tuple[float, float] | None


def decide(
    modulated: Sequence[float],
    baseline: Sequence[float],
    mode: Mode = "max",
    *,
    sequential: bool = False,
    ablation: Ablation | None = None,
) -> Decision:
    """Return the decision of `verdict`, which describes it, without the verdict's other numbers."""
    pairs = t_interval(modulated, baseline)
    interval = interval_of(pairs, sequential=sequential)
    first = claim_of(interval, mode)
    if ablation is None:
        return Decision(first, first, pairs, interval, None, None)
    against = (
        t_interval(modulated, ablation.values) if ablation.of == "modulated" else t_interval(ablation.values, baseline)
    )
    ablation_interval = interval_of(against, sequential=sequential)
    agree = ablation.of == leader(pairs, mode) and claim_of(ablation_interval, mode) == first
    return Decision(first if agree else "none", first, pairs, interval, against, ablation_interval)


def verdict(
    modulated: Sequence[float],
    baseline: Sequence[float],
    mode: Mode = "max",
    *,
    sequential: bool = False,
    ablation: Ablation | None = None,
    unimodal: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    correct: tuple[ArrayLike, ArrayLike] | None = None,
) -> Verdict:
    """Return the verdict on 2n results, or on 3n with an ablation.

    The claim is *helps* or *hurts* if the two-sided 95 % interval of modulated - baseline excludes 0 and, once there is
    an ablation, if the ablation's interval shows the same. If the method changes nothing, the ablation's interval shows
    a difference with a probability of at most 2.5 % per direction. The same therefore holds for both intervals
    together, whatever the configurations are (an intersection-union test: Berger, *Multiparameter Hypothesis Testing
    and Acceptance Sampling*, Technometrics 1982).

    Args:
        modulated, baseline: values of the metric [n]; values of the same seed have the same index.
        mode: whether a higher (`max`) or a lower (`min`) metric is better.
        sequential: whether n depended on the results.
        ablation: ablation of the arm `leader(…)`, with the seeds of the pairs. An ablation of the other arm supports no
            claim.
        unimodal: modality -> its accuracies [n] in the modulated and in the baseline arm.
        correct: whether the modulated and the baseline models classified each example correctly, bool [n, N] each, if
            all pairs have the same N validation examples.

    Raises:
        ValueError: if results are not finite or not in pairs.
    """
    decision = decide(modulated, baseline, mode, sequential=sequential, ablation=ablation)
    differences = [a - b for a, b in zip(modulated, baseline, strict=True)]
    pairs = decision.paired
    found = Verdict(
        claim=decision.claim,
        word=f"no difference that {_seeds(pairs.n)} can show" if decision.claim == "none" else decision.claim,
        mode=mode,
        sequential=sequential,
        interval=decision.interval,
        paired=pairs,
        ablation_interval=decision.ablation_interval,
        ablation=decision.ablation,
        smallest_p=smallest_p(pairs.n),
        unimodal=secondary(unimodal or {}),
        examples=None if correct is None else paired_bootstrap(*correct),
        notes=tuple(filter(None, [_too_few(pairs, sequential=sequential), _of_ablation(decision)])),
    )
    return _with_power(found, pairs.sd, differences) if pairs.sd else found


def _with_power(found: Verdict, sd: float, differences: Sequence[float]) -> Verdict:
    """Add the numbers that need differences with a spread: p-value, power and evidence."""
    mean, n = found.paired.mean, found.paired.n
    log_evidence = float(anytime.log_evidence(differences)[-1])
    return replace(
        found,
        sign_flip_p=sign_flip(differences) if _can_flip(n) else None,
        detectable=detectable(sd, n),
        seeds_for_seen=seeds_for(mean, sd),
        evidence=math.exp(min(700.0, log_evidence)) if found.sequential else None,
    )


def _seeds(n: int) -> str:
    return "1 seed" if n == 1 else f"{n} seeds"


def _can_flip(n: int) -> bool:
    """Return whether a sign-flip test of n pairs can reach 5 %."""
    return smallest_p(n) <= 1 - CONFIDENCE


def _too_few(pairs: Paired, *, sequential: bool) -> str:
    """Return a note on the results that so few pairs, or equal ones, do not allow."""
    n = pairs.n
    steps = "With seeds added step by step, at least 5 are needed."
    if n == 1:
        least = "An interval needs at least 2 seeds, a sign-flip test that can reach 5 % at least 6."
        return f"1 seed has no spread, so there is no interval and no p-value. {steps if sequential else least}"
    if not pairs.sd and pairs.seeds_have_effect:
        return f"All {n} differences happen to be equal, so there is no interval and no p-value."
    if not pairs.sd:
        return (
            f"All {n} differences are equal. Seeds that change nothing count as a single result, so there is no "
            "interval and no p-value."
        )
    if sequential:
        return "" if anytime.half_width(pairs.sd, n) is not None else f"{n} seeds give no interval. {steps}"
    if _can_flip(n):
        return ""
    return (
        f"There is no sign-flip p-value: {n} seeds cannot reach 5 % (their smallest p is {smallest_p(n):g}). At least "
        "6 are needed."
    )


def _of_ablation(found: Decision) -> str:
    """Return a note if the ablation is missing or does not support the claim of the pairs."""
    better, switched = ("modulated", "off") if found.first == "helps" else ("baseline", "on")
    if found.first == "none":
        return ""
    if found.ablation is None:
        return (
            f"Not trained: the best {better} configuration with the modulation switched {switched}. Other settings in "
            "which the two configurations differ may explain the difference."
        )
    if found.claim == "none":
        return (
            f"The best {better} configuration is ahead, but the same configuration with the modulation switched "
            f"{switched} does not confirm that modulation {found.first}. Other settings may explain the lead, and they "
            "were the luck of the search."
        )
    return ""
