"""ASHA: which runs are stopped at a rung. The best among its peers is never stopped."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.tuner.pruners.asha import Asha
from search.tuner.pruners.peers import LearningCurve, peers
from tests.support.tells import tells


class Trained:
    """Runs that report one after the other, as a search reports them to the scheduler."""

    def __init__(self, scheduler: Asha) -> None:
        self.scheduler = scheduler
        self.runs: dict[int, LearningCurve] = {}

    def report(self, number: int, arm: str, opens: int | None, values: Sequence[float]) -> str | None:
        """Set a run's results so far, and return the scheduler's decision."""
        self.runs[number] = LearningCurve(number, arm, opens, values)
        return self.scheduler.decide(self.runs[number], self.runs.values())


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize(
    ("factor", "values", "going_on"),
    [
        # values in the order of arrival, higher is better; + continues and - stops
        (3, [5], "+"),
        (3, [0], "+"),
        (3, [5, 4, 6], "+-+"),
        (3, [1, 2, 3, 4], "++++"),
        (3, [9, 8, 7, 6], "+---"),
        (3, [9, 8, 7, 6, 5, 8.5], "+----+"),
        (3, [9, 8, 7, 6, 5, 4, 8.5], "+-----+"),
        (2, [9, 8, 7, 8.5], "+--+"),
        (2, [9, 8, 7, 7.5], "+---"),
        (4, [9, 8, 7, 6, 5, 4, 8.5], "+------"),
        (2, [5, 5, 5, 5], "++++"),
        (3, [5, 5, 4, 5], "++-+"),
    ],
)
def test_a_trial_goes_on_that_is_among_the_best_shown_so_far(mode, factor, values, going_on):
    sign = 1 if mode == "max" else -1
    trained = Trained(Asha([3], factor, mode))
    decisions = [trained.report(n, "baseline", None, [0, 0, sign * value]) for n, value in enumerate(values)]
    assert "".join("+" if decision is None else "-" for decision in decisions) == going_on


@pytest.mark.parametrize("epochs", [1, 2, 4, 8, 10, 100])
def test_off_the_rungs_nothing_is_decided(epochs):
    trained = Trained(Asha([3, 9], 3, "max"))
    assert [trained.report(n, "baseline", None, [-float(n)] * epochs) for n in range(9)] == [None] * 9


def test_without_rungs_every_trial_goes_on():
    trained = Trained(Asha([], 3, "max"))
    assert [trained.report(n, "baseline", None, [-n] * e) for n in range(9) for e in range(1, 9)] == [None] * 72


GRACE = 2
TABLE = [
    # a run (arm, opens, values), the other runs, and whether it continues; the rungs are 3 and 9, the grace is 2
    ("the baseline among the baseline", ("baseline", None, [5] * 3), [("baseline", None, [6] * 3)], False),
    ("the baseline not among the open", ("baseline", None, [5] * 3), [("modulated", 0, [6] * 3)], True),
    ("the baseline not among those to open", ("baseline", None, [5] * 3), [("modulated", 3, [6] * 3)], True),
    ("the open not among the baseline", ("modulated", 0, [5] * 3), [("baseline", None, [6] * 3)], True),
    ("the open among the open", ("modulated", 0, [5] * 3), [("modulated", 1, [6] * 3)], False),
    ("the open not among those in their grace", ("modulated", 0, [5] * 3), [("modulated", 2, [6] * 3)], True),
    ("nor later among those", ("modulated", 0, [5] * 3), [("modulated", 2, [6] * 8)], True),
    ("the open not among those to open", ("modulated", 0, [5] * 3), [("modulated", 3, [6] * 3)], True),
    ("one to open among the baseline", ("modulated", 3, [5] * 3), [("baseline", None, [6] * 3)], False),
    ("one to open among those to open", ("modulated", 3, [5] * 3), [("modulated", 5, [6] * 3)], False),
    ("one to open that opened since", ("modulated", 5, [5] * 3), [("modulated", 3, [6] * 9)], False),
    ("one to open not among the open", ("modulated", 3, [5] * 3), [("modulated", 2, [6] * 9)], True),
    ("one in its grace among nobody", ("modulated", 2, [5] * 3), [("modulated", 0, [6] * 9)], True),
    ("after its grace, at the rung that was in it", ("modulated", 2, [5] * 4), [("modulated", 0, [6] * 9)], False),
    ("then by its own epoch's values", ("modulated", 2, [5] * 4), [("modulated", 0, [4] * 3 + [6] * 6)], False),
    ("who was stopped at the rung is worse", ("modulated", 2, [5] * 4), [("modulated", 0, [6] * 3)], True),
    ("after a grace without a rung in it", ("modulated", 4, [5] * 6), [("modulated", 0, [6] * 9)], True),
    ("two in their grace at the same rung", ("modulated", 2, [5] * 4), [("modulated", 2, [6] * 4)], False),
    ("one whose grace ends later", ("modulated", 1, [5] * 3), [("modulated", 2, [6] * 4)], True),
    ("those that came less far", ("modulated", 0, [5] * 3), [("modulated", 0, [6] * 2)], True),
    ("the second rung", ("modulated", 0, [5] * 9), [("modulated", 2, [6] * 9)], False),
    ("the second rung, before it opens", ("modulated", 9, [5] * 9), [("baseline", None, [6] * 9)], False),
]


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize(("run", "there", "goes_on"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_a_trial_is_compared_with_those_whose_state_it_shares(run, there, goes_on, mode):
    trained = Trained(Asha([3, 9], 3, mode, grace_epochs=GRACE))
    sign = 1 if mode == "max" else -1
    for number, (arm, opens, values) in enumerate(there):
        trained.runs[number] = LearningCurve(number, arm, opens, [sign * v for v in values])
    arm, opens, values = run
    assert (trained.report(99, arm, opens, [sign * v for v in values]) is None) == goes_on


def test_a_hopeless_learning_rate_ends_before_its_window_opens():
    trained = Trained(Asha([3, 9], 3, "max", grace_epochs=3))
    for number in range(3):
        trained.report(number, "baseline", None, [0.5 + number / 10] * 3)
    reason = trained.report(9, "modulated", 10, [0.1] * 3)
    tells(reason, "asha:", "4th of 4", "without modulation", "3 epochs", 1)


def test_a_reason_tells_the_rank_and_among_how_many():
    trained = Trained(Asha([3], 3, "max", grace_epochs=3))
    reasons = [trained.report(number, "modulated", 0, [100.0 - number] * 3) for number in range(23)]
    tells(reasons[1], "asha:", "2nd of 2", "open window", "3 epochs", 1)
    ranks = [re.search(r"\d+(st|nd|rd|th)", str(reason))[0] for reason in reasons[1:]]
    assert ranks[:4] == ["2nd", "3rd", "4th", "5th"]
    assert ranks[9:12] == ["11th", "12th", "13th"]
    assert ranks[19:] == ["21st", "22nd", "23rd"]


# ---- brackets ----


def test_trials_are_ranked_within_their_bracket_and_a_later_one_leaves_rungs_out():
    scheduler = Asha([1, 3, 9], 3, "max", brackets=3)
    by_bracket = {b: [n for n in range(200) if scheduler.bracket(n) == b] for b in range(3)}
    trained = Trained(scheduler)
    for b, numbers in by_bracket.items():
        first, second = numbers[:2]
        for epochs in (1, 3, 9):
            assert trained.report(first, "baseline", None, [9.0 - b] * epochs) is None  # best of its bracket
            stopped = trained.report(second, "baseline", None, [0.0] * epochs) is not None
            assert stopped == (epochs in scheduler.rungs[b:])


def test_brackets_are_drawn_from_the_seed_and_each_is_a_factor_rarer():
    draws = [[Asha([1], 3, "max", brackets=3, seed=seed).bracket(n) for n in range(3000)] for seed in (0, 1)]
    assert draws[0] != draws[1]
    for drawn in draws:
        counts = Counter(drawn)
        assert counts[0] / counts[1] == pytest.approx(3, rel=0.25)
        assert counts[1] / counts[2] == pytest.approx(3, rel=0.35)
    assert {Asha([1], 3, "max").bracket(n) for n in range(100)} == {0}


# ---- any results ----

_runs = st.lists(
    st.tuples(
        st.sampled_from(["baseline", "modulated"]),
        st.integers(0, 12),
        st.lists(st.integers(-9, 9).map(float), min_size=1, max_size=12),
    ),
    min_size=1,
    max_size=25,
).map(lambda rows: [LearningCurve(n, a, None if a == "baseline" else o, v) for n, (a, o, v) in enumerate(rows)])
_schedulers = st.builds(
    Asha,
    st.just([1, 3, 9]),
    st.integers(2, 4),
    st.sampled_from(["max", "min"]),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 3),
)


@given(_schedulers, _runs)
def test_a_decision_is_that_of_sorting_the_peers(scheduler, runs):
    run = runs[-1]
    trained, bracket = len(run.values), scheduler.bracket(run.number)
    grace = scheduler.grace_epochs

    def taken_at(other: LearningCurve, rung: int) -> int:
        opened = other.opens is not None and other.opens < rung
        return max(rung, other.opens + grace) if opened else rung

    due = [rung for rung in scheduler.rungs[bracket:] if taken_at(run, rung) == trained]
    if not due:
        assert scheduler.decide(run, runs) is None
        return
    rung = due[-1]
    worst = -1e9 if scheduler.mode == "max" else 1e9
    values = []
    for other in runs:
        same = (other.opens is not None and other.opens < rung) == (run.opens is not None and run.opens < rung)
        same &= run.arm == "modulated" or other.arm == "baseline"
        came = taken_at(other, rung) <= trained and len(other.values) >= taken_at(other, rung)
        if same and came and scheduler.bracket(other.number) == bracket:
            values.append(other.values[trained - 1] if len(other.values) >= trained else worst)
    kept = sorted(values, reverse=scheduler.mode == "max")[: max(1, len(values) // scheduler.reduction_factor)]
    assert (scheduler.decide(run, runs) is None) == (run.values[-1] in kept)


@given(_schedulers, _runs, st.randoms())
def test_a_decision_depends_on_the_results_and_not_on_their_order(scheduler, runs, random):
    decisions = [scheduler.decide(run, runs) for run in runs]
    shuffled = runs.copy()
    random.shuffle(shuffled)
    assert [scheduler.decide(run, shuffled) for run in runs] == decisions


@given(_schedulers, _runs)
def test_the_best_of_all_is_never_stopped(scheduler, runs):
    sign = 1 if scheduler.mode == "max" else -1
    best = max(runs, key=lambda run: sign * run.values[-1] - 1e-6 * run.number)
    if all(sign * v <= sign * best.values[-1] for run in runs for v in run.values):
        assert scheduler.decide(best, runs) is None


@given(_schedulers, _runs)
def test_no_baseline_trial_depends_on_the_other_arm(scheduler, runs):
    alone = [run for run in runs if run.arm == "baseline"]
    for run in alone:
        assert scheduler.decide(run, runs) == scheduler.decide(run, alone)


@given(_runs, st.integers(1, 9), st.integers(1, 4))
def test_peers_are_peers_of_each_other_within_an_arm(runs, rung, grace):
    come = [run for run in runs if run.due(rung, grace) == rung <= len(run.values)]
    for run in come:
        for other in peers(run, come, rung, grace):
            if run.arm == other.arm:
                assert run in peers(other, come, rung, grace)
