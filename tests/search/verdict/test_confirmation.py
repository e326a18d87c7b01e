"""Trainings of a confirmation: pairs that differ only in the configuration, with seeds that no trial has used."""

from __future__ import annotations

import io
import json
import math
import random
import re
import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats

from ogmge import checkpoint
from search.console.verdict_table import print_verdict
from search.experiment.arms import ARMS, other_arm
from search.experiment.formatting import format_difference
from search.experiment.load import load
from search.experiment.space import with_changes
from search.run.budget import Spent
from search.run.causes import Cause, failure
from search.run.folder import FolderError
from search.run.journal import Journal
from search.run.trials import SearchRecord, TrialRecord
from search.tuner.tuner import Tuner
from search.verdict.confirm_policy import ConfirmPolicy, ablation_changes
from search.verdict.decide import Ablation, Verdict, decide, leader, verdict
from search.verdict.evidence import measures, write_evidence
from search.verdict.next_step import NextStep
from search.verdict.paired import paired_bootstrap, secondary
from search.verdict.plan import Plan, read_plan, write_plan
from search.verdict.results import class_differences, evidence_of, verdict_of
from search.verdict.seeds import fresh_seeds, redraws
from search.verdict.text import caption, sentences, verdict_rows
from tests.search.tuner.test_tuner import experiment
from tests.support import ROOT
from tests.support.tells import tells

BEST = {
    "baseline": {"fusion": "sum", "modulation.method": "none"},
    "modulated": {"fusion": "film", "modulation.method": "ogm", "seed": 3},
}


def confirmation(*assignments: str, seeds: int = 3, spent: Spent | None = None) -> ConfirmPolicy:
    return ConfirmPolicy(experiment(*assignments), BEST, fresh_seeds(0, {0, 3}, seeds), spent or Spent())


@given(st.integers(0, 2**31), st.integers(0, 20), st.integers(0, 20))
def test_seeds_are_fresh_each_another_and_more_of_them_add_to_the_same(seed, some, more):
    first = fresh_seeds(seed, set(), 3)
    found = fresh_seeds(seed, {first[1]}, some + more)
    assert len(set(found)) == some + more
    assert first[1] not in found
    assert found[:some] == fresh_seeds(seed, {first[1]}, some)
    assert found[:2] == [first[0], first[2]][: some + more]
    assert all(0 <= s < 2**31 for s in found)


def test_both_of_a_pair_have_one_seed_and_one_split_and_their_arms_configuration(tmp_path):
    policy = confirmation()
    tuner = Tuner(policy.experiment, Journal(tmp_path / "journal.jsonl"), policy)
    trials = [tuner.next() for _ in range(tuner.remaining_trials)]
    assert tuner.next() is None
    assert [trial.arm for trial in trials] == list(ARMS) * 3
    for first, second in zip(trials[::2], trials[1::2], strict=True):
        assert first.changes["seed"] == second.changes["seed"] not in (0, 3)
        assert policy.dataset(first) == policy.dataset(second) == {"split_seed": first.changes["seed"]}
    assert len({trial.changes["seed"] for trial in trials}) == 3
    for trial in trials:
        assert {**trial.changes, "seed": 3} == {**BEST[trial.arm], "seed": 3}
        assert with_changes(policy.experiment.trial, trial.changes).seed == trial.changes["seed"]


@pytest.mark.parametrize(
    ("file", "ours"),
    [*((name, True) for name in ("demo", "cremad", "vggsound", "ucf101")), ("ave", False), ("kinetics_sounds", False)],
)
def test_of_the_shipped_files_those_whose_publisher_says_what_is_for_validation_keep_that(file, ours):
    assert redraws(load(ROOT / "experiments" / f"{file}.yaml").dataset) is ours


@pytest.mark.parametrize(
    ("dataset", "ours"),
    [
        ({"name": "digits", "split_seed": 0}, True),
        ({"name": "vggsound", "split_seed": 0, "validation_fraction": 0.1}, True),
        ({"name": "table", "split_seed": 0, "validation_fraction": None}, False),  # the publisher fixes the split
        ({"name": "ave"}, False),
    ],
)
def test_a_split_is_drawn_anew_where_it_is_ours(dataset, ours):
    assert redraws(dataset) is ours
    policy = ConfirmPolicy(experiment().model_copy(update={"dataset": dataset}), BEST, [7], Spent())
    asked = policy.suggest(0)
    trial = TrialRecord(0, asked.arm, asked.internal, asked.changes)
    assert policy.dataset(trial) == ({"split_seed": 7} if ours else {})


