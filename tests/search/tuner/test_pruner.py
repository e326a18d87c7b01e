"""Creation of the early-stopping rule that an experiment file asks for."""

from __future__ import annotations

import pytest

from search.experiment.load import check
from search.experiment.rungs import grace_of, rungs_of
from search.experiment.schema import Experiment, ExperimentError
from search.experiment.yaml_source import override, parse
from search.tuner.pruners.asha import Asha
from search.tuner.pruners.median import Median
from search.tuner.pruners.peers import LearningCurve
from search.tuner.pruners.pruner import pruner_of
from tests.support.tells import tells

TEXT = """
name: rungs
dataset: {name: digits}
trial: {epochs: 100, encoder: small_conv, modulation: {end: 50}, schedule: {name: step, milestones: [70]}}
space: {optimizer.lr: [1e-3, 1e-2]}
search: {mode: min, metric: val/loss, seed: 3, scheduler: {grace_epochs: 8, reduction_factor: 3, brackets: 2}}
"""


def experiment(*assignments: str) -> Experiment:
    document = parse(TEXT, "rungs.yaml")
    override(document, assignments)
    return check(document)


def refusal(*assignments: str) -> str:
    """Return the single error that the assignments cause."""
    with pytest.raises(ExperimentError) as refused:
        experiment(*assignments)
    (sentence,) = refused.value.sentences
    return sentence


@pytest.mark.parametrize(
    ("assignments", "rungs"),
    [
        ([], [8, 24, 71, 72]),
        (["search.scheduler.rungs=[5, 50]"], [5, 50]),
        (["trial.schedule={name: cosine}"], [8, 24, 72]),
        (["space.schedule.gamma=[0.1, 0.5]"], [8, 24, 72]),
        (["trial.schedule={name: constant}", "space.epochs=[100, 300]"], [8, 24, 72, 216]),
    ],
)
def test_rungs_are_the_files_or_come_of_grace_factor_and_schedule(assignments, rungs):
    assert rungs_of(experiment(*assignments)) == rungs


def test_the_grace_is_a_third_of_the_longest_trial_where_nothing_is_said():
    assert grace_of(experiment("search.scheduler.grace_epochs=8")) == 8
    one = "search.scheduler.brackets=1"
    third = experiment("search.scheduler.grace_epochs=null", one)
    assert grace_of(third) == third.trial.epochs // 3 == pruner_of(third).grace_epochs
    assert grace_of(experiment("search.scheduler.grace_epochs=null", "space.epochs=[50, 240]", one)) == 80
    assert rungs_of(third)[0] == grace_of(third)


def test_each_name_is_a_scheduler_with_what_the_file_says():
    assert pruner_of(experiment()) == Asha([8, 24, 71, 72], 3, "min", 8, 2, 3)
    assert pruner_of(experiment("search.scheduler={name: median, grace_epochs: 8}")) == Median(8, "min")
    stopped = LearningCurve(0, "baseline", None, [9.0] * 50)
    better = [LearningCurve(n, "baseline", None, [0.0] * 50) for n in range(1, 9)]
    assert pruner_of(experiment("search.scheduler={name: none}")).decide(stopped, [stopped, *better]) is None


def test_rungs_after_the_last_epoch_are_a_mistake():
    found = refusal("search.scheduler.rungs=[8, 100]")
    tells(found, "`search.scheduler.rungs`", "100 epochs", "[8, 100]", "command line")
    assert rungs_of(experiment("search.scheduler.rungs=[8, 100]", "space.epochs=[50, 200]")) == [8, 100]


@pytest.mark.parametrize("option", ["rungs=[5]", "brackets=2"])
@pytest.mark.parametrize("name", ["median", "none"])
def test_an_option_of_another_scheduler_is_a_mistake(name, option):
    found = refusal("search.scheduler.brackets=1", f"search.scheduler.name={name}", f"search.scheduler.{option}")
    tells(found, f"`search.scheduler.{option.partition('=')[0]}`", "asha", name, "command line")


@pytest.mark.parametrize("rungs", ["[]", "[0, 3]", "[3, 3]", "[5, 3]"])
def test_rungs_that_do_not_rise_are_a_mistake(rungs):
    tells(refusal(f"search.scheduler.rungs={rungs}"), "`search.scheduler.rungs`", rungs, "command line")


def test_more_brackets_than_rungs_are_a_mistake():
    """No trial in the last bracket would ever be compared."""
    words = ["search.scheduler.rungs=[2, 4]", "search.scheduler.brackets={}"]
    assert experiment(words[0], words[1].format(2))
    found = refusal(words[0], words[1].format(3))
    tells(found, "`search.scheduler.brackets`", "at most 2", "[2, 4]", 3, "command line")
