"""Trials that are decided before any result exists: the recipe, then `search.first`."""

from __future__ import annotations

import pytest

from search.experiment.arms import ARMS
from search.experiment.dimensions import END, METHOD, START, Changes
from search.experiment.sources import Source, opening_notes, openings
from search.experiment.space import dimensions
from search.tuner.distributions import distributions
from tests.search.experiment.test_placement import experiment
from tests.support.tells import tells

RECIPE = {"fusion": "concat", "optimizer.lr": 0.01, "modulation.alpha": 0.5, METHOD: "ogm", START: 2, END: 11}
BASELINE = {"fusion": "concat", "optimizer.lr": 0.01, METHOD: "none"}
SUM = {"fusion": "sum", "optimizer.lr": 0.1}


def opened(arm: str, *first: str) -> list[tuple[Source, bool, Changes]]:
    """Return an arm's openings: source, whether it is sampled, and changes."""
    found = openings(experiment(f"search.first=[{', '.join(first)}]", "search.trials=20"), arm)
    return [(opening.source, opening.internal is not None, opening.changes) for opening in found]


@pytest.mark.parametrize(
    ("first", "modulated", "baseline"),
    [
        ([], [], []),
        (["{fusion: sum, optimizer.lr: 0.1}"], [(True, SUM)], [(True, SUM)]),
        (  # the recipe again, and an entry that equals the recipe in one arm
            ["{}", "{optimizer.lr: 0.01}", "{optimizer.lr: 0.01, modulation.alpha: 1.0}"],
            [(False, {"optimizer.lr": 0.02}), (True, {"modulation.alpha": 1.0})],
            [(False, {"optimizer.lr": 0.02})],
        ),
        (  # outside the space: by a value, by another setting, by another method
            [
                "{fusion: film, optimizer.lr: 0.1}",
                "{optimizer.lr: 0.1, batch_size: 16}",
                "{optimizer.lr: 0.1, modulation.method: ogm_ge}",
            ],
            [
                (False, {"fusion": "film", "optimizer.lr": 0.1}),
                (False, {"optimizer.lr": 0.1, "batch_size": 16}),
                (False, {"optimizer.lr": 0.1, METHOD: "ogm_ge"}),
            ],
            [
                (False, {"fusion": "film", "optimizer.lr": 0.1}),
                (False, {"optimizer.lr": 0.1, "batch_size": 16}),
                (True, {"optimizer.lr": 0.1}),
            ],
        ),
        (  # an entry without modulation takes the modulation of the recipe
            ["{optimizer.lr: 0.1, modulation.method: none}"],
            [(True, {"optimizer.lr": 0.1})],
            [(True, {"optimizer.lr": 0.1})],
        ),
        (  # the window does not matter in the baseline
            ["{optimizer.lr: 0.1, modulation.start: 0}", "{optimizer.lr: 0.1, modulation.end: 7}"],
            [(True, {"optimizer.lr": 0.1, START: 0}), (True, {"optimizer.lr": 0.1, END: 7})],
            [(True, {"optimizer.lr": 0.1})],
        ),
        (
            ["{optimizer.lr: 1e-1, modulation.alpha: 1}", "{}"],
            [(True, {"optimizer.lr": 0.1, "modulation.alpha": 1.0}), (False, {"optimizer.lr": 0.02})],
            [(True, {"optimizer.lr": 0.1}), (False, {"optimizer.lr": 0.02})],
        ),
    ],
)
def test_the_recipe_comes_first_then_each_of_first_once(first, modulated, baseline):
    for arm, recipe, more in (("modulated", RECIPE, modulated), ("baseline", BASELINE, baseline)):
        expected = [(Source.RECIPE, True, recipe)]
        expected += [(Source.FIRST, inside, {**recipe, **changes}) for inside, changes in more]
        assert opened(arm, *first) == expected


@pytest.mark.parametrize("arm", ARMS)
def test_what_is_inside_is_a_configuration_that_the_arm_samples(arm):
    asked = experiment("search.first=[{fusion: sum, optimizer.lr: 0.1, modulation.alpha: 0.25}]")
    searched = dimensions(asked.space, asked.trial, modulated=arm == "modulated")
    sampled_from = {path: d for dimension in searched for path, d in distributions(dimension).items()}
    for opening in openings(asked, arm):
        assert opening.internal.keys() == sampled_from.keys()
        assert all(d._contains(d.to_internal_repr(opening.internal[path])) for path, d in sampled_from.items())


@pytest.mark.parametrize("arm", ARMS)
def test_a_whole_number_is_the_recipes_own_number(arm):
    own = ["trial.optimizer.lr=0.1", "space.optimizer.lr=[0.1, 0.01]", "trial.modulation.alpha=1.0"]
    asked = experiment(
        *own, "space.modulation.alpha={low: 0.05, high: 1.5, step: 0.05}", "search.first=[{modulation.alpha: 1}]"
    )
    assert [opening.source for opening in openings(asked, arm)] == [Source.RECIPE]


# ---- what is said of them ----


@pytest.mark.parametrize(
    ("assignments", "notes"),
    [
        (["trial.optimizer.lr=0.1", "space.optimizer.lr=[0.1]"], []),
        ([], [("trial", "`optimizer.lr` 0.02", "0.01")]),
        (
            ["search.first=[{optimizer.lr: 0.1}, {fusion: film, epochs: 20}]", "search.trials=20"],
            [
                ("trial", "`optimizer.lr` 0.02", "0.01"),
                ("`search.first[1]`", "`fusion` film", "`optimizer.lr` 0.02", "`epochs` 20", "not searched"),
            ],
        ),
    ],
)
def test_what_lies_outside_is_noted(assignments, notes):
    found = opening_notes(experiment(*assignments))
    assert len(found) == len(notes)
    for note, facts in zip(found, notes, strict=True):
        tells(note, *facts)