def test_the_budget_is_the_searchs_and_the_confirmations_together():
    record = SearchRecord()
    record.spent = Spent(epochs=20)
    assert confirmation("search.budget.epochs=100", spent=Spent(epochs=79)).stop_reason(record) is None
    reason = confirmation("search.budget.epochs=100", spent=Spent(epochs=80)).stop_reason(record)
    assert reason.cause is Cause.BUDGET
    tells(reason, "100 epochs")


# ---- pairs, and the trainings that they require ----


def run_all(tuner: Tuner, value: Callable[[TrialRecord], float | None], rng: random.Random, at_once: int) -> None:
    """Run the tuner's trainings, several at once, which end in any order. A value of None is a training that fails."""
    running: list[TrialRecord] = []
    while True:
        while len(running) < at_once and (trial := tuner.next()) is not None:
            running.append(trial)
            tuner.record_start(trial.number)
        if not running:
            return
        trial = running.pop(rng.randrange(len(running)))
        found = value(trial)
        if found is None:
            tuner.record_end(trial.number, "failed", failure("ValueError: it fell over\nhere"))
            continue
        for epoch in range(5):
            reached = found - 0.01 * abs(epoch - 3)  # the fourth epoch is the best
            metrics = {"epoch": epoch, "best": found if epoch >= 3 else reached, "val/accuracy": reached}
            alone = {"val/accuracy/audio": reached - 0.2, "val/accuracy/visual": reached / 2}
            reason = tuner.record_epoch(trial.number, {**metrics, **alone, "seconds": 1.0})
            if reason is not None:
                tuner.record_end(trial.number, "stopped", reason)
                break
        tuner.record_end(trial.number, "finished")


def world(gain: float, other: float, noise: float, seed: int) -> Callable[[TrialRecord], float]:
    """Return accuracies made of the modulation's gain, the gain of the modulated arm's other settings, and a seed's
    noise."""

    def value(trial: TrialRecord) -> float:
        draw = random.Random(f"{seed}/{trial.changes['seed']}/{trial.internal['role']}").gauss(0, noise)
        mine = trial.changes["fusion"] == BEST["modulated"]["fusion"]
        return 0.5 + gain * (trial.arm == "modulated") + other * mine + draw

    return value


def trained(tmp_path: Path, policy: ConfirmPolicy, value: Callable, seed: int = 0, at_once: int = 2) -> Tuner:
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
    tuner = Tuner(policy.experiment, Journal(path), policy)
    run_all(tuner, value, random.Random(seed), at_once)
    assert tuner.complete
    return tuner


def roles(tuner: Tuner) -> Counter[str]:
    return Counter(trial.internal["role"] for trial in tuner.record)


def verdict_on(policy: ConfirmPolicy, plan: Plan | None = None) -> Verdict:
    plan = plan or Plan(len(policy.seeds), policy.sequential, {"baseline": 1, "modulated": 0})
    found = verdict_of(policy, plan, lambda number: pytest.fail("no weights are looked at"))
    assert found is not None
    return found


SAME = {
    "baseline": {"fusion": "film", "modulation.method": "none"},
    "modulated": {"fusion": "film", "modulation.method": "ogm", "modulation.alpha": 0.3, "seed": 3},
}


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize(("gain", "claim"), [(0.1, "helps"), (-0.1, "hurts")])
def test_where_only_the_modulation_differs_the_pair_is_its_ablation_and_no_other_is_trained(
    tmp_path, gain, claim, sequential
):
    policy = ConfirmPolicy(experiment(), SAME, fresh_seeds(0, {0, 3}, 12), Spent(), sequential=sequential)
    tuner = trained(tmp_path, policy, world(gain, 0.0, 0.01, 5))
    assert set(roles(tuner)) == {"baseline", "modulated"}
    found = verdict_on(policy)
    assert (found.claim, found.ablation) == (claim, found.paired)
    assert policy.pairs.ablation_of == ("modulated" if gain > 0 else "baseline")
    assert "differ only in the modulation" in " ".join(found.notes)
    plan = Plan(12, sequential, {"baseline": 1, "modulated": 0})
    evidence = evidence_of(policy, plan, found, lambda number: tmp_path / "none.pt")
    assert all(set(pair.values) == {"baseline", "modulated"} for pair in evidence.pairs)
    assert (policy.pairs.clear_at or 12) < 12 or not sequential


