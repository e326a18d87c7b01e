"""`search.first`: valid entries, and all errors of invalid ones at once, with their lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.experiment.schema import ExperimentError
from search.experiment.yaml_source import parse
from tests.search.experiment.test_experiment import mistakes, mistakes_in, tell
from tests.search.experiment.test_placement import experiment
from tests.support.searches import DEMO, search
from tests.support.tells import tells

HEAD = """\
name: x
dataset: {name: digits}
trial: {epochs: 8, modulation: {start: 1, end: 7}}
space: {fusion: [concat, sum], optimizer.lr: [0.1, 1]}
search:
  trials: 30
  first:
"""


@pytest.mark.parametrize(
    "entry",
    [
        "{}",
        "{fusion: sum}",
        "{fusion: film, batch_size: 8, epochs: 20}",  # outside the space
        "{fusion: 'mine.heads:Head'}",
        "{epochs: 20, modulation.start: 19, modulation.end: 19}",
        "{modulation.end: 200}",
        "{modulation.method: none}",
        "{optimizer.lr: 1e-3}",
        "{schedule.milestones: [2, 5], weights: null}",
        "{schedule.name: step, schedule.milestones: [2]}",
    ],
)
def test_any_valid_configuration_is_taken(entry):
    assert mistakes_in(f"{HEAD}    - {entry}\n") == []


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        ("{optimizer.lrr: 0.1}", [("optimizer.lrr", "`optimizer.lr`")]),
        ("{optimizer: {lr: 0.1}}", [("optimizer", "`optimizer.lr`")]),
        ("{xyz: 0.1}", [("xyz", "epochs", "fusion", "modulation.alpha")]),
        ("{optimizer.lr: high}", [("optimizer.lr", "a number", "'high'")]),
        ("{epochs: 2.5}", [("epochs", "whole number", 2.5)]),
        ("{fusion: summ}", [("fusion", "sum", "'summ'", "`sum`")]),
        ("{optimizer.lr: 0}", [("optimizer.lr", "above 0", "got 0")]),
        ("{modulation.alpha: -1}", [("modulation.alpha", "at least 0", "got -1")]),
        ("{accumulate: 99}", [("accumulate", "`batch_size`", 99)]),
        ("{modulation.start: 5, modulation.end: 2}", [("modulation.end", "`start`", 5, 2)]),
        ("{modulation.start: 8, modulation.end: 9}", [("modulation.start", "below 8", 8)]),
        ("{epochs: 1}", [("modulation.start", "below 1", 1)]),
        (
            "{epochs: 0, fusion: summ, xyz: 1}",
            [("epochs", "at least 1", 0), ("fusion", "'summ'"), ("xyz", "epochs")],
        ),
    ],
)
def test_each_mistake_of_an_entry_is_told_with_its_path_and_line(entry, wrong):
    found = mistakes_in(f"{HEAD}    - {{fusion: sum}}\n    - {entry}\n")
    expected = [(9, f"search.first[1].{path}", *facts) for path, *facts in wrong]
    tell(sorted(found), *sorted(expected, key=lambda each: each[1]))


@pytest.mark.parametrize(("entry", "got"), [("3", 3), ("fusion", "'fusion'"), ("[fusion, sum]", '["fusion", "sum"]')])
def test_an_entry_that_is_no_mapping_is_a_mistake(entry, got):
    tell(mistakes_in(f"{HEAD}    - {entry}\n"), (8, "search.first[0]", "mapping", "`trial`", got))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{fusion: sum}", "{fusion: sum}"),
        ("{optimizer.lr: 1}", "{optimizer.lr: 1.0}"),
        ("{}", "{epochs: 8}"),
        ("{fusion: sum, epochs: 9}", "{epochs: 9, fusion: sum}"),
    ],
)
def test_the_same_configuration_twice_is_a_mistake(one, other):
    found = mistakes_in(f"{HEAD}    - {one}\n    - {{fusion: film}}\n    - {other}\n")
    tell(found, (10, "search.first[2]", "`search.first[0]`"))


def test_all_mistakes_of_all_entries_are_told_at_once():
    entries = ["{optimizer.lrr: 0.1}", "{fusion: summ}", "3", "{fusion: sum}", "{fusion: sum}", "{modulation.start: 9}"]
    found = mistakes_in(HEAD + "".join(f"    - {entry}\n" for entry in entries) + "trakcing: {}\n")
    tell(
        found,
        (8, "search.first[0].optimizer.lrr", "`optimizer.lr`"),
        (9, "search.first[1].fusion", "`sum`"),
        (10, "search.first[2]", 3),
        (12, "search.first[4]", "`search.first[3]`"),
        (13, "search.first[5].modulation.end", "`start`", 9, 7),
        (14, "trakcing", "`tracking`"),
    )


@pytest.mark.parametrize("first", ["{fusion: sum}", "sum", "3"])
def test_what_is_no_list_is_a_mistake(first):
    found = mistakes(parse(f"{HEAD.removesuffix('  first:' + chr(10))}  first: {first}\n", "f.yaml"))
    tell(found, (7, "search.first", "a list"))


# ---- trials for all that is decided ----


@pytest.mark.parametrize(
    ("trials", "share", "arm"),
    [(6, 0.5, None), (5, 0.5, "baseline"), (4, 0.5, "baseline"), (8, 0.75, "modulated"), (12, 0.75, None)],
)
def test_an_arm_needs_a_trial_for_each_configuration_that_is_decided(trials, share, arm):
    """There are three configurations: the recipe and two others."""
    first = "search.first=[{fusion: sum}, {fusion: film}]"
    assignments = (first, f"search.trials={trials}", f"search.baseline_share={share}")
    if arm is None:
        assert len(experiment(*assignments).search.first) == 2
        return
    with pytest.raises(ExperimentError) as error:
        experiment(*assignments)
    [sentence] = error.value.sentences
    tells(sentence, "`search.trials`", arm, "`search.first`", 3)


def test_fewer_trials_than_configurations_of_the_baseline_alone_are_no_mistake():
    """Two configurations differ only in their modulation, so they are the same in the baseline."""
    first = "search.first=[{optimizer.lr: 0.1, modulation.end: 7}, {optimizer.lr: 0.1, modulation.end: 11}]"
    assert experiment(first, "search.trials=5", "search.baseline_share=0.4").search.trials == 5


def test_a_file_with_nothing_to_search_has_no_trials_that_could_be_too_few():
    """An exported baseline is such a file: it names no method to compare with."""
    for first in ("[]", "[{fusion: sum}, {fusion: film}]"):
        trial = "trial: {modulation: {method: none}}\nsearch: {trials: 2, first: " + first + "}\n"
        assert mistakes_in(f"name: x\ndataset: {{name: digits}}\n{trial}") == []


# ---- as users see it ----


def test_the_command_tells_them_all_and_ends_with_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(f"{HEAD}    - {{optimizer.lrr: 0.1}}\n    - {{modulation.start: 9}}\n")
    result = search("mine.yaml", "--dry-run")
    assert result.exit_code == 2
    tells(result.output, 2, "`search.first[0].optimizer.lrr`", "`search.first[1].modulation.end`", "line 8", "line 9")
    assert "Traceback" not in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


def test_an_entry_is_long_enough_for_every_window_of_the_space():
    """Its ablation may have to train with any of these windows."""
    text = HEAD.replace("optimizer.lr: [0.1, 1]", "modulation.start: [0, 6]")
    tell(mistakes_in(f"{text}    - {{epochs: 6}}\n"), (8, "search.first[0].epochs", "above 6", 6))
    assert mistakes_in(f"{text}    - {{epochs: 7}}\n") == []


def test_an_entry_that_makes_no_model_in_one_of_the_arms_is_told_before_anything_starts():
    """The baseline could train it. In the modulated arm `none` is replaced, but one modality cannot be balanced."""
    entry = "{modalities: [audio], modulation.method: none}"
    done = search(DEMO, "--dry-run", f"search.first=[{entry}]")
    assert done.exit_code == 2
    tells(done.output, "`search.first[0].modalities`", "audio")
