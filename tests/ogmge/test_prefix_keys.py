"""Prefix keys: the epoch up to which two runs are the same, by the rule and by training them."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ogmge import checkpoint, fit
from ogmge.config import Modulation, Optimizer, Schedule, TrialConfig
from ogmge.prefix_keys import keys
from tests.support.own_data import Vectors
from tests.support.states import same

UNMODULATED = Modulation(method="none")


def test_the_paper_sized_grid_falls_to_its_tree() -> None:
    """8 alphas x 4 starts x 4 ends x 100 epochs: sharing reduces 12,800 epochs to 7,454 (7,524 with the baseline)."""
    grid = product([0.1 * n for n in range(1, 9)], (0, 10, 20, 30), (40, 50, 60, 80))
    trials = [TrialConfig(epochs=100, modulation=Modulation(alpha=a, start=s, end=e)) for a, s, e in grid]
    assert len({key for trial in trials for key in keys(trial)[1:]}) == 7454
    trials.append(TrialConfig(epochs=100, modulation=UNMODULATED))
    assert len({key for trial in trials for key in keys(trial)[1:]}) == 7524


def common(one: TrialConfig, other: TrialConfig) -> int:
    """Return the number of epochs that two runs share."""
    return sum(a == b for a, b in zip(keys(one), keys(other), strict=False)) - 1


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({}, 10),
        ({"modulation": Modulation(start=4, end=8, alpha=0.9)}, 3),
        ({"modulation": Modulation(start=3, end=6, alpha=0.9)}, 7),
        ({"modulation": Modulation(start=3, end=5, alpha=0.9)}, 6),
        ({"modulation": Modulation(start=3, end=8, alpha=0.8)}, 3),
        ({"modulation": Modulation(start=3, end=8, alpha=0.9, method="ogm")}, 3),
        ({"modulation": Modulation(start=3, end=8, alpha=0.9, parameters="all")}, 3),
        ({"modulation": Modulation(start=3, end=8, alpha=0.9, apply="update")}, 3),
        ({"modulation": Modulation(start=0, end=8, alpha=0.9)}, 0),
        ({"modulation": UNMODULATED}, 3),
        ({"schedule": Schedule("step", (5,))}, 5),
        ({"schedule": Schedule("cosine")}, 1),
        ({"epochs": 6}, 6),
        ({"optimizer": Optimizer(lr=1e-2)}, 0),
        ({"optimizer": Optimizer(momentum=0.8)}, -1),
        ({"fusion": "sum"}, -1),
        ({"seed": 1}, -1),
        ({"batch_size": 32}, -1),
        ({"precision": "bf16"}, -1),
    ],
)
def test_trainings_part_where_the_first_thing_differs(other: dict, same: int) -> None:
    one = TrialConfig(epochs=10, modulation=Modulation(start=3, end=8, alpha=0.9))
    assert common(one, replace(one, **other)) == common(replace(one, **other), one) == same


def test_what_is_around_a_training_is_part_of_it() -> None:
    assert not set(keys(TrialConfig(), "these data")) & set(keys(TrialConfig(), "those data"))


def test_the_arguments_of_a_factory_are_part_of_a_prefix_and_a_plain_name_has_the_key_that_it_had() -> None:
    plain, one, other = "mine:net", {"name": "mine:net", "width": 3}, {"name": "mine:net", "width": 4}
    values = [*(TrialConfig(encoder=e) for e in (plain, one, other)), *(TrialConfig(fusion=f) for f in (one, other))]
    assert len({keys(config)[0] for config in values}) == len(values)
    assert keys(values[0])[0] == "5dc3d9bb4ffbcd6c1b004e91c77bd30a"
    assert keys(values[1])[0] == keys(TrialConfig(encoder={"width": 3, "name": "mine:net"}))[0]


def test_cosine_schedules_of_different_lengths_share_nothing_but_their_first_rate() -> None:
    one = TrialConfig(epochs=10, schedule=Schedule("cosine"))
    assert common(one, replace(one, epochs=20)) == 1


PLAIN = TrialConfig(epochs=4, batch_size=32, encoder="mlp", modulation=UNMODULATED, optimizer=Optimizer(lr=0.1))
STEP, COSINE = Schedule("step", (2,)), Schedule("cosine")


def modulated(method: str, alpha: float, start: int, end: int, apply: str = "gradient", **options) -> TrialConfig:
    return replace(PLAIN, modulation=Modulation(method, alpha, start, end, parameters="all", apply=apply), **options)


TRIALS = [
    PLAIN,
    replace(PLAIN, epochs=3),
    replace(PLAIN, schedule=STEP),
    replace(PLAIN, schedule=Schedule("step", (2, 3))),
    replace(PLAIN, schedule=COSINE),
    replace(PLAIN, schedule=COSINE, epochs=5),
    modulated("ogm", 0.2, 0, 1),
    modulated("ogm", 0.2, 1, 2),
    modulated("ogm", 0.9, 1, 1),
    modulated("ogm", 0.9, 1, 2),
    modulated("ogm", 0.9, 1, 2, epochs=5),
    modulated("ogm", 0.9, 1, 2, "update"),
    modulated("ogm", 0.9, 1, 2, schedule=STEP),
    modulated("ogm", 0.9, 1, 3, schedule=STEP),
    modulated("ogm_ge", 0.9, 1, 2),
    modulated("ogm_ge", 0.9, 1, 3),
    modulated("ogm_ge", 0.9, 2, 2, epochs=3),
    modulated("ogm_ge", 0.2, 2, 3, "update"),
    modulated("ogm_ge", 0.2, 2, 4, "update"),
    modulated("ogm_ge", 0.9, 2, 2, schedule=COSINE),
]


def states(trial: TrialConfig) -> list[dict]:
    """Return the state after each epoch: weights, optimizer, generators, and the metrics so far."""
    found = []
    with TemporaryDirectory() as folder:

        def report(metrics: dict[str, float]) -> None:
            found.append(checkpoint.load(Path(folder, "last.pt")))

        fit.train(trial, Vectors(), report, folder=Path(folder))
    return found


def lasting(state: dict) -> list:
    """Return the part of a state that the next epoch depends on, and the metrics so far."""
    trainer = state["trainer"]
    parts = trainer["model"], trainer["optimizer"]["state"], trainer["modulator"], trainer["rng"]
    return [*parts, state["history"]]


def test_the_rule_is_that_of_real_trainings() -> None:
    """Equal keys mean bit-identical states; different keys mean different states."""
    trained, parted = [(keys(trial)[1:], states(trial)) for trial in TRIALS], set()
    for (one, first), (other, second) in combinations(trained, 2):
        expected = [a == b for a, b in zip(one, other, strict=False)]
        assert [same(lasting(a), lasting(b)) for a, b in zip(first, second, strict=False)] == expected
        parted.add(sum(expected))
    assert parted == {0, 1, 2, 3, 4}  # number of shared epochs