def test_where_the_pairs_make_no_claim_no_ablation_is_trained(tmp_path):
    policy = confirmation(seeds=6)
    tuner = trained(tmp_path, policy, world(0.0, 0.0, 0.02, 5))
    assert roles(tuner) == {"baseline": 6, "modulated": 6}
    found = verdict_on(policy)
    assert (found.claim, found.ablation) == ("none", None)
    tells(found.word, "6 seeds")


def test_a_claim_costs_a_ablation_with_the_pairs_seeds_and_splits(tmp_path):
    policy = confirmation(seeds=6)
    tuner = trained(tmp_path, policy, world(0.1, 0.0, 0.002, 1))
    assert roles(tuner) == {"baseline": 6, "modulated": 6, "ablation": 6}
    ablations = [t for t in tuner.record if t.internal["role"] == "ablation"]
    assert [t.changes["seed"] for t in ablations] == list(policy.seeds)
    for trial in ablations:
        assert trial.arm == "baseline"
        assert {**trial.changes, "seed": 3} == {**BEST["modulated"], "modulation.method": "none"}
        assert policy.dataset(trial) == {"split_seed": trial.changes["seed"]}
    assert (verdict_on(policy).claim, verdict_on(policy).word) == ("helps", "helps")


def test_a_lead_that_other_settings_make_is_none_of_the_methods(tmp_path):
    policy = confirmation(seeds=6)
    trained(tmp_path, policy, world(0.0, 0.1, 0.002, 1))
    found = verdict_on(policy)
    assert found.interval[0] > 0.05  # the pairs alone would claim that it helps
    assert found.claim == "none"
    assert abs(found.ablation.mean) < 0.01
    [note] = found.notes
    tells(note, "helps", "modulated", "off")


def test_where_the_baseline_leads_its_ablation_has_the_modulation_switched_on(tmp_path):
    policy = confirmation(seeds=6)
    tuner = trained(tmp_path, policy, world(-0.1, 0.0, 0.002, 1))
    ablation = next(t for t in tuner.record if t.internal["role"] == "ablation")
    assert (ablation.arm, ablation.changes["fusion"], ablation.changes["modulation.method"]) == (
        "modulated",
        "sum",
        "ogm",
    )
    assert verdict_on(policy).claim == "hurts"


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 5), st.sampled_from([0.0, 0.01, 0.05]), st.booleans(), st.integers(1, 7), st.integers(0, 999))
def test_the_verdict_does_not_depend_on_who_ends_first(seed, gain, sequential, at_once, order):
    """Nor on how many train at once. If seeds are added until the result is clear, some trainings may be in vain."""
    with TemporaryDirectory() as folder:
        found = []
        for slots, shuffled in ((1, 0), (at_once, order)):
            policy = confirmation(seeds=14)
            policy = replace(policy, sequential=sequential)
            trained(Path(folder), policy, world(gain, 0.0, 0.02, seed), shuffled, slots)
            found.append((policy.pairs.clear_at, policy.pairs.ablation_of, verdict_on(policy)))
        assert found[0] == found[1]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 999), st.sampled_from([0.0, 0.02, 0.05]))
def test_seeds_are_added_until_both_the_pairs_and_the_ablation_are_clear_at_the_same_number(seed, gain):
    with TemporaryDirectory() as folder:
        policy = replace(confirmation(seeds=12), sequential=True)
        value = world(gain, 0.0, 0.02, seed)
        trained(Path(folder), policy, value)
    every = {role: [value_of(policy, value, pair, role) for pair in range(12)] for role in ("modulated", "baseline")}
    first = None  # number of pairs, computed directly from the rule
    of = None
    for n in range(2, 13):
        m, b = every["modulated"][:n], every["baseline"][:n]
        alone = decide(m, b, sequential=True)
        if of is None and alone.first != "none":
            of = leader(alone.paired, "max")
        if of is not None:
            ablation = Ablation(of, [value_of(policy, value, pair, "ablation", of) for pair in range(n)])
            if decide(m, b, sequential=True, ablation=ablation).claim != "none":
                first = n
                break
    assert (policy.pairs.clear_at, policy.pairs.ablation_of) == (first, of)
    found = verdict_on(policy)
    assert found.paired.n == (first or 12)
    assert (found.claim == "none") is (first is None)


