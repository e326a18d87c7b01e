"""The verdict in words and figures, for the screen, MLflow's page and the report alike."""

from __future__ import annotations

from search.experiment.arms import Arm
from search.experiment.formatting import format_difference, format_value
from search.verdict.decide import Claim, Verdict, claim_of
from search.verdict.evidence import ArmScores, TestScores
from search.verdict.paired import Paired, Secondary, Spread

TITLES: dict[Arm, str] = {"modulated": "modulated", "baseline": "unmodulated"}
HEADLINES: dict[Claim, str] = {"helps": "Modulation helps", "hurts": "Modulation hurts"}  # but for "none"


def format_spread(metric: str, spread: Spread) -> str:
    """Mean and standard deviation of some results; an accuracy in per cent."""
    if spread.sd is None:
        return format_value(metric, spread.mean)
    if "accuracy" in metric:
        return f"{100 * spread.mean:.1f} ± {100 * spread.sd:.1f} %"
    return f"{spread.mean:.4f} ± {spread.sd:.4f}"


def _difference(metric: str, mean: float, interval: tuple[float, float] | None) -> str:
    if interval is None:
        return format_difference(metric, mean)
    ends = (format_difference(metric, end, unit=False) for end in interval)
    return f"{format_difference(metric, mean)} ({' to '.join(ends)})"


def _cells(metric: str, pairs: Paired, interval: tuple[float, float] | None) -> tuple[str, str, str]:
    spreads = format_spread(metric, pairs.modulated), format_spread(metric, pairs.baseline)
    return *spreads, _difference(metric, pairs.mean, interval)


HEADINGS = (TITLES["modulated"], TITLES["baseline"], "difference (95 %)")


def verdict_rows(metric: str, found: Verdict, ablation_of: Arm | None) -> list[tuple[str, str, str, str]]:
    """What stands under `HEADINGS`, each row with its name: each arm's mean and standard deviation, and the difference
    with its interval."""
    rows = [(metric, *_cells(metric, found.paired, found.interval)), *map(_modality_row, found.unimodal.items())]
    if found.ablation not in (None, found.paired):  # where it is the pair itself, one row says it
        switched = "modulation off" if ablation_of == "modulated" else "modulation on"
        rows.append((f"  the same, {switched}", *_cells(metric, found.ablation, found.ablation_interval)))
    if (redrawn := found.examples) is not None:
        difference = _difference("accuracy", redrawn.mean, (redrawn.low, redrawn.high))
        rows.append(("  examples redrawn", "", "", difference))
    return rows


def _modality_row(item: tuple[str, Secondary]) -> tuple[str, str, str, str]:
    name, unimodal = item
    modulated, baseline, difference = _cells("accuracy", unimodal.paired, unimodal.paired.interval)
    p = "" if unimodal.holm_p is None else f", p = {unimodal.holm_p:.2g}"
    return f"  {name} alone", modulated, baseline, difference + p


def sentences(metric: str, found: Verdict) -> list[str]:
    """What the table means."""
    n = found.paired.n
    if found.claim == "none":
        said = [f"{found.word[0].upper()}{found.word[1:]}."]
    else:
        said = [f"{HEADLINES[found.claim]}, by {_size(metric, found.paired.mean)} as it looks from {n} seeds."]
    if found.detectable is not None:
        said.append(_power_sentence(metric, found, found.detectable))
    if found.sign_flip_p is not None:
        said.append(
            f"Exact sign-flip p = {found.sign_flip_p:.2g}; the smallest that {n} seeds allow is {found.smallest_p:.2g}."
        )
    if found.evidence is not None:
        said.append(f"Evidence against no difference: {found.evidence:.3g}, where 20 is clear.")
    return [*said, *found.notes]


def _power_sentence(metric: str, found: Verdict, detectable: float) -> str:
    n = found.paired.n
    if "accuracy" in metric and detectable > 1:
        return f"{n} seeds that differ as much as these could show no difference at all."
    able = f"{n} seeds show a true difference of {_size(metric, detectable)} in four cases of five"
    return f"{able}{_more_seeds(found)}."


def _more_seeds(found: Verdict) -> str:
    """How many would show the difference seen, where the pairs show none."""
    if claim_of(found.interval, found.mode) != "none" or not found.paired.mean:
        return ""
    if found.seeds_for_seen is None:
        return "; one as small as the one seen is out of reach"
    return f"; one as large as the one seen would take {found.seeds_for_seen}"


def _size(metric: str, difference: float) -> str:
    return format_difference(metric, abs(difference)).removeprefix("+")


def test_sentence(test: TestScores) -> str:
    """The pair of numbers that one publishes."""
    return (
        f"On the test split ({test.examples} examples, read once for all models): modulated "
        f"{_score(test.modulated)} %, unmodulated {_score(test.baseline)} % (mean and standard deviation of "
        f"{test.seeds} seeds each)."
    )


def _score(scores: ArmScores) -> str:
    spread = "" if scores.sd is None else f" ± {100 * scores.sd:.1f}"
    return f"{100 * scores.mean:.1f}{spread}"
