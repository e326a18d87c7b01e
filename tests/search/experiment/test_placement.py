"""Placement of configurations: those of the space are inside it, and for others the nearest one is found."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.experiment.arms import ARMS, Arm
from search.experiment.dimensions import END, METHOD, START, Changes, Choice, Dimension, Interval, Range, Window
from search.experiment.load import check
from search.experiment.placement import configuration, decode, place, values_of
from search.experiment.schema import Experiment
from search.experiment.space import dimensions, with_changes
from search.experiment.yaml_source import override, parse
from search.tuner.distributions import distributions
from tests.search.experiment.test_space import draw_from, experiments
from tests.support.tells import tells

pytestmark = pytest.mark.filterwarnings("ignore:The distribution is specified by")

SPACE = """
name: x
dataset: {name: digits}
trial: {epochs: 12, fusion: concat, optimizer: {lr: 0.02}, modulation: {method: ogm, alpha: 0.5, start: 2, end: 30}}
space:
  fusion: [concat, sum]
  optimizer.lr: [0.001, 0.01, 0.1]
  modulation.alpha: {low: 0.05, high: 1.5, step: 0.05}
  modulation.start: [0, 2, 4]
  modulation.end: [7, 11]
"""


def experiment(*assignments: str) -> Experiment:
    document = parse(SPACE, "f.yaml")
    override(document, assignments)
    return check(document)


# ---- a space's own configurations ----


@settings(deadline=None, max_examples=100)
@given(experiments(), st.sampled_from(ARMS), st.data())
def test_every_configuration_of_a_space_is_inside_it_and_is_encoded_to_itself(asked, arm, data):
    searched = dimensions(asked.space, asked.trial, modulated=arm == "modulated")
    sampled_from = {path: d for dimension in searched for path, d in distributions(dimension).items()}
    own = decode(searched, {path: draw_from(d, data.draw) for path, d in sampled_from.items()}, arm)
    placed = place(asked, own, arm)
    assert (placed.is_inside, placed.outside, placed.differences) == (True, [], [])
    assert placed.nearest == own == decode(searched, placed.sampled, arm)
    assert placed.sampled.keys() == sampled_from.keys()
    assert all(d._contains(d.to_internal_repr(placed.sampled[path])) for path, d in sampled_from.items())
    assert with_changes(asked.trial, placed.nearest) == with_changes(asked.trial, own)


@settings(deadline=None, max_examples=50)
@given(experiments(), st.sampled_from(ARMS))
def test_the_nearest_to_the_experiments_own_trial_is_inside(asked, arm):
    nearest = place(asked, {}, arm).nearest
    assert place(asked, nearest, arm).is_inside
    with_changes(asked.trial, nearest)


def test_a_value_that_optuna_added_up_from_steps_is_the_one_that_is_written():
    """The encoding of an earlier trial equals the sampler's own: otherwise a configuration could be tried twice."""
    alpha = 0.05 + 2 * 0.05
    assert alpha != 0.15
    placed = place(experiment(), {"modulation.alpha": alpha, "optimizer.lr": 0.1}, "modulated")
    assert placed.is_inside
    assert placed.nearest["modulation.alpha"] == placed.sampled["modulation.alpha"] == 0.15
    searched = dimensions(experiment().space, experiment().trial, modulated=True)
    assert decode(searched, placed.sampled | {"modulation.alpha": alpha}, "modulated") == placed.nearest


def test_a_whole_number_stands_for_the_number():
    placed = place(experiment(), {"modulation.alpha": 1, "optimizer.lr": 0.1}, "modulated")
    assert placed.is_inside
    assert json.dumps(placed.nearest["modulation.alpha"]) == "1.0"


# ---- the nearest ----


def nearest_of(dimension: Dimension, changes: Changes) -> Changes:
    return dimension.decode(dimension.nearest(changes))


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=6, unique=True), st.floats(-20, 20))
def test_the_nearest_of_numbers_is_the_least_far(values, own):
    found = nearest_of(Choice("path", tuple(values)), {"path": own})["path"]
    assert found in values
    assert abs(found - own) == min(abs(value - own) for value in values)


@pytest.mark.parametrize(
    ("values", "own", "found"),
    [
        (("concat", "sum"), "sum", "sum"),
        (("concat", "sum"), "film", "concat"),
        (([], [3]), [3], [3]),
        (([], [3]), [9], []),
        ((None, "DEFAULT"), None, None),
        ((3, 1, 2), "two", 3),
    ],
)
def test_the_nearest_without_an_order_is_the_same_or_the_first(values, own, found):
    choice = Choice("path", values)
    expected = found if own in values or not choice.is_ranked else choice.decode(choice.at(0))["path"]
    assert nearest_of(choice, {"path": own}) == {"path": expected}


@given(
    st.integers(-20, 20), st.integers(1, 30), st.integers(1, 7), st.integers(-40, 80), st.sampled_from([1, 0.1, 0.05])
)
def test_the_nearest_in_a_range_of_steps_is_the_least_far(low, width, step, own, unit):
    ends = {"low": low * unit, "high": (low + width) * unit, "step": step * unit}
    interval = Interval("path", Range(**ends), integer=unit == 1)
    every = [interval.decode(interval.at(number))["path"] for number in range(int(interval.count))]
    found = nearest_of(interval, {"path": own * unit})["path"]
    assert isinstance(found, int) is (unit == 1)
    assert min(abs(found - value) for value in every) < 1e-9
    clipped = min(max(own * unit, interval.range.low), interval.range.high)
    assert abs(found - clipped) == pytest.approx(min(abs(value - clipped) for value in every))