def value_of(policy: ConfirmPolicy, value: Callable, pair: int, role: str, of: str | None = None) -> float:
    arm = role if of is None else other_arm(of)
    changes = policy.best[role] if of is None else ablation_changes(policy.best, of)
    return value(TrialRecord(0, arm, {"pair": pair, "role": role}, {**changes, "seed": policy.seeds[pair]}))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 99), st.booleans(), st.sampled_from([0.0, 0.05]), st.data())
def test_stopped_anywhere_and_begun_again_it_ends_as_if_it_had_not(seed, sequential, gain, data):
    def fresh() -> ConfirmPolicy:
        return replace(confirmation(seeds=7), sequential=sequential)

    with TemporaryDirectory() as folder:
        whole = fresh()
        tuner = trained(Path(folder), whole, world(gain, 0.0, 0.02, seed), at_once=1)
        lines = (Path(folder) / "0.jsonl").read_bytes().splitlines(keepends=True)
        cut = data.draw(st.integers(0, len(lines)))
        (Path(folder) / "cut.jsonl").write_bytes(b"".join(lines[:cut]))
        policy = fresh()
        again = Tuner(policy.experiment, Journal(Path(folder) / "cut.jsonl"), policy)
        run_all(again, world(gain, 0.0, 0.02, seed), random.Random(0), 1)
        assert again.complete
        assert [(t.arm, t.internal, t.changes, t.epochs) for t in again.record] == [
            (t.arm, t.internal, t.changes, t.epochs) for t in tuner.record
        ]
        assert verdict_on(policy) == verdict_on(whole)


def test_a_pair_of_which_one_fails_is_excluded_and_reported(tmp_path):
    policy = confirmation(seeds=7)
    value = world(0.0, 0.0, 0.02, 5)
    trained(tmp_path, policy, lambda t: None if (t.arm, t.internal["pair"]) == ("modulated", 2) else value(t))
    found = verdict_on(policy)
    assert found.paired.n == 6
    assert policy.pairs.values().pairs == (0, 1, 3, 4, 5, 6)
    [note] = found.notes
    tells(note, "modulated", policy.seeds[2], "ValueError: it fell over")


def test_where_all_fail_there_is_no_verdict(tmp_path):
    policy = confirmation(seeds=2)
    trained(tmp_path, policy, lambda trial: None)
    assert verdict_of(policy, Plan(2, False, {}), lambda number: Path()) is None


def test_a_budget_that_ends_before_the_ablation_is_trained_leaves_nothing_claimed(tmp_path):
    policy = replace(confirmation("search.budget.epochs=70", seeds=6), spent=Spent())
    tuner = trained(tmp_path, policy, world(0.1, 0.0, 0.002, 1), at_once=1)
    assert tuner.stop_reason
    assert roles(tuner)["ablation"] == 2  # the pairs take 60 epochs
    found = verdict_on(policy)
    assert (found.claim, found.paired.n) == ("none", 6)
    tells(found.word, "6 seeds", "unchecked")
    tells(found.notes[-1], "`search.budget`")
    more = replace(policy, experiment=experiment("search.budget.epochs=500"))
    again = Tuner(more.experiment, Journal(tmp_path / "0.jsonl"), more)
    run_all(again, world(0.1, 0.0, 0.002, 1), random.Random(0), 1)
    assert verdict_on(more).claim == "helps"


def test_a_budget_that_ends_in_the_middle_of_the_pairs_leaves_nothing_claimed_either(tmp_path):
    policy = confirmation("search.budget.epochs=47", seeds=6)
    trained(tmp_path, policy, world(0.1, 0.0, 0.002, 1), at_once=1)
    found = verdict_on(policy)
    assert (found.claim, found.paired.n, found.ablation) == ("none", 4, None)
    assert found.interval[0] > 0
    tells(found.notes[0], "4 seeds", "5 %", "sign-flip", 0.125)
    tells(found.notes[-1], "`search.budget`")


