"""What to do after a search and after a verdict: each case has a sentence, and the command that can be run then."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from search.experiment.arms import Arm
from search.run.budget import Spent
from search.run.causes import failure
from search.run.folder import RunFolder
from search.run.trials import TrialRecord
from search.verdict.anytime import log_evidence
from search.verdict.decide import Ablation, Verdict, verdict
from search.verdict.evidence import Evidence, Pair
from search.verdict.next_step import Confirmed, NextStep, after_search, after_verdict, next_training
from search.verdict.plan import UNTIL_CLEAR, Plan
from search.verdict.text import headline, is_unchecked, sentences
from tests.search.tuner.test_tuner import experiment
from tests.support.tells import tells

FOLDER = RunFolder(Path("runs/simulated"))
NOISE = [0.0031, -0.0083, 0.0012, 0.0094, -0.0041, 0.0063, -0.0073, -0.0017, 0.0052, -0.0026]
CONFIRM, TRAIN, UI = (f"uv run python -m search {name}" for name in ("confirm simulated", "train", "ui simulated"))
RESUME = "uv run run_search.py runs/simulated/experiment.yaml --resume"


def found(gain: float, seeds: int = 10, ablation_gain: float | None = None, *, sequential: bool = False) -> Verdict:
    """The verdict on pairs that differ by a gain; that of the ablation, where there is one."""
    baseline = [0.8] * seeds
    modulated = [0.8 + gain + noise for noise in NOISE[:seeds]]
    ablation = None
    if ablation_gain is not None:
        pairs = zip(modulated, reversed(NOISE), strict=False)
        ablation = Ablation("modulated", [value - ablation_gain + noise for value, noise in pairs])
    return verdict(modulated, baseline, sequential=sequential, ablation=ablation)


def unchecked(gain: float) -> Verdict:
    """The same without the ablation, which a budget left untrained."""
    return replace(found(gain), claim="none", word="no difference that 10 seeds can show, unchecked")


def step(verdict: Verdict, *assignments: str, planned: int | None = None, folder=FOLDER, **more) -> NextStep:
    asked, seeds = experiment(*assignments), range(verdict.paired.n)
    pairs = tuple(Pair(seed, {"modulated": 0.8, "baseline": 0.8}) for seed in seeds)
    evidence = Evidence("simulated", "val/accuracy", verdict, "modulated", {}, None, False, pairs)
    return after_verdict(Confirmed(asked, folder, evidence, planned or verdict.paired.n, **more))


def test_a_training_gets_a_name_that_no_run_has(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("best.yaml").write_text("name: own-best\n")
    assert next_training(Path("best.yaml")) == f"{TRAIN} best.yaml"
    for number in ("", "-2"):
        Path(f"runs/own-best{number}").mkdir(parents=True)
    assert next_training(Path("best.yaml"), "--no-test") == f"{TRAIN} best.yaml name=own-best-3 --no-test"


def failed(role: str, seeds: int) -> list[TrialRecord]:
    trials = [TrialRecord(n, "baseline", {"pair": n, "role": role}, {"seed": n}, "failed") for n in range(seeds)]
    for trial in trials:
        trial.reason = failure("out of luck")
    return trials


@pytest.mark.parametrize(
    ("modulated", "baseline", "command"),
    [
        ([0.84, 0.62], [0.81, 0.59], f"{CONFIRM} --seeds"),  # the seeds change the results, but not their difference
        ([0.84, 0.84], [0.81, 0.81], "python -m search ui simulated"),  # the seeds change nothing
    ],
)
def test_equal_differences_are_a_fault_of_the_seeds_only_if_the_results_are_equal_too(modulated, baseline, command):
    said = step(verdict(modulated, baseline))
    assert command in said.command, said


@pytest.mark.parametrize(("gain", "facts"), [(0.05, ("best modulated",)), (-0.05, ("not modulated",))])
@pytest.mark.parametrize("has_test_split", [True, None])
def test_a_claim_is_to_be_published_by_one_reading_of_the_test_split(gain, facts, has_test_split):
    said = step(found(gain), has_test_split=has_test_split)
    tells(said.text, "runs/simulated/best.yaml", "test split", *facts)
    assert ("if the data have one" in said.text) == (has_test_split is None)
    assert said.command == f"{CONFIRM} --test"


@pytest.mark.parametrize("gain", [0.05, -0.05])
def test_a_claim_on_data_without_a_test_split_is_to_be_trained(gain):
    assert step(found(gain), has_test_split=False).command == f"{TRAIN} runs/simulated/best.yaml"


@pytest.mark.parametrize("gain", [0.05, 0.0, -0.05])
def test_once_the_test_split_was_read_the_best_is_to_be_trained(gain):
    said = step(found(gain), is_test_read=True)
    tells(said.text, "test split")
    assert said.command == f"{TRAIN} runs/simulated/best.yaml --no-test"


@pytest.mark.parametrize(
    ("seeds", "gain", "asked"),
    [
        (1, 0.0, 10),
        (3, 0.0001, 20),  # a few seeds tell nothing of how many it takes
        (6, 0.0001, 20),
        (10, 0.0038, 40),  # as many as it takes, by the rule for added seeds
        (10, 0.0034, 50),
    ],
)
def test_without_a_difference_one_stops_or_adds_seeds(seeds, gain, asked):
    shown = found(gain, seeds)
    assert shown.claim == "none"
    said = step(shown)
    assert said.command == f"{CONFIRM} --seeds {asked}"
    if seeds > 1:
        tells(said.text, "Stop here", f"{100 * shown.detectable:.1f} points", f"{asked} seeds would detect")


def test_the_difference_that_more_seeds_would_detect_is_one_that_their_rule_detects():
    shown = found(0.0001, 6)
    smallest = (
        float(re.search(r"20 seeds would detect a difference of about ([\d.]+) points", step(shown).text)[1]) / 100
    )
    rng = np.random.default_rng(0)
    evidence = log_evidence(rng.normal(smallest, shown.paired.sd, (4000, 20)))
    assert 0.76 < (evidence.max(axis=1) >= np.log(20)).mean() < 0.88  # rounded to a tenth of a point


def test_the_seeds_that_are_suggested_would_mostly_settle_it():
    rng = np.random.default_rng(0)
    for gain in (0.0034, 0.0038):
        seeds, pairs = int(step(found(gain)).command.rpartition(" ")[2]), found(gain).paired
        evidence = log_evidence(rng.normal(pairs.mean, pairs.sd, (2000, seeds)))
        assert (evidence.max(axis=1) >= np.log(20)).mean() > 0.75  # the effect and its spread are estimates


def test_a_confirmation_whose_trainings_mostly_failed_is_not_to_be_extended():
    said = step(found(0.0001, 2), planned=5, failures=failed("modulated", 3))
    tells(said.text, "3 seeds failed")
    assert said.command == UI


def test_a_budget_in_every_command_leaves_room_for_what_it_asks():
    spent = Spent(wall_seconds=7.5 * 3600, epochs=654_321)
    budget = "search.budget={hours: 1, epochs: 1000}"  # the run had more by its command line
    for shown, planned in ((found(0.0001), 30), (found(0.0001, 6), 6), (found(0.0001), 10), (unchecked(0.05), 10)):
        command = step(shown, budget, planned=planned, spent=spent).command
        tells(command, "search.budget.hours=15", "search.budget.epochs=1308642")


def test_a_confirmation_that_only_a_budget_ends_is_given_one():
    said = step(found(0.0001, sequential=True), planned=UNTIL_CLEAR, spent=Spent(wall_seconds=5000))
    tells(said.text, "until the result is clear")
    assert said.command == f"{CONFIRM} search.budget.hours=3"
    assert "Stop here" not in step(found(0.0001, sequential=True)).text  # its number of seeds was not fixed


def test_a_space_without_further_configurations_is_not_to_be_searched_longer():
    said = step(found(0.0001), "search.sampler=grid", "space={fusion: [concat, sum]}", "search.trials=4")
    tells(said.text, "wider `space`")
    assert said.command is None


def test_a_run_in_another_folder_is_named_by_its_folder():
    there = RunFolder(Path("/data/others/simulated"))
    assert step(found(0.05), folder=there).command.endswith("confirm /data/others/simulated --test")
    assert step(found(0.0001), folder=there).command is None  # a search is resumed where it was started


@pytest.mark.parametrize("gain", [0.0, 0.0001, 0.0031, 0.0038, 0.05, -0.05])
@pytest.mark.parametrize("seeds", [1, 3, 6, 10])
@pytest.mark.parametrize("budget", [(), ("search.budget={hours: 0.25, epochs: 33}",)])
def test_every_command_is_accepted(gain, seeds, budget):
    for failures in ([], failed("baseline", 1), failed("modulated", 9)):
        for sequential in (False, True):
            planned = seeds + len(failures)
            said = step(found(gain, seeds, sequential=sequential), *budget, planned=planned, failures=failures)
            words = shlex.split(said.command or "")
            experiment(*(word for word in words if word.startswith("search.")))
            if "--seeds" in words:
                asked = int(words[words.index("--seeds") + 1])
                revised = Plan(planned, sequential, {}).revise(asked, sequential=False, judged=True)
                assert revised.seeds > planned


def test_where_no_number_of_seeds_settles_it_a_larger_search_may():
    said = step(found(0.0001), "search.trials=14")
    tells(said.text, "Stop here", "points", "larger search")
    assert said.command == f"{RESUME} search.trials=28"
    limited = step(found(0.0001), "search.trials=14", "search.budget={hours: 2, epochs: 100}")
    assert limited.command == f"{RESUME} search.trials=28 search.budget.hours=4 search.budget.epochs=200"


def test_a_lead_that_the_ablation_takes_back_is_measured_by_the_ablation():
    shown = found(0.05, ablation_gain=0.0)
    assert shown.claim == "none"
    assert shown.interval[0] > 0
    tells(step(shown).text, "Stop here", "an effect of the modulation", "points")
    tells(sentences("val/accuracy", shown)[0], "10 seeds", "only the modulation")


def test_seeds_that_change_nothing_are_not_to_be_added():
    same = verdict([0.5] * 6, [0.4] * 6)
    assert step(same).command == UI


@pytest.mark.parametrize("gain", [0.05, -0.05])
def test_a_lead_that_was_not_checked_is_no_missing_difference(gain):
    shown, arm = unchecked(gain), "modulated" if gain > 0 else "baseline"
    assert is_unchecked(shown)
    for said in (headline(shown), sentences("val/accuracy", shown)[0]):
        assert "difference" not in said.lower()
        tells(said, arm)
    tells(sentences("val/accuracy", shown)[0], f"{100 * abs(shown.paired.mean):.1f} points", "10 seeds", "not checked")
    said = step(shown, "search.budget.hours=2")
    tells(said.text, "budget")
    assert said.command == f"{CONFIRM} search.budget.hours=4"
    assert step(shown).command == CONFIRM
    assert step(shown, failures=failed("ablation", 10)).command == UI


def test_a_budget_that_ended_before_the_last_pair_is_to_be_raised():
    said = step(found(0.0001), "search.budget.epochs=50", planned=30)
    tells(said.text, "budget", "seeds")
    assert said.command == f"{CONFIRM} search.budget.epochs=100"
    whole = step(found(0.0001), "search.budget.epochs=50", planned=11, failures=failed("modulated", 1))
    assert "search.trials=" in whole.command


@pytest.mark.parametrize(
    ("arms", "command"),
    [({"modulated", "baseline"}, CONFIRM), ({"modulated"}, None), ({"baseline"}, None), (set(), None)],
)
def test_a_search_is_to_be_confirmed_where_both_arms_have_a_result(tmp_path, arms: set[Arm], command):
    said = after_search(FOLDER, arms)
    assert said.command == command
    if command is None:
        tells(said.text, "runs/simulated/trials.csv")
    folder = RunFolder(tmp_path)
    folder.verdict.write_text("{}")
    tells(after_search(folder, arms).text, *(["already confirmed"] if command else []))


def test_a_path_that_a_shell_would_split_is_quoted():
    said = step(found(0.05), folder=RunFolder(Path("my runs/simulated")), is_test_read=True)
    assert "my runs/simulated/best.yaml" in shlex.split(said.command)
