"""Verdict in words and numbers, for the screen, MLflow's page and the report."""

from __future__ import annotations

from datasets.index.list_files import count
from search.experiment.arms import Arm
from search.experiment.formatting import format_difference, format_value
from search.verdict.anytime import EVIDENCE
from search.verdict.decide import Claim, Verdict, claim_of, leader
from search.verdict.evidence import ArmScores, TestScores
from search.verdict.paired import MOST_SEEDS, Paired, Spread

HEADLINES: dict[Claim, str] = {"helps": "Modulation helps", "hurts": "Modulation hurts"}  # of all claims but "none"


# ---- the table ----


def format_spread(metric: str, spread: Spread) -> str:
    """Return the mean and standard deviation of some results; accuracies as percentages."""
    if spread.sd is None:
        return format_value(metric, spread.mean)
    if "accuracy" in metric:
        return f"{100 * spread.mean:.1f} ± {100 * spread.sd:.1f} %"
    return f"{spread.mean:.4f} ± {spread.sd:.4f}"


def caption(found: Verdict) -> str:
    """Return what the cells of the table are; empty for a single pair, which has neither spread nor interval."""
    return "" if found.paired.n == 1 else "Mean ± standard deviation over the seeds; difference with its 95 % interval."


def verdict_headings(metric: str) -> tuple[str, str, str]:
    """Return the headings of the columns, without that of the rows' names."""
    difference = "difference in points (95 %)" if "accuracy" in metric else "difference (95 %)"
    return "modulated", "baseline", difference


def verdict_rows(metric: str, found: Verdict, ablation_of: Arm | None) -> list[tuple[str, str, str, str]]:
    """Return the rows below `verdict_headings`: a name, each arm's mean and standard deviation, and the difference with
    its interval. The unit is in the heading, or in the cell if the heading has another."""
    unit = "accuracy" not in metric
    rows = [(metric, *_cells(metric, found.paired, found.interval, unit=unit))]
    for name, one in found.unimodal.items():
        rows.append((f"  {name} alone", *_cells("accuracy", one.paired, one.paired.interval, unit=unit)))
    if found.ablation is not None and found.ablation != found.paired:  # if they are equal, one row is enough
        switched = "off" if ablation_of == "modulated" else "on"
        cells = _cells(metric, found.ablation, found.ablation_interval, unit=unit)
        rows.append((f"  modulation {switched}", *cells))
    if (redrawn := found.examples) is not None:
        difference = _difference("accuracy", redrawn.mean, (redrawn.low, redrawn.high), unit=unit)
        rows.append(("  examples redrawn", "", "", difference))
    return rows


def _cells(metric: str, pairs: Paired, interval: tuple[float, float] | None, *, unit: bool) -> tuple[str, str, str]:
    spreads = format_spread(metric, pairs.modulated), format_spread(metric, pairs.baseline)
    return *spreads, _difference(metric, pairs.mean, interval, unit=unit)


def _difference(metric: str, mean: float, interval: tuple[float, float] | None, *, unit: bool) -> str:
    if interval is None:
        return f"{format_difference(metric, mean, unit=unit)} (no interval)"
    low, high = (format_difference(metric, end, unit=False) for end in interval)
    return f"{format_difference(metric, mean, unit=unit)} ({low} to {high})"


# ---- the sentences ----


def is_unchecked(found: Verdict) -> bool:
    """Return whether the pairs differ but the ablation, which checks that modulation is the reason, is missing."""
    differs = claim_of(found.interval, found.mode) != "none"
    return found.claim == "none" and found.ablation is None and differs


def is_contradicted(found: Verdict) -> bool:
    """Return whether the pairs differ, but not when the modulation alone is switched."""
    return found.claim == "none" and found.ablation is not None and claim_of(found.interval, found.mode) != "none"


