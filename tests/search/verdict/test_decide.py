"""Claims about the method; nothing is claimed if the pairs cannot support it."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from search.verdict.decide import Ablation, Verdict, claim_of, decide, leader, verdict
from search.verdict.paired import detectable, paired_bootstrap, secondary, seeds_for, sign_flip, t_interval
from tests.support import ROOT
from tests.support.tells import tells

NOISE = np.array([0.3, -0.8, 0.1, 0.9, -0.4, 0.6, -0.7, -0.2, 0.5, -0.3]) / 100


def results(gain: float, n: int = 10) -> tuple[list[float], list[float]]:
    """Return n pairs in which the modulated arm is better by about `gain`; the sd of the difference is about 0.9
    points."""
    baseline = 0.8 + 0.01 * np.sin(np.arange(n))
    return (baseline + gain + np.resize(NOISE, n)).tolist(), baseline.tolist()


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize(
    ("gain", "mode", "claim"),
    [
        (0.02, "max", "helps"),
        (-0.02, "max", "hurts"),
        (0.02, "min", "hurts"),
        (-0.02, "min", "helps"),
        (0.003, "max", "none"),
        (0.003, "min", "none"),
    ],
)
def test_the_word_is_that_of_the_interval_and_of_which_way_is_better(gain, mode, claim, sequential):
    found = verdict(*results(gain), mode, sequential=sequential)
    assert found.claim == claim
    if claim == "none":
        tells(found.word, "10 seeds")
    else:
        assert found.word == claim


def test_beside_the_word_stands_what_the_numbers_are():
    a, b = results(0.02)
    differences = [x - y for x, y in zip(a, b, strict=True)]
    answers = tuple(np.random.default_rng(0).random((10, 80)) < p for p in (0.8, 0.7))
    alone = {"audio": results(0.01), "visual": results(0.0)}
    found = verdict(a, b, unimodal=alone, correct=answers)
    pairs = t_interval(a, b)
    assert found.paired == pairs
    assert found.interval == (pairs.low, pairs.high)
    assert found.sign_flip_p == sign_flip(differences)
    assert found.smallest_p == 2**-9
    assert found.detectable == detectable(pairs.sd, 10)
    assert found.seeds_for_seen == seeds_for(pairs.mean, pairs.sd)
    assert found.unimodal == secondary(alone)
    assert found.examples == paired_bootstrap(*answers)
    assert (found.evidence, found.ablation, found.ablation_interval) == (None, None, None)


accuracies = st.integers(0, 100).map(lambda correct: correct / 100)
pairs_of = st.lists(st.tuples(accuracies, accuracies), min_size=1, max_size=12)
OPPOSITE = {"helps": "hurts", "hurts": "helps", "none": "none"}


@given(pairs_of, st.sampled_from(["max", "min"]), st.booleans(), st.randoms())
def test_swapping_the_arms_or_the_mode_turns_the_claim_and_the_order_of_seeds_changes_none(
    found, mode, sequential, random
):
    a, b = zip(*found, strict=True)
    pairs = t_interval(a, b)
    assume(not pairs.sd or abs(pairs.p - 0.05) > 1e-6)
    claim = decide(a, b, mode, sequential=sequential).claim
    assert decide(b, a, mode, sequential=sequential).claim == OPPOSITE[claim]
    assert decide(a, b, "min" if mode == "max" else "max", sequential=sequential).claim == OPPOSITE[claim]
    shuffled = zip(*random.sample(found, len(found)), strict=True)
    assert decide(*shuffled, mode, sequential=sequential).claim == claim
    assert decide([7 * x for x in a], [7 * x for x in b], mode, sequential=sequential).claim == claim


@given(pairs_of)
def test_an_interval_for_every_number_of_seeds_asks_for_more_than_one_for_this_number(found):
    a, b = zip(*found, strict=True)
    sequential, fixed = (decide(a, b, sequential=s) for s in (True, False))
    assert sequential.claim in (fixed.claim, "none")
    if sequential.interval is not None:
        assert sequential.interval[0] < fixed.interval[0] < fixed.interval[1] < sequential.interval[1]


def test_the_leader_is_the_better_arm_and_the_baseline_where_they_are_equal():
    better, equal = t_interval([0.6, 0.7], [0.5, 0.5]), t_interval([0.5, 0.5], [0.5, 0.5])
    assert [leader(better, "max"), leader(better, "min")] == ["modulated", "baseline"]
    assert [leader(equal, "max"), leader(equal, "min")] == ["baseline", "baseline"]


@pytest.mark.parametrize(
    ("interval", "claims"),
    [(None, "none"), ((0.0, 1.0), "none"), ((-1.0, 0.0), "none"), ((0.1, 1.0), "helps"), ((-1.0, -0.1), "hurts")],
)
def test_an_interval_that_touches_nothing_claims_nothing(interval, claims):
    assert (claim_of(interval, "max"), claim_of(interval, "min")) == (claims, OPPOSITE[claims])


# ---- too few pairs ----


def test_one_seed_gives_no_interval_and_no_p_and_says_so():
    found = verdict([0.9], [0.1])
    assert found.claim == "none"
    tells(found.word, "1 seed")
    assert [found.interval, found.sign_flip_p, found.detectable, found.seeds_for_seen] == [None] * 4
    [note] = found.notes
    tells(note, "1 seed", "p-value", "2 seeds", "5 %", 6)
    [note] = verdict([0.9], [0.1], sequential=True).notes
    tells(note, "1 seed", "at least 5")
    assert "sign-flip" not in note


@pytest.mark.parametrize("n", range(2, 9))
def test_a_sign_flip_test_that_cannot_reach_five_per_cent_gives_no_p_and_says_so(n):
    found = verdict(*results(0.001, n))
    assert (found.sign_flip_p is None, bool(found.notes)) == (n < 6, n < 6)
    for note in found.notes:
        tells(note, f"{n} seeds", "5 %", "sign-flip", f"{found.smallest_p:g}", 6)
    assert found.smallest_p == 2 ** (1 - n)
    assert found.interval is not None


@pytest.mark.parametrize("gain", [0.0, 0.05])
@pytest.mark.parametrize("sequential", [False, True])
def test_seeds_that_change_nothing_are_one_result(gain, sequential):
    found = verdict([0.8 + gain] * 10, [0.8] * 10, sequential=sequential)
    assert found.claim == "none"
    assert [found.interval, found.sign_flip_p, found.evidence, found.detectable] == [None] * 4
    [note] = found.notes
    tells(note, "10 differences", "p-value")


@pytest.mark.parametrize("n", range(2, 8))
def test_too_few_seeds_to_be_clear_at_any_number_say_so(n):
    found = verdict(*results(0.5, n), sequential=True)
    [note] = found.notes  # otherwise that of the ablation
    assert (found.claim == "none", "interval" in note) == (n < 5, n < 5)
    assert "sign-flip" not in note  # a rule for a fixed number of seeds
    if n < 5:
        tells(note, f"{n} seeds", 5)
    assert found.evidence >= 20 or n < 5


# ---- the ablation ----


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize(
    ("gain", "of", "ablation_gain", "claim"),
    [
        # gain of the modulated configuration; arm of the ablation; gain of the modulated one of ablation and original
        (0.02, "modulated", 0.02, "helps"),
        (0.02, "modulated", 0.0, "none"),
        (0.02, "modulated", -0.02, "none"),
        (0.02, "baseline", 0.02, "none"),  # the baseline is not the leader
        (-0.02, "baseline", -0.02, "hurts"),
        (-0.02, "baseline", 0.0, "none"),
        (-0.02, "baseline", 0.02, "none"),
        (-0.02, "modulated", -0.02, "none"),
        (0.0, "modulated", 0.02, "none"),
        (0.0, "baseline", 0.02, "none"),
    ],
)
def test_a_claim_has_to_hold_against_the_better_configurations_ablation(
    gain, of, ablation_gain, claim, mode, sequential
):
    a, b = results(gain)
    if of == "modulated":
        ablation = [x - ablation_gain + e for x, e in zip(a, NOISE[::-1], strict=True)]
    else:
        ablation = [x + ablation_gain + e for x, e in zip(b, NOISE[::-1], strict=True)]
    sign = 1 if mode == "max" else -1
    a, b, ablation = ([sign * x for x in values] for values in (a, b, ablation))
    found = verdict(a, b, mode, sequential=sequential, ablation=Ablation(of, ablation))
    assert found.claim == claim
    assert found.ablation.mean == pytest.approx(sign * ablation_gain, abs=0.003)
    first = verdict(a, b, mode, sequential=sequential)
    assert len(found.notes) == int(first.claim != claim)  # says that the ablation does not show the same
    assert len(first.notes) == int(first.claim != "none")  # says that there is no ablation yet
    for note in found.notes:
        tells(note, first.claim, "modulated" if first.claim == "helps" else "baseline")


def test_a_note_says_which_configuration_is_to_be_trained_with_its_modulation_switched():
    for gain, arm, switched in ((0.02, "modulated", "off"), (-0.02, "baseline", "on")):
        [note] = verdict(*results(gain)).notes
        tells(note, f"best {arm}", f"switched {switched}")


def test_where_modulation_does_nothing_the_luck_of_a_search_is_no_claim():
    """The configurations differ by two points for reasons other than the modulation; their ablations show that."""
    rng = np.random.default_rng(0)
    claims = {"pairs": 0, "ablation": 0}
    for lead in rng.choice([-2.0, 2.0], 300):
        a, b = lead + rng.normal(0, 1, 10), rng.normal(0, 1, 10)
        of = leader(t_interval(a, b), "max")
        ablation = Ablation(of, (lead if of == "modulated" else 0.0) + rng.normal(0, 1, 10))
        claims["pairs"] += decide(a, b).claim != "none"
        claims["ablation"] += decide(a, b, ablation=ablation).claim != "none"
    assert claims["pairs"] > 250
    assert claims["ablation"] <= 0.05 * 300


# ---- as JSON ----


@settings(max_examples=30, deadline=None)  # each example solves for the detectable difference
@given(pairs_of, st.booleans(), st.booleans())
def test_a_verdict_is_plain_json_with_finite_numbers(found, sequential, with_ablation):
    a, b = zip(*found, strict=True)
    ablation = Ablation("modulated", b) if with_ablation else None
    given_all = verdict(
        a, b, sequential=sequential, ablation=ablation, unimodal={"audio": (a, b)}, correct=([[True, False]],) * 2
    )
    plain = json.loads(json.dumps(asdict(given_all), allow_nan=False))
    assert TypeAdapter(Verdict).validate_python(plain) == given_all
    assert set(plain) == set(given_all.__dataclass_fields__)


def test_evidence_beyond_all_numbers_stays_finite():
    a = [1.0 + 1e-4 * (i % 2) for i in range(300)]
    assert np.isfinite(verdict(a, [0.0] * 300, sequential=True).evidence)


# ---- documentation ----


def cells(line: str) -> list[str]:
    return [cell.strip(" *") for cell in line.strip().strip("|").split("|")]


def test_the_figures_in_the_documentation_are_those_that_were_measured():
    measured = [cells(line) for line in (ROOT / "benchmarks/verdict.md").read_text().splitlines() if line[:1] == "|"]
    text = [cells(line) for line in (ROOT / "docs/statistics.md").read_text().splitlines() if line[:1] == "|"]
    shown = {row[0]: row[1:] for row in text}

    def rates(seeds: str, on: str) -> list[str]:
        """Return the rates of *helps* and *hurts* in each space, without their intervals."""
        found = [row[3:5] for row in measured if row[1:3] == [seeds, on]]
        return [", ".join(rate.split(" (")[0] for rate in row) for row in found]

    naive = [row for row in measured if len(row) == 3 and "%" in row[1]]
    expected = [
        ("3 seeds", rates("3", "pairs and ablation")),
        ("5 seeds", rates("5", "pairs and ablation")),
        ("10 seeds", rates("10", "pairs and ablation")),
        ("30", rates("up to 30", "pairs and ablation")),
        ("10 seeds", rates("10", "pairs alone")),
        ("untuned", [row[1].split(" (")[0] for row in naive]),
        ("10 seeds", [row[2].split(" (")[0] for row in naive]),
    ]
    found = [row for row in text if len(row) == 4 and row[1].endswith("%")]
    assert [row[1:] for row in found] == [figures for _, figures in expected]
    for row, (label, _) in zip(found, expected, strict=True):
        tells(row[0], label)
    for row in measured:
        if row[1] == "pairs and ablation" and len(row) == 7:
            *rest, until, median = row[2:]
            unit = "point" if row[0] == "1" else "points"
            assert shown[f"{row[0]} {unit}"] == [*rest, f"{until} ({median})"]
