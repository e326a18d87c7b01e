"""Report of a search with many trials: surfaces and importances stay small, and their numbers right."""

from __future__ import annotations

from statistics import fmean

from hypothesis import given
from hypothesis import strategies as st

from search.report.plots.importance import MOST, _spaced
from search.report.plots.two_settings import MOST_CELLS, _means, _places

CELLS = st.tuples(st.integers(0, 9), st.integers(0, 3), st.integers(0, 2), st.floats(0, 1))


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=3 * MOST_CELLS))
def test_each_value_lies_in_a_cell_and_neighbours_share_one_only_if_there_are_too_many(values):
    cells, places = _places(values)
    distinct = sorted(set(values))
    assert len(cells) == min(len(distinct), MOST_CELLS)
    assert cells == sorted(set(cells))
    assert [places[value] for value in distinct] == sorted(places.values())
    assert all(places[cell] == place for place, cell in enumerate(cells))
    if len(distinct) <= MOST_CELLS:
        assert cells == distinct


@given(st.lists(CELLS, min_size=1, max_size=40))
def test_a_cell_has_the_mean_of_its_trials(cells):
    found = _means(map(list, cells), 4, 3)
    for row in range(3):
        for column in range(4):
            values = [value for _, across, up, value in cells if (across, up) == (column, row)]
            assert found[row][column] == (fmean(values) if values else None)


def test_the_importance_takes_trials_from_the_whole_search():
    assert _spaced([*range(MOST)]) == [*range(MOST)]
    few = _spaced([*range(10 * MOST)])
    assert few == [*range(0, 10 * MOST, 10)]
