"""Short texts for configurations and numbers."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.experiment.dimensions import END, METHOD, START
from search.experiment.formatting import duration, flat, format_value, label, modalities, percent


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({METHOD: "ogm_ge"}, "method=ogm_ge"),
        ({START: 0, END: 11}, "window=0-11"),
        ({END: 11, "fusion": "sum", START: 0}, "fusion=sum window=0-11"),
        ({"optimizer.lr": 1e-05, "modulation.alpha": 1.0}, "lr=1e-05 alpha=1"),
        ({"epochs": 12, "weights": None}, "epochs=12 weights=null"),
        ({"schedule.milestones": [3, 9], "encoder": {"a": "mlp"}}, 'milestones=[3, 9] encoder={"a": "mlp"}'),
        ({"encoder.audio": "mlp"}, "audio=mlp"),
        ({"modalities": ["audio", "visual"]}, "modalities=audio,visual"),
        ({"modalities": None, "schedule.milestones": []}, "modalities=null milestones=[]"),
    ],
)
def test_a_label_says_what_is_different_and_no_more(changes, text):
    assert label(changes) == text


def test_the_label_of_a_configuration_without_changes_names_no_key():
    assert label({}) == label({METHOD: "none"}) != ""
    assert "=" not in label({})


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({}, {}),
        ({"a": {}}, {}),
        ({"a": {"b": {"c": 1}, "d": [2]}, "e": None}, {"a.b.c": 1, "a.d": [2], "e": None}),
        ({"a": [{"b": 1}]}, {"a": [{"b": 1}]}),
    ],
)
def test_nested_mappings_are_flattened_and_lists_are_left(values, found):
    assert flat(values) == found


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (60, "1 min 00 s"),
        (61, "1 min 01 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (3600, "1 h 00 min"),
        (90_000, "25 h 00 min"),
    ],
)
def test_a_duration_has_its_two_greatest_units(seconds, text):
    assert duration(seconds) == text


@given(st.floats(0, 10**7))
def test_a_duration_never_has_sixty_of_a_unit(seconds):
    numbers = [int(number) for number in re.findall(r"\d+", duration(seconds))]
    assert all(number < 60 for number in numbers[1:])
    assert numbers[0] < 60 or duration(seconds).endswith("min")


def test_modalities_are_those_with_an_accuracy_of_their_own_in_the_order_they_came():
    metrics = {"epoch": 1, "val/accuracy": 0.5, "val/accuracy/visual": 0.4, "val/loss": 1, "val/accuracy/audio": 0.3}
    assert modalities(metrics) == ["visual", "audio"]


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("val/accuracy", 1.0, "100.0 %"),
        ("val/accuracy/audio", 0.0, "0.0 %"),
        ("val/accuracy", None, "-"),
        ("val/loss", 12.34567, "12.3457"),
        ("val/loss", float("nan"), "nan"),
    ],
)
def test_an_accuracy_is_shown_in_per_cent_and_anything_else_as_a_number(metric, value, text):
    assert format_value(metric, value) == text


@given(st.floats(0, 1))
def test_a_percentage_is_right_to_its_last_digit(value):
    assert abs(float(percent(value).removesuffix(" %")) - 100 * value) <= 0.05 + 1e-9
