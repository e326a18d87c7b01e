"""Tests of the replay of searches on recorded curves, and of the recorded curves."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable

import pytest

from benchmarks import curves
from benchmarks.curves import Curve, demo
from benchmarks.replay import (
    Configuration,
    Draw,
    History,
    Leader,
    draw,
    in_hand,
    pool_of,
    running_best,
    stopping,
    try_all,
    winner,
)
from benchmarks.schedulers import Blind, RayAsha, epochs_to_arrive, outcome, policies, replays, variants
from search.tuner.pruners.asha import Asha
from search.tuner.pruners.peers import LearningCurve
from search.tuner.pruners.pruner import NoPruning
from search.tuner.study import ArmStudy


def trial(*values: float, arm: str = "baseline", opens: int | None = None, others: float = 0.0) -> Configuration:
    """Return a configuration with these values for the first seed, and flat curves for the others."""
    flat = (others,) * len(values)
    return Configuration(arm, opens, (values, flat, flat))


def drawn(*trials: Configuration) -> Draw:
    return Draw(trials, 0)


class StopsWhen:
    """Scheduler that stops the runs for which `stop` is true and records what it has seen."""

    def __init__(self, stop: Callable[[LearningCurve], bool]) -> None:
        self.stop = stop
        self.shown: list[LearningCurve] = []

    def decide(self, run: LearningCurve, runs: Iterable[LearningCurve]) -> str | None:
        assert run in list(runs)
        self.shown.append(run)
        return "stopped" if self.stop(run) else None


def history(stop: Callable[[LearningCurve], bool], draw: Draw, workers: int = 1) -> History:
    return stopping(lambda: StopsWhen(stop))(draw, workers)


FOUR = drawn(trial(1, 2, 3), trial(2, 3, 4), trial(3, 4, 5), trial(4, 5, 6))


# ---- which epochs are trained ----


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 9])
def test_without_stopping_every_trial_trains_every_epoch(workers):
    trained = stopping(NoPruning)(FOUR, workers)
    assert Counter(trained) == dict.fromkeys(range(4), 3)


@pytest.mark.parametrize(
    ("workers", "order"),
    [
        (1, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]),
        (2, [0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3]),
        (3, [0, 1, 2, 0, 1, 2, 0, 1, 2, 3, 3, 3]),
        (4, [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3]),
    ],
)
def test_trials_train_side_by_side_epoch_by_epoch(workers, order):
    assert stopping(NoPruning)(FOUR, workers) == order


@pytest.mark.parametrize(
    ("workers", "order"),
    [(1, [0, 1, 1, 1, 2, 3, 3, 3]), (2, [0, 1, 2, 1, 3, 1, 3, 3]), (3, [0, 1, 2, 3, 1, 3, 1, 3])],
)
def test_the_place_of_a_stopped_trial_is_taken_at_once(workers, order):
    assert history(lambda run: run.number in (0, 2), FOUR, workers) == order


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_scheduler_that_stops_everything_leaves_one_epoch_each(workers):
    assert history(lambda run: True, FOUR, workers) == [0, 1, 2, 3]


def test_a_scheduler_sees_the_best_so_far_of_each_epoch_but_the_last():
    scheduler = StopsWhen(lambda run: False)
    stopping(lambda: scheduler)(drawn(trial(3, 1, 4, 1, arm="modulated", opens=2)), 1)
    assert scheduler.shown == [LearningCurve(0, "modulated", 2, values) for values in [(3,), (3, 3), (3, 3, 4)]]


def test_or_each_epochs_own_value():
    scheduler = StopsWhen(lambda run: False)
    stopping(lambda: scheduler, raw=True)(drawn(trial(3, 1, 4, 1)), 1)
    assert [run.values for run in scheduler.shown] == [(3,), (3, 1), (3, 1, 4)]


@pytest.mark.parametrize("workers", [1, 4])
def test_every_search_has_a_scheduler_of_its_own(workers):
    ray = stopping(lambda: RayAsha(1, 2, 3), raw=True)
    assert ray(FOUR, workers) == ray(FOUR, workers)


def test_the_best_of_each_arm_after_one_epoch_is_trained_to_the_end():
    mixed = drawn(
        trial(2, 9, 9),
        trial(3, 3, 3),
        trial(1, 1, 1, arm="modulated", opens=0),
        trial(2, 2, 2, arm="modulated", opens=0),
    )
    assert try_all(1)(mixed, 1) == [0, 1, 2, 3, 1, 1, 3, 3]
    assert try_all(1)(mixed, 2) == [0, 1, 2, 3, 1, 3, 1, 3]
    assert try_all(2)(mixed, 1) == [0, 0, 1, 1, 2, 2, 3, 3, 0, 3]
    assert Counter(try_all(3)(mixed, 1)) == dict.fromkeys(range(4), 3)


# ---- Ray's, and the window ----


def test_rays_asha_stops_below_the_top_of_what_was_shown_at_a_rung():
    """With factor 2 it cuts at the median of the values reported before."""
    four = drawn(*(trial(v, v, v, v) for v in (2, 1, 3, 2)))
    trained = stopping(lambda: RayAsha(1, 2, 4), raw=True)(four, 1)
    assert Counter(trained) == {0: 4, 1: 1, 2: 4, 3: 2}  # the last: at the median of 2, 1, 3 and below that of 2, 3


def test_rays_asha_ranks_the_arms_together_and_ours_apart():
    both = drawn(trial(5, 5, 5), trial(4, 4, 4, arm="modulated", opens=0))
    assert len(stopping(lambda: RayAsha(1, 2, 3), raw=True)(both, 1)) == 4
    assert len(stopping(lambda: Asha([1], 2, "max"))(both, 1)) == 6


def test_without_the_window_a_trial_that_waits_for_it_is_ranked_with_open_ones():
    two = drawn(trial(5, 5, 5, arm="modulated", opens=0), trial(4, 4, 4, arm="modulated", opens=2))
    assert Counter(stopping(lambda: Asha([1], 2, "max"))(two, 1)) == {0: 3, 1: 3}
    assert Counter(stopping(lambda: Blind(Asha([1], 2, "max")))(two, 1)) == {0: 3, 1: 1}


# ---- the best trials so far ----


def test_the_best_value_shown_leads_its_arm_and_the_first_of_equal_ones():
    mixed = drawn(trial(3, 1), trial(3, 4), trial(2, 4, arm="modulated", opens=0))
    hands = in_hand(mixed, [0, 1, 2, 0, 1, 2])
    assert [hand["baseline"] for hand in hands] == [Leader(0, 3)] * 4 + [Leader(1, 4)] * 2
    assert [hand.get("modulated") for hand in hands] == [None] * 2 + [Leader(2, 2)] * 3 + [Leader(2, 4)]
    assert [winner(hand) for hand in hands] == [0, 0, 0, 0, 1, 1]


def test_an_earlier_trial_that_draws_level_leads():
    assert in_hand(drawn(trial(1, 5), trial(5, 5)), [0, 1, 0])[-1] == {"baseline": Leader(0, 5)}


def test_a_better_modulated_trial_is_handed_over():
    assert winner({"baseline": Leader(0, 1.0), "modulated": Leader(1, 2.0)}) == 1


def test_an_outcome_tells_cost_and_worth():
    """The search sees the first seed; quality is over all three, `unseen` over the other two."""
    best = trial(0.70, 0.80, 0.80, others=0.95)  # quality 0.9
    near = trial(0.75, 0.90, 0.90, others=0.89)  # quality 0.8933; takes the lead at its second epoch
    poor = trial(0.10, 0.20, 0.30, arm="modulated", opens=0, others=0.2)
    found = outcome(drawn(poor, best, near), stopping(NoPruning)(drawn(poor, best, near), 1), 0.9)
    assert found.epochs == 9
    assert found.arrived is None  # the best leads after epoch 4 and loses the lead again
    assert found.behind_draw == pytest.approx(100 * (0.9 - 2.68 / 3))
    assert found.unseen == pytest.approx(89)
    assert found.behind_arm == pytest.approx({"baseline": 100 * (0.9 - 2.68 / 3), "modulated": 0})
    assert found.difference == pytest.approx(20 - 89)
    assert outcome(drawn(poor, best), [0, 0, 0, 1, 1, 1], 0.9).arrived == 4
    assert outcome(drawn(poor, best), [0, 0, 0, 1, 1, 1], 0.905).arrived == 4
    behind = outcome(drawn(poor, best), [0, 0, 0, 1, 1, 1], 0.92)
    assert (behind.behind_draw, behind.behind[-1]) == (0, pytest.approx(2))
    assert outcome(drawn(poor, best), [0, 0, 0, 1, 1, 1], 0.906).arrived is None
    assert outcome(drawn(poor, best), [0, 0, 0, 1, 1, 1], 0.904).arrived == 4


def test_a_search_that_does_not_arrive_costs_all_that_it_trained():
    both = drawn(trial(0.1, 0.1, arm="modulated", opens=0), trial(0.9, 0.9, others=0.9))
    there, missed = (outcome(both, [0, 0, 1, 1], best) for best in (0.9, 1.0))
    assert (there.arrived, missed.arrived) == (3, None)
    assert epochs_to_arrive([there] * 2).mean == 3
    assert epochs_to_arrive([there, missed]).mean == 3 + 4
    assert epochs_to_arrive([missed] * 2) is None


# ---- draws ----


def recorded(arm: str, name: int, seeds: Iterable[int] = (0, 1, 2)) -> list[Curve]:
    changes = {"optimizer.lr": name} | ({} if arm == "baseline" else {"modulation.start": name})
    return [Curve(arm, changes, seed, (name + seed / 10,)) for seed in seeds]


def test_a_pool_has_the_configurations_that_have_every_seed():
    rows = recorded("baseline", 1) + recorded("modulated", 2, [2, 0, 1]) + recorded("modulated", 3, [0, 1])
    assert pool_of(rows) == [
        Configuration("baseline", None, ((1.0,), (1.1,), (1.2,))),
        Configuration("modulated", 2, ((2.0,), (2.1,), (2.2,))),
    ]


POOL = pool_of(
    [c for n in range(3) for c in recorded("baseline", n)] + [c for n in range(5) for c in recorded("modulated", n)]
)


def test_a_draw_takes_turns_and_repeats_nothing():
    for number in range(20):
        four = draw(POOL, 4, 0.5, number)
        assert [t.arm[0] for t in four.trials] == ["m", "b", "m", "b"]
        assert len({t.curves for t in four.trials if t.arm == "baseline"}) == 2
        assert four == draw(POOL, 4, 0.5, number)
    assert len({draw(POOL, 4, 0.5, number).trials for number in range(20)}) > 10
    assert Counter(draw(POOL, 4, 0.5, number).seed for number in range(30)) == dict.fromkeys(range(3), 10)


def test_all_trials_of_a_draw_train_with_its_seed():
    both = (trial(1, 2, others=7), trial(3, 4, others=8))
    assert [Draw(both, seed).values for seed in (0, 1)] == [[(1, 2), (3, 4)], [(7, 7), (8, 8)]]


def test_a_draw_of_more_than_there_are_is_all_of_them():
    assert Counter(draw(POOL, 99, 0.5, 0).trials) == Counter(POOL)


def test_every_policy_replays_the_same_searches_and_no_stopping_costs_the_most():
    pool = [
        trial(*running_best([(n * 7 + e * 5) % 11 / 11 for e in range(12)]), arm=arm, opens=opens, others=n / 30)
        for n in range(12)
        for arm, opens in (("baseline", None), ("modulated", n % 7))
    ]
    for workers in (1, 4):
        results = replays(pool, policies() | variants(), 10, workers, 3)
        assert {o.epochs for o in results["none"]} == {10 * 12}
        assert {o.epochs for o in results["1, then best"]} == {10 + 2 * 11}
        assert all(o.epochs <= 120 for outcomes in results.values() for o in outcomes)
        assert results == replays(pool, policies() | variants(), 10, workers, 3)


# ---- the recorded curves ----


def test_the_recorded_curves_are_whole_and_of_the_demos_space():
    rows = curves.read()
    there = [(c.arm, json.dumps(c.changes, sort_keys=True), c.seed) for c in rows]
    assert len(there) == len(curves.SEEDS) * sum(curves.CONFIGURATIONS.values()) == 240
    assert set(there) == {(arm, json.dumps(changes, sort_keys=True), seed) for arm, changes, seed in curves.jobs()}
    assert {len(c.values) for c in rows} == {demo().trial.epochs}
    assert all(0 < value <= 1 for c in rows for value in c.values)
    assert {c.arm for c in pool_of(rows)} == set(curves.CONFIGURATIONS)
    assert ArmStudy(demo(), "baseline").capacity == curves.CONFIGURATIONS["baseline"]


def test_the_recorded_file_is_in_order(tmp_path):
    curves.write(curves.read()[::-1], tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == curves.FILE.read_bytes()


def test_before_a_window_opens_a_modulated_run_is_the_unmodulated_one():
    """Window-aware early stopping relies on this. It also shows that one version of the code made all curves."""
    rows = curves.read()
    plain = {(c.changes["fusion"], c.changes["optimizer.lr"], c.seed): c.values for c in rows if c.arm == "baseline"}
    for c in rows:
        if c.opens is not None:
            same = plain[c.changes["fusion"], c.changes["optimizer.lr"], c.seed]
            assert c.values[: c.opens] == same[: c.opens]


def test_a_curve_is_read_as_it_was_written(tmp_path):
    changes = {"fusion": "film", "optimizer.lr": 0.003, "modulation.method": "ogm", "modulation.start": 2}
    curve = Curve("modulated", {**changes, "modulation.alpha": 0.1 + 0.2, "modulation.end": 9}, 1, (0.25,) * 12)
    curves.write([curve], tmp_path / "one.csv")
    assert curves.read(tmp_path / "one.csv") == [curve]
    assert curves.read(tmp_path / "none.csv") == []