@given(st.floats(0.1, 5), st.floats(0.1, 5), st.floats(-9, 9) | st.just("text"), st.booleans())
def test_the_nearest_in_a_range_without_steps_is_the_value_or_an_end(low, width, own, log):
    interval = Interval("path", Range(low=low, high=low + width, log=log), integer=False)
    expected = low if own == "text" else min(max(own, low), low + width)
    assert nearest_of(interval, {"path": own}) == {"path": expected}


_epoch = st.integers(0, 12)
_pairs = st.sets(st.tuples(_epoch, _epoch).map(sorted).map(tuple), min_size=1, max_size=20)


@given(_pairs, _epoch, _epoch)
def test_the_nearest_window_is_the_one_whose_ends_are_least_far(pairs, start, end):
    found = nearest_of(Window(tuple(pairs)), {START: start, END: end})

    def distance(pair: tuple[int, int]) -> int:
        return abs(pair[0] - start) + abs(pair[1] - end)

    assert (found[START], found[END]) in pairs
    assert distance((found[START], found[END])) == min(map(distance, pairs))


# ---- what an arm makes of a configuration ----


@pytest.mark.parametrize(
    ("changes", "assignments", "expected"),
    [
        ({}, [], {METHOD: "ogm", START: 2, END: 11, "modulation.alpha": 0.5}),
        ({END: 7}, [], {END: 7}),
        ({END: 99}, [], {END: 11}),
        ({END: 99, "epochs": 20}, [], {END: 19, "epochs": 20}),
        ({END: 99}, ["space.epochs=[5,16]"], {END: 15, "epochs": 12}),
        ({METHOD: "none"}, [], {METHOD: "ogm"}),
        (
            {METHOD: "none"},
            ["trial.modulation.method=none", "space.modulation.method=[none,ogm_ge,ogm]"],
            {METHOD: "ogm_ge"},
        ),
        (
            {METHOD: "none"},
            ["trial.modulation.method=ogm_ge", "space.modulation.method=[ogm,ogm_ge]"],
            {METHOD: "ogm_ge"},
        ),
        ({METHOD: "ogm_ge"}, [], {METHOD: "ogm_ge"}),
        ({"batch_size": 16}, [], {"batch_size": 16, "fusion": "concat", "optimizer.lr": 0.02}),
        ({"batch_size": 64}, ["trial.batch_size=64"], {"batch_size": None}),
    ],
)
def test_what_the_modulated_arm_makes_of_a_configuration(changes, assignments, expected):
    asked = experiment(*assignments)
    found = configuration(asked, changes, "modulated")
    assert {path: found.get(path) for path in expected} == expected
    assert set(asked.space) | {METHOD, START, END} <= set(found)


@pytest.mark.parametrize("changes", [{}, {METHOD: "ogm_ge"}, {END: 7, "modulation.alpha": 9.0}, {METHOD: "none"}])
def test_the_baseline_has_no_modulation_but_the_method_none(changes):
    found = configuration(experiment(), changes, "baseline")
    assert found == {"fusion": "concat", "optimizer.lr": 0.02, METHOD: "none"}
    assert place(experiment(), changes, "baseline").outside == ["optimizer.lr"]


@pytest.mark.parametrize(
    ("changes", "arm", "facts"),
    [
        ({"optimizer.lr": 0.1}, "modulated", []),
        ({}, "modulated", [("`optimizer.lr` 0.02", "0.01")]),
        ({"optimizer.lr": 0.1, "fusion": "film"}, "modulated", [("`fusion` film", "concat")]),
        (
            {"optimizer.lr": 0.1, START: 3, END: 9},
            "modulated",
            [("`modulation.start` 3", 2), ("`modulation.end` 9", 7)],
        ),
        ({"optimizer.lr": 0.1, "epochs": 20}, "baseline", [("`epochs` 20", "not searched")]),
        ({"optimizer.lr": 0.1, METHOD: "ogm_ge"}, "modulated", [(f"`{METHOD}` ogm_ge", "ogm")]),
        ({"optimizer.lr": 0.1, METHOD: "ogm_ge"}, "baseline", []),
        ({"optimizer.lr": 0.1, "modulation.parameters": "conv"}, "modulated", []),
        (
            {"optimizer.lr": 0.1, "modulation.parameters": "all"},
            "modulated",
            [("`modulation.parameters` all", "not searched")],
        ),
    ],
)
def test_what_lies_outside_is_told_path_by_path(changes, arm, facts):
    found = place(experiment(), changes, arm).differences
    assert len(found) == len(facts)
    for told, expected in zip(found, facts, strict=True):
        tells(told, *expected)


@pytest.mark.parametrize("arm", ARMS)
def test_the_values_of_a_trial_are_those_of_a_file(arm: Arm):
    """A configuration of another experiment can be placed: every path has a value, with lists instead of tuples."""
    trial = experiment("trial.schedule={name: step, milestones: [3, 9]}").trial
    values = values_of(trial)
    assert values["schedule.milestones"] == [3, 9]
    assert place(experiment(), values | {"optimizer.lr": 0.1}, arm).outside == ["schedule.name", "schedule.milestones"]
    assert json.loads(json.dumps(values)) == values


def test_another_trial_as_whole_values_is_where_its_differences_are():
    other: dict[str, Any] = values_of(with_changes(experiment().trial, {"optimizer.lr": 0.1}))
    assert place(experiment(), other, "modulated").is_inside
    assert place(experiment(), other | {"seed": 7}, "modulated").outside == ["seed"]