def headline(found: Verdict) -> str:
    """Return the verdict as a heading."""
    if is_unchecked(found):
        return f"The {leader(found.paired, found.mode)} arm leads, but the reason is not checked"
    return HEADLINES.get(found.claim, f"{found.word[0].upper()}{found.word[1:]}")


def sentences(metric: str, found: Verdict) -> list[str]:
    """Return the table in sentences: first the verdict, then what it rests on."""
    n = found.paired.n
    said = [_verdict_sentence(metric, found)]
    if found.detectable is not None:
        said.append(_power_sentence(metric, found, found.detectable))
    if found.sign_flip_p is not None and not found.sequential:  # it assumes a fixed number of seeds
        said.append(
            f"Sign-flip test: p = {found.sign_flip_p:.2g}; the smallest that {n} seeds allow is {found.smallest_p:.2g}."
        )
    if found.evidence is not None:
        said.append(f"Evidence for a difference (Bayes factor): {found.evidence:.3g}; a claim needs {EVIDENCE:g}.")
    said += _modalities_sentence(found)
    return [*said, *found.notes]


def _verdict_sentence(metric: str, found: Verdict) -> str:
    mean = f"by {format_size(metric, found.paired.mean)} on average over {count(found.paired.n, 'seed')}"
    if is_unchecked(found):
        arm = leader(found.paired, found.mode)
        return f"The best {arm} configuration is ahead {mean}, but whether modulation is the reason was not checked."
    if found.claim == "none":
        only = " when only the modulation is switched" if is_contradicted(found) else ""
        return f"{headline(found)}{only}."
    return f"{headline(found)}, {mean}."


def is_impossible(metric: str, difference: float) -> bool:
    """Return whether no two values of the metric differ so much: accuracies lie between 0 and 1."""
    return "accuracy" in metric and difference > 1


def _power_sentence(metric: str, found: Verdict, detectable: float) -> str:
    n = found.paired.n
    if is_impossible(metric, detectable):
        return f"{n} seeds that differ as much as these cannot detect any difference in accuracy."
    fixed = " fixed from the start" if found.sequential else ""
    able = f"{n} seeds{fixed} detect a true difference of {format_size(metric, detectable)} with 80 % power"
    return f"{able}{_seeds_for_seen(found)}."


def _seeds_for_seen(found: Verdict) -> str:
    """Return a clause on how many seeds detect the difference seen; empty if these do."""
    if claim_of(found.interval, found.mode) != "none" or not found.paired.mean:
        return ""
    if found.seeds_for_seen is None:
        return f"; a difference of the size seen takes more than {MOST_SEEDS:,} seeds"
    if found.seeds_for_seen <= found.paired.n:
        return ""
    fixed = "" if found.sequential else ", fixed from the start"
    return f"; a difference of the size seen takes {found.seeds_for_seen:,} seeds{fixed}"


def _modalities_sentence(found: Verdict) -> list[str]:
    """Return a sentence with the p-value of each modality; empty if there is none."""
    values = [f"{name} {one.holm_p:.2g}" for name, one in found.unimodal.items() if one.holm_p is not None]
    if not values:
        return []
    return [f"Each modality alone, Holm-adjusted p: {', '.join(values)}."]


def format_size(metric: str, difference: float) -> str:
    """Return a difference without its sign, with its unit."""
    return format_difference(metric, abs(difference)).removeprefix("+")


def test_sentence(test: TestScores) -> str:
    """Return a sentence with the two accuracies to publish."""
    each = "1 seed each" if test.seeds == 1 else f"mean and standard deviation of {test.seeds} seeds each"
    return (
        f"On the test split ({count(test.examples, 'example')}, read once for all models): modulated "
        f"{_score(test.modulated)} %, baseline {_score(test.baseline)} % ({each})."
    )


def _score(scores: ArmScores) -> str:
    spread = "" if scores.sd is None else f" ± {100 * scores.sd:.1f}"
    return f"{100 * scores.mean:.1f}{spread}"
