"""What a confirmation trains: pairs that differ in nothing but the configuration, with seeds nobody has seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.arms import ARMS
from search.budget import Spent
from search.confirmation import Confirmation, fresh_seeds, redraws
from search.record import Journal, SearchRecord, TrialRecord
from search.session import Session
from search.space import with_changes
from tests.test_session import experiment

BEST = {
    "baseline": {"fusion": "sum", "modulation.method": "none"},
    "modulated": {"fusion": "film", "modulation.method": "ogm", "seed": 3},
}


def confirmation(*assignments: str, seeds: int = 3, spent: Spent | None = None) -> Confirmation:
    return Confirmation(experiment(*assignments), BEST, fresh_seeds(0, {0, 3}, seeds), spent or Spent())


@given(st.integers(0, 2**31), st.integers(0, 20), st.integers(0, 20))
def test_seeds_are_fresh_each_another_and_more_of_them_add_to_the_same(seed, some, more):
    first = fresh_seeds(seed, set(), 3)
    found = fresh_seeds(seed, {first[1]}, some + more)
    assert len(set(found)) == some + more
    assert first[1] not in found
    assert found[:some] == fresh_seeds(seed, {first[1]}, some)
    assert found[:2] == [first[0], first[2]][: some + more]
    assert all(0 <= s < 2**31 for s in found)


def test_both_of_a_pair_have_one_seed_and_one_split_and_their_arms_configuration(tmp_path):
    policy = confirmation()
    session = Session(policy.experiment, Journal(tmp_path / "journal.jsonl"), policy)
    trials = [session.next() for _ in range(session.left)]
    assert session.next() is None
    assert [trial.arm for trial in trials] == list(ARMS) * 3
    for first, second in zip(trials[::2], trials[1::2], strict=True):
        assert first.changes["seed"] == second.changes["seed"] not in (0, 3)
        assert policy.dataset(first) == policy.dataset(second) == {"split_seed": first.changes["seed"]}
    assert len({trial.changes["seed"] for trial in trials}) == 3
    for trial in trials:
        assert {**trial.changes, "seed": 3} == {**BEST[trial.arm], "seed": 3}
        assert with_changes(policy.experiment.trial, trial.changes).seed == trial.changes["seed"]


@pytest.mark.parametrize(
    ("dataset", "ours"),
    [
        ({"name": "digits", "split_seed": 0}, True),
        ({"name": "vggsound", "split_seed": 0, "validation_fraction": 0.1}, True),
        ({"name": "table", "split_seed": 0, "validation_fraction": None}, False),  # the publisher's
        ({"name": "ave"}, False),
    ],
)
def test_a_split_is_drawn_anew_where_it_is_ours(dataset, ours):
    assert redraws(dataset) is ours
    policy = Confirmation(experiment().model_copy(update={"dataset": dataset}), BEST, [7], Spent())
    trial = TrialRecord(0, "baseline", *policy.suggest(0))
    assert policy.dataset(trial) == ({"split_seed": 7} if ours else {})


def test_the_budget_is_the_searchs_and_the_confirmations_together():
    record = SearchRecord()
    record.spent = Spent(epochs=20)
    assert confirmation("search.budget.epochs=100", spent=Spent(epochs=79)).exhausted(record) is None
    left = confirmation("search.budget.epochs=100", spent=Spent(epochs=80))
    assert left.exhausted(record) == "budget: 100 epochs are spent"
