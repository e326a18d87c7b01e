"""The space: the meaning of its entries, the refused ones, and that every configuration of it is valid."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from typing import Any

import optuna
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from pydantic import ValidationError

from ogmge.config import Modulation, TrialConfig
from search.experiment.dimensions import END, METHOD, START, Changes, Choice, Dimension, Interval, Range, Window
from search.experiment.formatting import flat
from search.experiment.load import check
from search.experiment.schema import Experiment, ExperimentError
from search.experiment.space import Entry, clashes, dimensions, entry_problems, methods, paths, windows, with_changes
from search.experiment.yaml_source import Document
from search.tuner.distributions import distributions
from tests.support.tells import tells

TRIAL = TrialConfig(epochs=12, modulation=Modulation(start=0, end=11))

# ---- one dimension ----


@given(st.permutations([3e-3, 1e-2, 3e-2, 1e-1, 1]))
def test_choices_among_numbers_keep_their_order_however_they_are_written(values):
    choice = Choice("optimizer.lr", tuple(values))
    assert distributions(choice) == {"optimizer.lr": IntDistribution(0, 4)}
    decoded = [choice.decode({"optimizer.lr": rank})["optimizer.lr"] for rank in range(5)]
    assert decoded == [3e-3, 1e-2, 3e-2, 1e-1, 1]


@pytest.mark.parametrize(
    "values",
    [
        ("concat", "sum"),
        (None, "DEFAULT"),
        ([], [3], [3, 9]),
        (["audio"], ["audio", "visual"], None),
        ("resnet18", {"a": "mlp", "b": "mlp"}),
        (True, False),
        ("1", 1),
        ("one",),
    ],
)
def test_choices_among_anything_else_are_categories_that_stand_for_themselves(values):
    choice = Choice("path", values)
    (distribution,) = distributions(choice).values()
    assert isinstance(distribution, CategoricalDistribution)
    assert [choice.decode({"path": category}) for category in distribution.choices] == [{"path": v} for v in values]
    assert choice.count == len(values)


def test_a_choice_written_twice_is_one():
    (found,) = dimensions({"optimizer.lr": [1, 0.1, 1, 1.0]}, TRIAL, modulated=False)
    assert found == Choice("optimizer.lr", (1, 0.1))
    assert methods({METHOD: ["ogm", "none", "ogm"]}, TRIAL) == ["ogm"]


@pytest.mark.parametrize(
    ("path", "entry", "distribution", "count"),
    [
        ("optimizer.lr", {"low": 1e-3, "high": 1}, FloatDistribution(1e-3, 1.0), math.inf),
        ("optimizer.lr", {"low": 1e-3, "high": 1, "log": True}, FloatDistribution(1e-3, 1.0, log=True), math.inf),
        ("modulation.alpha", {"low": 0, "high": 1, "step": 0.25}, FloatDistribution(0.0, 1.0, step=0.25), 5),
        ("modulation.alpha", {"low": 0.1, "high": 0.3, "step": 0.1}, FloatDistribution(0.1, 0.3, step=0.1), 3),
        ("modulation.alpha", {"low": 0, "high": 1, "step": 2}, FloatDistribution(0.0, 0.0, step=2), 1),
        ("epochs", {"low": 1, "high": 9}, IntDistribution(1, 9), 9),
        ("epochs", {"low": 1, "high": 9, "step": 3}, IntDistribution(1, 7, step=3), 3),
        ("epochs", {"low": 1, "high": 9, "log": True}, IntDistribution(1, 9, log=True), 9),
    ],
)
@pytest.mark.filterwarnings("ignore:The distribution is specified by")
def test_a_range_is_sampled_as_it_is_written(path, entry, distribution, count):
    every = dimensions({path: Range(**entry)}, TRIAL, modulated=True)
    (found,) = (dimension for dimension in every if path in distributions(dimension))
    assert distributions(found) == {path: distribution}
    assert found.count == count


# ---- windows ----

_epoch = st.integers(0, 12)
_pairs = st.sets(st.tuples(_epoch, _epoch).map(sorted).map(tuple), min_size=1, max_size=30)


@given(_pairs)
def test_a_window_is_every_pair_and_none_beside(pairs):
    window = Window(tuple(pairs))
    found = distributions(window)
    starts = range(found[START].high + 1) if START in found else [0]
    ends = [i / 200 for i in range(201)] if END in found else [0.0]
    decoded = [window.decode({START: start, END: end}) for start in starts for end in ends]
    assert {(changes[START], changes[END]) for changes in decoded} == pairs
    assert window.count == len(pairs)


@given(_pairs, st.randoms())
def test_a_later_place_is_a_later_start_and_a_later_end_in_whatever_order_pairs_come(pairs, random):
    window = Window(tuple(random.sample(sorted(pairs), len(pairs))))
    starts = sorted({start for start, _ in pairs})
    for rank, start in enumerate(starts):
        found = [window.decode({START: rank, END: end}) for end in (0.0, 0.25, 0.5, 0.75, 1.0)]
        assert [changes[START] for changes in found] == [start] * 5
        ends = [changes[END] for changes in found]
        assert ends == sorted(ends)
        assert ends[0] == min(e for s, e in pairs if s == start)
        assert ends[-1] == max(e for s, e in pairs if s == start)


@pytest.mark.parametrize(
    ("pairs", "sampled"),
    [
        ([(0, 5)], set()),
        ([(0, 5), (1, 5)], {START}),
        ([(0, 5), (0, 6)], {END}),
        ([(0, 5), (1, 5), (1, 6)], {START, END}),
    ],
)
def test_of_a_window_only_what_there_is_to_choose_is_sampled(pairs, sampled):
    assert set(distributions(Window(tuple(pairs)))) == sampled


@pytest.mark.parametrize(
    ("epochs", "start", "end", "found"),
    [
        (12, None, None, [(0, 11)]),
        (12, [3], [5, 2], [(3, 5)]),
        (12, [5], [5], [(5, 5)]),
        (12, [6], [5], []),
        (12, [11, 12], [30], [(11, 11)]),
        (12, [10], [10, 11, 12, 99], [(10, 10), (10, 11)]),
        (3, Range(low=0, high=6, step=2), Range(low=1, high=9, step=4), [(0, 1), (0, 2), (2, 2)]),
        (12, Range(low=0, high=10**12), [2], [(0, 2), (1, 2), (2, 2)]),
        (4, [0], Range(low=1, high=10**12, step=2), [(0, 1), (0, 3)]),
        (4, [0], Range(low=10**9, high=10**12), [(0, 3)]),
        ([3, 6], [0, 2, 3], [9], [(0, 5), (2, 5)]),
        (Range(low=3, high=6), [0, 2, 3], [9], [(0, 5), (2, 5)]),
    ],
)
def test_windows_are_those_that_open_whatever_the_number_of_epochs(epochs, start, end, found):
    trial = replace(TRIAL, epochs=epochs) if isinstance(epochs, int) else TRIAL
    space = {"epochs": None if isinstance(epochs, int) else epochs, START: start, END: end}
    assert windows({path: entry for path, entry in space.items() if entry is not None}, trial) == tuple(found)


# ---- arms ----

SPACE: dict[str, Entry] = {
    "fusion": ["concat", "sum"],
    "modulation.alpha": Range(low=0.1, high=1),
    METHOD: ["none", "ogm", "ogm_ge"],
    "optimizer.lr": [1e-1, 1e-2],
    START: [0, 2],
    "modulation.parameters": ["conv", "all"],
    "modulation.apply": ["gradient"],
    "schedule.name": ["constant", "cosine"],
}


def sampled(found: list[Dimension]) -> set[str]:
    return {path for dimension in found for path in distributions(dimension)}


def test_the_baseline_samples_everything_but_the_modulation():
    baseline, modulated = (dimensions(SPACE, TRIAL, modulated=arm) for arm in (False, True))
    assert sampled(baseline) == {"fusion", "optimizer.lr", "schedule.name"}
    assert sampled(modulated) == sampled(baseline) | {
        METHOD,
        START,
        "modulation.alpha",
        "modulation.parameters",
        "modulation.apply",
    }
    assert modulated[: len(baseline)] == baseline


def test_a_space_of_modulation_alone_leaves_the_baseline_one_configuration():
    space: dict[str, Entry] = {"modulation.alpha": Range(low=0.1, high=1)}
    assert dimensions(space, TRIAL, modulated=False) == []


@pytest.mark.parametrize(
    ("entry", "own", "found"),
    [
        (None, "ogm", ["ogm"]),
        (None, "none", []),
        (["none"], "ogm", []),
        (["ogm_ge", "none", "ogm"], "none", ["ogm_ge", "ogm"]),
    ],
)
def test_the_methods_that_are_compared_with_none(entry, own, found):
    trial = replace(TRIAL, modulation=Modulation(method=own))
    assert methods({} if entry is None else {METHOD: entry}, trial) == found


# ---- changes ----

LEAVES: dict[str, list[Any]] = {
    "epochs": [1, 99],
    "batch_size": [32, 65],
    "encoder": ["mlp", {"a": "mlp", "b": "x:y"}],
    "weights": [None, "DEFAULT", {"a": None}],
    "fusion": ["sum", "x:y"],
    METHOD: ["none", "ogm"],
    "modulation.alpha": [0, 2.5],
    START: [0, 3],
    END: [11, 200],
    "modulation.parameters": ["all"],
    "modulation.apply": ["update"],
    "optimizer.name": ["adam"],
    "optimizer.lr": [1, 1e-9],
    "optimizer.momentum": [0, 0.5],
    "schedule.milestones": [[], [3, 9]],
    "schedule.gamma": [1, 0.5],
    "precision": ["bf16"],
    "seed": [0, 7],
}


def test_every_leaf_of_a_trial_is_a_path():
    assert set(paths(TRIAL)) == set(flat(asdict(TRIAL)))
    assert set(LEAVES) <= set(paths(TRIAL))


def test_the_modalities_of_a_trial_are_paths_unless_their_names_hold_dots():
    trial = replace(TRIAL, encoder={"audio": "mlp", "a.b": "mlp"}, weights={"audio": None})
    assert {path for path in paths(trial) if path.startswith(("encoder", "weights"))} == {
        "encoder.audio",
        "weights.audio",
    }


@given(st.data())
def test_changes_leave_everything_else_as_it_was(data):
    changed = data.draw(st.sets(st.sampled_from(sorted(LEAVES))))
    changes = {path: data.draw(st.sampled_from(LEAVES[path])) for path in sorted(changed)}
    before, untouched = flat(asdict(TRIAL)), json.dumps(changes)
    after = asdict(with_changes(TRIAL, changes))
    for path in paths(TRIAL):
        value: Any = after
        for part in path.split("."):
            value = value[part]
        expected = changes.get(path, before[path])
        assert value == (tuple(expected) if path == "schedule.milestones" else expected)
    assert flat(asdict(TRIAL)) == before
    assert json.dumps(changes) == untouched


def test_changes_do_not_share_what_they_hold_with_the_trial():
    encoder = {"a": "mlp"}
    trial = with_changes(TRIAL, {"encoder": encoder})
    encoder["a"] = "resnet18"
    assert trial.encoder == {"a": "mlp"}


@pytest.mark.parametrize(
    "changes", [{"epochs": 0}, {START: 12, END: 11}, {"optimizer.lr": math.nan}, {"fusion": 3}, {"optimizer.lrr": 1}]
)
def test_changes_that_make_no_trial_are_refused(changes):
    with pytest.raises(ValidationError):
        with_changes(TRIAL, changes)


# ---- entries ----


@pytest.mark.parametrize(
    ("path", "entry", "problems"),
    [
        ("fusion", ["sum", "concat", "mine.heads:Head"], []),
        ("fusion", [], [((), "empty")]),
        ("fusion", ["sum", "summ", 3], [(1, "'summ'", "`sum`"), (2, "text", 3)]),
        ("fusion", {"low": 1, "high": 2}, [((), "a list")]),
        ("schedule.milestones", {"low": 1, "high": 2}, [((), "a list")]),
        ("schedule.milestones", [[], [3], [0], 3], [(2, "above 0", "[0]"), (3, "a list", 3)]),
        ("weights", {"low": 1, "high": 2}, [("low", "text", 1), ("high", "text", 2)]),
        ("weights", [None, "DEFAULT", {"a": None}], []),
        ("optimizer.lr", [1e-3, 1, 0, -1, "x"], [(2, "above 0"), (3, "above 0", -1), (4, "number", "'x'")]),
        ("optimizer.lr", {"low": 2, "high": 1}, [((), "`low` below `high`", 2, 1)]),
        ("optimizer.lr", {"low": 1, "high": 1}, [((), "`low` below `high`", "1 and 1")]),
        ("optimizer.lr", {"low": 0, "high": 1}, [("low", "finite", "above 0")]),
        ("modulation.alpha", {"low": 0, "high": 1}, []),
        ("modulation.alpha", {"low": 0, "high": 1, "log": True}, [((), "`low`", "above 0", "`log`")]),
        ("modulation.alpha", {"low": 1, "high": 2, "log": True, "step": 1}, [((), "`log`", "`step`")]),
        ("modulation.alpha", {"low": -2, "high": -1}, [("low", "at least 0", -2), ("high", "at least 0", -1)]),
        ("modulation.alpha", {"low": 0.1, "high": 1, "step": 5}, []),
        ("optimizer.momentum", {"low": 0, "high": 1}, [("high", "at least 0", "below 1")]),
        ("epochs", {"low": 1, "high": 9}, []),
        ("epochs", {"low": 1, "high": 9.5}, [((), "whole numbers")]),
        ("epochs", {"low": 1, "high": 9, "step": 0.5}, [((), "whole numbers")]),
        ("epochs", {"low": 0, "high": 9}, [("low", "at least 1", 0)]),
        ("epochs", [0, 1, 2.5], [(0, "at least 1", 0), (2, "whole number", 2.5)]),
        ("batch_size", [64, 8, 0], [(2, "at least 1", 0)]),
        ("accumulate", [1, 64, 65], [(2, 1, "`batch_size`", 64, 65)]),
        (METHOD, ["none", "ogm", "ogme"], [(2, "none, ogm or ogm_ge", "'ogme'", "`ogm`")]),
        (START, [0, 99, -1], [(2, "at least 0", -1)]),
        (END, [0, 99, -1], [(2, "`start`", 0, -1)]),
        (START, {"low": 0, "high": 99}, []),
        (END, ["x", True], [(0, "whole number", "'x'"), (1, "whole number", "true")]),
    ],
)
def test_an_entry_is_judged_by_what_can_stand_at_its_path(path, entry, problems):
    found = entry_problems(TRIAL, path, Range(**entry) if isinstance(entry, dict) else entry)
    assert [place for place, _ in found] == [place if place == () else (place,) for place, *_ in problems]
    for (_, *facts), (_, text) in zip(problems, found, strict=True):
        tells(text, *facts)


def test_the_ends_of_a_window_are_judged_apart_from_the_trial_s_own():
    trial = replace(TRIAL, modulation=Modulation(start=5, end=6))
    assert entry_problems(trial, START, [0, 9]) == []
    assert entry_problems(trial, END, [0, 9]) == []


@pytest.mark.parametrize(
    ("space", "found"),
    [
        ({"batch_size": [16, 64]}, []),
        ({"batch_size": [16, 64], "accumulate": [1, 16]}, []),
        ({"batch_size": [16, 64], "accumulate": [1, 32]}, [("accumulate", 32, "`batch_size` 16")]),
        (
            {"batch_size": Range(low=8, high=64), "accumulate": Range(low=1, high=9)},
            [("accumulate", 9, "`batch_size` 8")],
        ),
        (
            {"schedule.name": ["step", "cosine"], "schedule.milestones": [[3], []]},
            [("schedule.milestones", "`step`", "[]", "`schedule.name` 'step'")],
        ),
        ({"schedule.name": ["constant", "cosine"], "schedule.milestones": [[3], []]}, []),
    ],
)
def test_entries_that_cannot_stand_together_are_told(space, found):
    told = clashes(space, TRIAL)
    assert [path for path, _ in told] == [path for path, *_ in found]
    for (_, *facts), (_, text) in zip(found, told, strict=True):
        tells(text, *facts)


# ---- whole spaces ----


def subsets(*values: Any) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=len(values))


def ranges(low: st.SearchStrategy[Any], step: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    ends = st.lists(low, min_size=2, max_size=2, unique=True).map(sorted)
    more = st.just({}) | st.just({"log": True}) | step.map(lambda width: {"step": width})
    return st.builds(lambda pair, kind: {"low": pair[0], "high": pair[1], **kind}, ends, more)


_counts = ranges(st.integers(1, 14), st.integers(1, 5))
_epochs = ranges(st.integers(0, 14), st.integers(1, 5))
_entries: dict[str, st.SearchStrategy[Any]] = {
    "epochs": subsets(1, 3, 8) | _counts,
    "batch_size": subsets(1, 16, 64) | _counts,
    "accumulate": subsets(1, 2, 16) | _counts,
    "encoder": subsets("mlp", "resnet18"),
    "weights": subsets(None, "DEFAULT"),
    "fusion": subsets("concat", "sum", "film"),
    METHOD: subsets("none", "ogm", "ogm_ge"),
    "modulation.alpha": subsets(0, 0.1, 1) | ranges(st.floats(0, 4), st.floats(0.01, 3)),
    START: subsets(0, 2, 5, 20) | _epochs,
    END: subsets(0, 3, 9, 90) | _epochs,
    "optimizer.lr": subsets(1, 0.1, 1e-5) | ranges(st.floats(1e-6, 1), st.floats(1e-3, 1)),
    "optimizer.momentum": subsets(0, 0.9) | ranges(st.floats(0, 0.999), st.floats(0.1, 1)),
    "schedule.name": subsets("constant", "cosine", "step"),
    "schedule.milestones": subsets([], [3], [1, 5]),
    "schedule.gamma": ranges(st.floats(1e-3, 1), st.floats(0.1, 1)),
    "seed": _counts,
}


@st.composite
def experiments(draw) -> Experiment:
    """Draw a valid experiment over a trial with any window."""
    chosen = draw(st.lists(st.sampled_from(sorted(_entries)), unique=True, min_size=1, max_size=5))
    start = draw(_epoch)
    values = {
        "name": "x",
        "dataset": {"name": "digits"},
        "trial": {
            "epochs": draw(st.integers(1, 13)),
            "modulation": {"start": start, "end": start + draw(_epoch)},
            "schedule": {"milestones": [2]},
        },
        "space": {path: draw(_entries[path]) for path in chosen},
    }
    try:
        return check(Document("f.yaml", values))
    except ExperimentError:
        reject()


def draw_from(distribution: BaseDistribution, draw) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return draw(st.sampled_from(distribution.choices))
    if distribution.step is None:
        return draw(st.floats(distribution.low, distribution.high))
    steps = round((distribution.high - distribution.low) / distribution.step)
    return min(distribution.low + draw(st.integers(0, steps)) * distribution.step, distribution.high)


def decoded(found: list[Dimension], internal: dict[str, Any]) -> Changes:
    return {path: value for dimension in found for path, value in dimension.decode(internal).items()}


def in_entry(value: Any, entry: Entry) -> bool:
    return entry.low <= value <= entry.high if isinstance(entry, Range) else value in entry


@settings(deadline=None, max_examples=200)
@given(experiments(), st.booleans(), st.data())
@pytest.mark.filterwarnings("ignore:The distribution is specified by")
def test_all_that_is_sampled_from_a_space_that_is_taken_makes_valid_trials(experiment, modulated, data):
    found = dimensions(experiment.space, experiment.trial, modulated=modulated)
    sampled_from = {path: d for dimension in found for path, d in distributions(dimension).items()}
    changes = decoded(found, {path: draw_from(d, data.draw) for path, d in sampled_from.items()})
    trial = with_changes(experiment.trial, changes if modulated else {**changes, METHOD: "none"})
    for path, entry in experiment.space.items():
        if modulated or not path.startswith("modulation."):
            assert in_entry(changes[path], entry) or path == END
    window = trial.modulation
    assert window.start <= window.end
    assert not modulated or (window.method != "none" and window.active(window.start) and window.start < trial.epochs)
    if modulated and END in experiment.space and not in_entry(window.end, experiment.space[END]):
        assert window.end >= trial.epochs - 1


@settings(deadline=None, max_examples=30)
@given(experiments(), st.integers(0, 2**32 - 1))
@pytest.mark.filterwarnings("ignore:The distribution is specified by")
def test_optuna_samples_what_the_dimensions_decode(experiment, seed):
    found = dimensions(experiment.space, experiment.trial, modulated=True)
    sampled_from = {path: d for dimension in found for path, d in distributions(dimension).items()}
    study = optuna.create_study(sampler=RandomSampler(seed=seed))
    for _ in range(4):
        with_changes(experiment.trial, decoded(found, study.ask(sampled_from).params))


@settings(deadline=None, max_examples=60)
@given(experiments())
@pytest.mark.filterwarnings("ignore:The distribution is specified by")
def test_an_arm_counts_as_many_configurations_as_it_can_sample(experiment):
    found = dimensions(experiment.space, experiment.trial, modulated=True)
    for dimension in found:
        if isinstance(dimension, Window) or dimension.count > 50:
            continue
        (path,) = distributions(dimension)
        assert dimension.count == len(everything(dimension, distributions(dimension)[path], path))
    pairs = [d for d in found if isinstance(d, Window)]
    assert pairs[0].count == len(windows(experiment.space, experiment.trial)) > 0


def everything(dimension: Choice | Interval, distribution: BaseDistribution, path: str) -> set[str]:
    """Return every value that a dimension can take."""
    if isinstance(distribution, CategoricalDistribution):
        internal: list[Any] = list(distribution.choices)
    else:
        steps = round((distribution.high - distribution.low) / distribution.step)
        internal = [distribution.low + i * distribution.step for i in range(steps + 1)]
    return {json.dumps(dimension.decode({path: value})[path]) for value in internal}


@settings(deadline=None, max_examples=30)
@given(experiments())
@pytest.mark.filterwarnings("ignore:The distribution is specified by")
def test_each_place_is_another_configuration_and_one_that_optuna_could_have_sampled(experiment):
    for dimension in dimensions(experiment.space, experiment.trial, modulated=True):
        if dimension.count > 200:
            continue
        sampled_from = distributions(dimension)
        found = [dimension.at(place) for place in range(int(dimension.count))]
        for internal in found:
            assert internal.keys() == sampled_from.keys()
            assert all(d._contains(d.to_internal_repr(internal[path])) for path, d in sampled_from.items())
        assert len({json.dumps(dimension.decode(internal)) for internal in found}) == dimension.count