def test_where_every_ablation_fails_the_pairs_are_told_and_nothing_is_claimed(tmp_path):
    policy = confirmation(seeds=6)
    value = world(0.1, 0.0, 0.002, 1)
    trained(tmp_path, policy, lambda t: None if t.internal["role"] == "ablation" else value(t))
    found = verdict_on(policy)
    assert (found.claim, found.paired.n, found.ablation) == ("none", 6, None)
    tells(found.word, "6 seeds", "unchecked")
    assert len(found.notes) == 3  # what was to be checked, that it failed, and the error
    assert "`search.budget`" not in " ".join(found.notes)
    tells(found.notes[-1], "baseline", policy.seeds[0], 5, "ValueError: it fell over")


def test_the_set_aside_is_enough_for_a_ablation():
    assert experiment("confirm.seeds=7").confirm.trainings == 3 * 7


# ---- plan ----

BEGUN = Plan(6, False, {"baseline": 1, "modulated": 0})


@pytest.mark.parametrize(
    ("seeds", "sequential", "judged", "then"),
    [
        (6, False, True, BEGUN),
        (10, False, True, replace(BEGUN, seeds=10, sequential=True, fixed=(6,))),
        (6, True, True, replace(BEGUN, sequential=True, fixed=(6,))),
        (20, True, True, replace(BEGUN, seeds=20, sequential=True, fixed=(6,))),
        (10, False, False, replace(BEGUN, seeds=10, sequential=True)),
    ],
)
def test_seeds_that_are_added_are_judged_by_the_rule_for_that(tmp_path, seeds, sequential, judged, then):
    assert BEGUN.revise(seeds, sequential=sequential, judged=judged) == then
    write_plan(tmp_path / "plan.json", then)
    assert read_plan(tmp_path / "plan.json") == then


def test_a_plan_that_was_sequential_stays_so_and_says_no_more_of_earlier_looks():
    plan = Plan(20, True, {"baseline": 1, "modulated": 0})
    assert plan.revise(30, sequential=False, judged=True) == replace(plan, seeds=30)


def test_fewer_seeds_than_were_planned_are_refused():
    with pytest.raises(FolderError) as error:
        BEGUN.revise(5, sequential=False, judged=True)
    tells(error.value, "6 seeds", 5, "--seeds")


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"seeds": 6}', "{"])
def test_a_damaged_plan_is_refused(tmp_path, text):
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(FolderError) as error:
        read_plan(tmp_path / "plan.json")
    tells(error.value, tmp_path / "plan.json", "seeds")


def test_a_claim_after_an_earlier_look_says_what_it_costs(tmp_path):
    policy = replace(confirmation(seeds=8), sequential=True)
    trained(tmp_path, policy, world(0.1, 0.0, 0.002, 1))
    found = verdict_on(policy, Plan(8, True, {"baseline": 1, "modulated": 0}, (6,)))
    assert found.claim == "helps"
    tells(found.notes[-1], 6, "2.5 %", "5 %")


# ---- written files ----


def answers(folder: Path, policy: ConfirmPolicy, number: int) -> Path:
    """Write a checkpoint with a model's predictions for 40 samples of two classes; a third class has no samples."""
    generator = torch.Generator().manual_seed(number)
    state = {"classes": ["cough", "laugh", "sneeze"], "targets": (torch.arange(40) % 2).to(torch.int32)}
    checkpoint.save({**state, "correct": torch.rand(40, generator=generator) < 0.7}, folder / f"{number}.pt")
    return folder / f"{number}.pt"


def test_without_a_models_answers_nothing_is_said_of_classes(tmp_path):
    policy = confirmation(seeds=2)
    trained(tmp_path, policy, world(0.1, 0.0, 0.01, 1))
    kept = partial(answers, tmp_path, policy)
    values = policy.pairs.values()
    assert len(class_differences(policy, values, kept)) == 2
    assert class_differences(policy, values, lambda number: kept(number) if number else tmp_path / "none.pt") == ()


