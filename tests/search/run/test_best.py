"""The best trial of an arm, and the difference between two trials."""

from __future__ import annotations

import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ogmge.fit import Objective
from search.run.best import Best, Effort, best_of, effort_of, front_of, paired_interval, winner
from search.run.trials import SearchRecord, TrialRecord


def record_of(*trials: tuple[str, list[float]], mode: str = "max", arm: str = "baseline") -> SearchRecord:
    """Return a record of trials, each with its status and the objective's values at its epochs."""
    record = SearchRecord()
    for number, (status, values) in enumerate(trials):
        best = max if mode == "max" else min
        epochs = [{"epoch": e, "x": v, "best": best(values[: e + 1])} for e, v in enumerate(values)]
        record.trials[number] = TrialRecord(number, arm, {}, {}, status, epochs)
    return record


@pytest.mark.parametrize(
    ("trials", "mode", "number", "epoch", "value"),
    [
        ([("finished", [0.1, 0.6, 0.5]), ("finished", [0.4, 0.5])], "max", 0, 1, 0.6),
        ([("finished", [0.1, 0.6, 0.5]), ("finished", [0.4, 0.5])], "min", 0, 0, 0.1),
        ([("finished", [0.2]), ("finished", [0.3, 0.6, 0.6]), ("finished", [0.6])], "max", 1, 1, 0.6),
        ([("finished", [0.6, 0.2]), ("finished", [0.2, 0.2])], "min", 0, 1, 0.2),
        ([("finished", [0.2]), ("stopped", [0.7, 0.1])], "max", 1, 0, 0.7),
        ([("finished", [0.2]), ("failed", [0.9])], "max", 0, 0, 0.2),
        ([("finished", [0.2]), ("running", [0.9]), ("waiting", [])], "max", 0, 0, 0.2),
        ([("finished", [0.0, 0.0])], "max", 0, 0, 0.0),
        ([("finished", [0.3]), ("finished", [0.0])], "min", 1, 0, 0.0),
        ([("finished", [-2.0]), ("stopped", [-1.0])], "max", 1, 0, -1.0),
    ],
)
def test_the_best_trial_is_the_first_of_the_best_that_came_to_a_result(trials, mode, number, epoch, value):
    record = record_of(*trials, mode=mode)
    found = best_of(record, "baseline", "x", mode)
    assert (found.trial.number, found.metrics["epoch"], found.value) == (number, epoch, value)
    assert best_of(record, "modulated", "x", mode) is None


@pytest.mark.parametrize("trials", [[], [("failed", [0.5])], [("running", [0.5])], [("stopped", [])]])
def test_an_arm_without_a_result_has_no_best(trials):
    assert best_of(record_of(*trials), "baseline", "x", "max") is None


@pytest.mark.parametrize(
    ("baseline", "modulated", "mode", "expected"),
    [
        (0.5, 0.6, "max", "modulated"),
        (0.5, 0.6, "min", "baseline"),
        (0.6, 0.5, "max", "baseline"),
        (0.6, 0.5, "min", "modulated"),
        (0.5, 0.5, "max", "baseline"),
        (0.5, 0.5, "min", "baseline"),
        (None, 0.5, "max", "modulated"),
        (0.5, None, "min", "baseline"),
    ],
)
def test_the_winner_is_the_better_and_the_baseline_where_they_are_equal(baseline, modulated, mode, expected):
    values = {"modulated": modulated, "baseline": baseline}
    best = {a: Best(TrialRecord(0, a, {}, {}), {}, v) for a, v in values.items() if v is not None}
    assert winner(best, mode).trial.arm == expected


# ---- several objectives ----

OBJECTIVES = (Objective("x", "max"), Objective("y", "min"))
points = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=12)


def dominated(point: tuple[int, int], others: list[tuple[int, int]]) -> bool:
    """Return whether some other point is as good in both objectives, and better in one."""
    return any(x >= point[0] and y <= point[1] and (x > point[0] or y < point[1]) for x, y in others)


@given(points)
def test_the_pareto_front_is_what_nothing_dominates_and_of_equal_ones_the_first(found):
    record = SearchRecord()
    for number, (x, y) in enumerate(found):
        epochs = [{"x": x - 1, "y": y - 9, "best": x - 1}, {"x": x, "y": y, "best": x}]  # only the best epoch counts
        record.trials[number] = TrialRecord(number, "baseline", {}, {}, "finished", epochs)
    front = [trial.number for trial in front_of(record, "baseline", OBJECTIVES)]
    assert front == [n for n, p in enumerate(found) if not dominated(p, found) and p not in found[:n]]
    assert front_of(record, "modulated", OBJECTIVES) == []


@pytest.mark.parametrize(
    ("status", "there"), [("finished", True), ("stopped", True), ("failed", False), ("running", False)]
)
def test_the_front_is_made_of_trials_that_came_to_a_result(status, there):
    record = SearchRecord()
    record.trials[0] = TrialRecord(0, "baseline", {}, {}, status, [{"x": 1, "y": 1, "best": 1}])
    record.trials[1] = TrialRecord(1, "baseline", {}, {}, "stopped", [])
    assert [t.number for t in front_of(record, "baseline", OBJECTIVES)] == [0] * there


def test_an_arms_effort_counts_all_of_its_trials_and_epochs():
    record = record_of(("finished", [0.1] * 5), ("failed", [0.1] * 2), ("stopped", [0.1]), ("waiting", []))
    assert effort_of(record, "baseline") == Effort(4, 8)
    assert effort_of(record, "modulated") == Effort(0, 0)


answers = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=300)


@given(answers)
def test_the_interval_is_the_normal_one_of_the_paired_differences(pairs):
    modulated, baseline = (torch.tensor(column) for column in zip(*pairs, strict=True))
    found = paired_interval(modulated, baseline)
    differences = [m - b for m, b in pairs]
    mean = sum(differences) / len(pairs)
    half = 1.959963984540054 * statistics.pstdev(differences) / math.sqrt(len(pairs))
    assert found.examples == len(pairs)
    assert [found.mean, found.low, found.high] == pytest.approx([mean, mean - half, mean + half], abs=1e-12)
    swapped = paired_interval(baseline, modulated)
    assert [swapped.low, swapped.high] == pytest.approx([-found.high, -found.low], abs=1e-12)


@given(st.lists(st.booleans(), min_size=1, max_size=300))
def test_two_models_that_answer_alike_differ_by_exactly_nothing(correct):
    found = paired_interval(torch.tensor(correct), torch.tensor(correct))
    assert (found.mean, found.low, found.high) == (0, 0, 0)
