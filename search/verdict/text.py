"""The verdict in words and figures, for the screen, MLflow's page and the report alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.experiment.arms import ARMS, Arm
from search.experiment.formatting import format_difference, format_value
from search.verdict.decide import Claim, Verdict, claim_of
from search.verdict.paired import Paired, Spread

TITLES: dict[Arm, str] = {"modulated": "modulated", "baseline": "unmodulated"}
HEADLINES: dict[Claim, str] = {"helps": "Modulation helps", "hurts": "Modulation hurts"}  # but for "none"


def _spread(metric: str, spread: Spread) -> str:
    if spread.sd is None:
        return format_value(metric, spread.mean)
    if "accuracy" in metric:
        return f"{100 * spread.mean:.1f} ± {100 * spread.sd:.1f} %"
    return f"{spread.mean:.4f} ± {spread.sd:.4f}"


def _difference(metric: str, mean: float, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return format_difference(metric, mean)
    ends = (format_difference(metric, end, unit=False) for end in (low, high))
    return f"{format_difference(metric, mean)} ({' to '.join(ends)})"


def _row(metric: str, pairs: Paired) -> tuple[str, str, str]:
    return (
        _spread(metric, pairs.modulated),
        _spread(metric, pairs.baseline),
        _difference(metric, pairs.mean, pairs.low, pairs.high),
    )


HEADINGS = (TITLES["modulated"], TITLES["baseline"], "difference (95 %)")


def verdict_rows(metric: str, found: Verdict, ablation_of: Arm | None) -> list[tuple[str, str, str, str]]:
    """What stands under `HEADINGS`, each row with its name: each arm's mean and standard deviation, and the difference
    with its interval."""
    low, high = found.interval or (None, None)
    modulated, baseline, _ = _row(metric, found.paired)
    rows = [(metric, modulated, baseline, _difference(metric, found.paired.mean, low, high))]
    for name, alone in found.alone.items():
        p = "" if alone.holm_p is None else f", p = {alone.holm_p:.2g}"
        cells = _row("accuracy", alone.paired)
        rows.append((f"  {name} alone", *cells[:2], cells[2] + p))
    if found.ablation is not None:
        switched = "modulation off" if ablation_of == "modulated" else "modulation on"
        low, high = found.ablation_interval or (None, None)
        cells = _row(metric, found.ablation)
        rows.append((f"  the same, {switched}", *cells[:2], _difference(metric, found.ablation.mean, low, high)))
    if found.examples is not None:
        redrawn = found.examples
        rows.append(("  examples redrawn", "", "", _difference("accuracy", redrawn.mean, redrawn.low, redrawn.high)))
    return rows


def sentences(metric: str, found: Verdict) -> list[str]:
    """What the table means."""
    pairs, said = found.paired, []
    if found.claim == "none":
        said.append(f"{found.word[0].upper()}{found.word[1:]}.")
    else:
        said.append(f"{HEADLINES[found.claim]}, by {_of(metric, pairs.mean)} as it looks from {pairs.n} seeds.")
    if found.detectable is not None and "accuracy" in metric and found.detectable > 1:
        said.append(f"{pairs.n} seeds that differ as much as these could show no difference at all.")
    elif found.detectable is not None:
        able = f"{pairs.n} seeds show a true difference of {_of(metric, found.detectable)} in four cases of five"
        said.append(f"{able}{_more_seeds(found)}.")
    if found.sign_flip_p is not None:
        said.append(
            f"Exact sign-flip p = {found.sign_flip_p:.2g}; the smallest that {pairs.n} seeds allow is "
            f"{found.smallest_p:.2g}."
        )
    if found.evidence is not None:
        said.append(f"Evidence against no difference: {found.evidence:.3g}, where 20 is clear.")
    return [*said, *found.notes]


def _more_seeds(found: Verdict) -> str:
    """How many would show the difference seen, where the pairs show none."""
    if claim_of(found.interval, found.mode) != "none" or not found.paired.mean:
        return ""
    if found.seeds_for_seen is None:
        return "; one as small as the one seen is out of reach"
    return f"; one as large as the one seen would take {found.seeds_for_seen}"


def _of(metric: str, difference: float) -> str:
    return format_difference(metric, abs(difference)).removeprefix("+")


def test_sentence(test: Mapping[str, Any]) -> str:
    """The pair of numbers that one publishes."""
    arms = {arm: f"{100 * test[arm]['mean']:.1f}" for arm in ARMS}
    spread = {arm: "" if test[arm]["sd"] is None else f" ± {100 * test[arm]['sd']:.1f}" for arm in ARMS}
    return (
        f"On the test split ({test['examples']} examples, read once for all models): modulated {arms['modulated']}"
        f"{spread['modulated']} %, unmodulated {arms['baseline']}{spread['baseline']} % (mean and standard deviation "
        f"of {test['seeds']} seeds each)."
    )