def test_the_file_has_all_that_the_verdict_rests_on(tmp_path):
    policy = confirmation(seeds=6)
    trained(tmp_path, policy, world(0.1, 0.0, 0.01, 1))
    found, plan = verdict_on(policy), Plan(6, False, {"baseline": 1, "modulated": 0})
    kept = partial(answers, tmp_path, policy)
    evidence = evidence_of(policy, plan, found, kept)
    write_evidence(tmp_path / "verdict.json", evidence)
    written = json.loads((tmp_path / "verdict.json").read_text())
    assert [row["seed"] for row in written["pairs"]] == list(policy.seeds)
    assert set(written["pairs"][0]) == {"seed", "modulated", "baseline", "ablation"}
    values = [row["modulated"] for row in written["pairs"]]
    assert written["paired"]["modulated"]["mean"] == pytest.approx(statistics.mean(values))
    assert (written["best"], written["claim"], written["ablation_of"]) == ("modulated", "helps", "modulated")
    arm = written["arms"]["modulated"]
    assert (arm["trial"], arm["changes"], arm["median_epochs"]) == (0, BEST["modulated"], 4)
    half = stats.t.ppf(0.975, 5) * statistics.stdev(values) * math.sqrt(1 + 1 / 6)
    assert arm["prediction"]["high"] - arm["prediction"]["mean"] == pytest.approx(half)
    assert set(written["unimodal"]) == {"audio", "visual"}
    assert written["unimodal"]["audio"]["holm_p"] is not None
    assert [row["class"] for row in written["classes"]] == ["cough", "laugh"]  # "sneeze" has no samples
    for k, row in enumerate(written["classes"]):
        shares = {arm: [] for arm in ARMS}
        for pair in range(6):
            for arm in ARMS:
                state = checkpoint.load(kept(policy.pairs.trial(pair, arm).number))
                own = [
                    right
                    for right, y in zip(state["correct"].tolist(), state["targets"].tolist(), strict=True)
                    if y == k
                ]
                shares[arm].append(sum(own) / len(own))
        other = ([0.0] * 6, [1.0] * 6)
        expected = secondary({"one": (shares["modulated"], shares["baseline"]), "other": other})["one"]
        assert row["mean"] == pytest.approx(expected.paired.mean)
        assert (row["low"], row["high"]) == pytest.approx((expected.paired.low, expected.paired.high))
    numbers = measures(evidence)
    assert numbers["verdict/difference"] == found.paired.mean
    assert numbers["verdict/seeds"] == 6
    assert all(isinstance(value, float) for value in numbers.values())


def test_where_the_publisher_fixes_the_split_examples_are_redrawn(tmp_path):
    """With the predictions in each model's checkpoint."""
    publishers = experiment().model_copy(update={"dataset": {"name": "ave"}})
    policy = replace(confirmation(seeds=4), experiment=publishers)
    trained(tmp_path, policy, world(0.0, 0.0, 0.02, 5))
    right = {
        t.number: torch.rand(50, generator=torch.Generator().manual_seed(t.number)) < 0.7
        for t in (policy.pairs.trial(p, arm) for p in range(4) for arm in ARMS)
    }
    for number, correct in right.items():
        checkpoint.save({"correct": correct}, tmp_path / f"{number}.pt")
    found = verdict_of(policy, Plan(4, False, {}), lambda number: tmp_path / f"{number}.pt")
    rows = {arm: torch.stack([right[policy.pairs.trial(p, arm).number] for p in range(4)]).numpy() for arm in ARMS}
    assert found.examples == paired_bootstrap(rows["modulated"], rows["baseline"])
    (tmp_path / "0.pt").write_bytes(b"no checkpoint")
    lost = verdict_of(policy, Plan(4, False, {}), lambda number: tmp_path / f"{number}.pt")
    assert lost.examples is None
    assert lost.notes[: len(found.notes)] == found.notes
    [note] = lost.notes[len(found.notes) :]
    tells(note, tmp_path / "0.pt")


