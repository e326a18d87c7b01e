"""Epochs after which a training's encoders are probed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.run.probed_epochs import default_interval, is_probed


@given(st.integers(1, 2000))
def test_there_are_about_twenty_points_and_the_last_epoch_is_one(epochs):
    points = [n for n in range(1, epochs + 1) if is_probed(n, default_interval(epochs), epochs)]
    assert points[-1] == epochs
    assert min(epochs, 11) <= len(points) <= 20


@pytest.mark.parametrize(("every", "points"), [(1, [1, 2, 3, 4]), (2, [2, 4]), (3, [3, 4]), (4, [4])])
def test_points_are_at_multiples_and_at_the_end(every, points):
    assert [n for n in range(1, 5) if is_probed(n, every, 4)] == points
