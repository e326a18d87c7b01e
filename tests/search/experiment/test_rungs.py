"""The epochs after which trials are compared."""

from __future__ import annotations

import pytest

from search.experiment.rungs import rung_epochs


@pytest.mark.parametrize(
    ("grace", "factor", "epochs", "drops", "rungs"),
    [
        (1, 2, 9, [], [1, 2, 4, 8]),
        (1, 2, 8, [], [1, 2, 4]),
        (3, 3, 12, [], [3, 9]),
        (3, 4, 100, [], [3, 12, 48]),
        (11, 3, 12, [], [11]),
        (12, 3, 12, [], []),
        (50, 3, 12, [], []),
        (1, 2, 1, [], []),
        (3, 3, 12, [9], [3, 9, 10]),
        (3, 3, 12, [2, 8, 11], [3, 9]),  # during the grace period; already a rung; after the last epoch
        (8, 3, 100, [70, 90], [8, 24, 71, 72, 91]),
    ],
)
def test_rungs_lie_a_factor_apart_and_after_drops_below_the_end_of_training(grace, factor, epochs, drops, rungs):
    assert rung_epochs(grace, factor, epochs, drops) == rungs