@pytest.mark.parametrize(
    ("gain", "word", "facts"),
    [
        (0.1, "helps", ["10.1 points", "0.9 points", "p = 0.031"]),
        (-0.1, "hurts", ["9.9 points", "0.9 points", "p = 0.031"]),
        (0.0, None, ["0.9 points", 256, "p = 0.72", 0.031]),  # 256 seeds would detect the observed difference
    ],
)
def test_the_screen_says_what_was_found(tmp_path, gain, word, facts):
    policy = confirmation(seeds=6)
    trained(tmp_path, policy, world(gain, 0.0, 0.005, 5))
    console = Console(file=io.StringIO(), width=200)
    print_verdict(console, policy, verdict_on(policy), None, 61.0, NextStep("Read on:", "the-command"))
    text = console.file.getvalue()
    tells(text, "simulated", "6 pairs", "validation split", "1 min 01 s")
    assert "Read on:\n\n    the-command\n" in text
    assert ("modulation off" in text, "modulation on" in text) == (gain > 0, gain < 0)  # the ablation's row
    conclusion = text[text.index("method=ogm") :]
    tells(conclusion, "6 seeds", *facts)
    assert re.findall("helps|hurts", conclusion) == ([word] if word else [])


def test_a_difference_that_the_ablation_takes_back_is_not_counted_in_seeds(tmp_path):
    policy = confirmation(seeds=6)
    trained(tmp_path, policy, world(0.0, 0.1, 0.002, 1))
    found = verdict_on(policy)
    said = sentences("val/accuracy", found)
    tells(said[0], "6 seeds")
    tells(said[1], "0.3 points")
    assert str(found.seeds_for_seen) not in re.findall(r"[\d.]*\d", " ".join(said))


def test_seeds_that_differ_by_more_than_there_is_could_show_nothing():
    accuracy, loss = verdict([0.9, 0.2], [0.1, 0.8]), verdict([9.0, 2.0], [1.0, 8.0], "min")
    said = " ".join(sentences("val/accuracy", accuracy))
    assert accuracy.detectable > 1
    assert format_difference("val/accuracy", accuracy.detectable, unit=False).removeprefix("+") not in said
    assert str(accuracy.seeds_for_seen) not in re.findall(r"[\d.]*\d", said)
    tells(" ".join(sentences("val/loss", loss)), f"{loss.detectable:.4f}", loss.seeds_for_seen)


def test_numbers_that_assume_a_fixed_number_of_seeds_say_so_where_it_was_not():
    values = [0.86, 0.85, 0.83, 0.87, 0.84, 0.85, 0.88], [0.8, 0.81, 0.8, 0.82, 0.81, 0.8, 0.83]
    fixed, added = (" ".join(sentences("val/accuracy", verdict(*values, sequential=s))) for s in (False, True))
    tells(fixed, "Sign-flip test")
    assert "Bayes factor" not in fixed
    assert "fixed from the start" not in fixed  # there is a difference, and no number of seeds to suggest
    tells(added, "7 seeds fixed from the start", "Bayes factor", "a claim needs 20")
    assert "ign-flip" not in added


def test_a_number_of_seeds_for_the_difference_seen_is_one_that_is_fixed_from_the_start():
    found = verdict([0.9, 0.8, 0.87, 0.85, 0.84, 0.88], [0.88, 0.81, 0.85, 0.85, 0.86, 0.87])
    tells(
        sentences("val/accuracy", found)[1], "of the size seen", f"{found.seeds_for_seen:,} seeds, fixed from the start"
    )


def test_the_table_explains_its_cells_unless_there_is_neither_a_spread_nor_an_interval():
    assert caption(verdict([0.9], [0.8])) == ""
    few = verdict([0.9, 0.8, 0.87], [0.88, 0.81, 0.85], sequential=True)
    tells(caption(few), "±", "standard deviation", "95 % interval")
    assert len(caption(few)) <= 80
    [(_, _, _, difference)] = verdict_rows("val/accuracy", few, None)
    assert difference == "+1.0 (no interval)"


@pytest.mark.parametrize("seeds", [1, 6])
def test_the_screen_explains_the_table_before_it(tmp_path, seeds):
    policy = confirmation(seeds=seeds)
    trained(tmp_path, policy, world(0.0, 0.0, 0.005, 5))
    console = Console(file=io.StringIO(), width=80)
    print_verdict(console, policy, verdict_on(policy), None, 61.0, NextStep("Read on:", "the-command"))
    before = console.file.getvalue().partition("val/accuracy")[0]
    assert ("standard deviation" in before) == (seeds > 1)
