"""Causes in a journal, and the sentences of journals from before there were causes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.run.causes import PEERS, Cause, Reason, failure, reason_of

counts = st.integers(1, 10**6)
amounts = st.floats(0.001, 1e6)
peers = st.sampled_from(list(PEERS))
FACTS = {
    Cause.BUDGET: {"limit": amounts, "unit": st.sampled_from(["hour", "GPU-hour", "epoch"]), "reserved": amounts},
    Cause.ASHA: {"place": counts, "of": counts, "epochs": counts, "promoted": counts, "peers": peers},
    Cause.MEDIAN: {"of": counts, "epochs": counts, "peers": peers},
    Cause.ERROR: {"text": st.text()},
    Cause.OUT_OF_MEMORY: {"resources": st.text(), "text": st.text()},
    Cause.WORKER_DIED: {"times": counts, "text": st.text()},
    Cause.TEXT: {"text": st.text()},
}
some_reasons = st.sampled_from(list(Cause)).flatmap(
    lambda cause: st.builds(Reason, st.just(cause), st.fixed_dictionaries(FACTS[cause]))
)


@given(some_reasons)
def test_a_journal_keeps_the_cause_and_all_facts_and_each_has_a_sentence_with_them(reason):
    kept = json.loads(json.dumps(reason.as_json()))
    assert reason_of(kept) == reason
    assert str(reason_of(kept)) == str(reason)
    texts = [fact for name, fact in reason.facts.items() if isinstance(fact, str) and name != "peers"]
    assert all(text in str(reason) for text in texts)


@pytest.mark.parametrize(
    ("sentence", "facts", "now"),
    [
        ("budget: 1 hour is spent", (1.0, "hour", 0.0), "budget: 1 hour is spent"),
        ("budget: 0.5 hours are spent", (0.5, "hour", 0.0), "budget: 0.5 hours are spent"),
        ("budget: 2 GPU-hours are spent", (2.0, "GPU-hour", 0.0), "budget: 2 GPU-hours are spent"),
        (
            "budget: 100 epochs are spent, of which 20 are set aside for the confirmation",
            (100.0, "epoch", 20.0),
            "budget: 100 epochs are spent, including 20 reserved for the confirmation",
        ),
    ],
)
def test_a_budget_is_recognised_in_the_sentence_of_an_older_journal(sentence, facts, now):
    reason = reason_of(sentence)
    assert reason == Reason(Cause.BUDGET, dict(zip(("limit", "unit", "reserved"), facts, strict=True)))
    assert str(reason) == now


def test_any_other_sentence_of_an_older_journal_stays_as_it_is_and_none_is_none():
    old = "asha: 2nd of 3 baseline trials after 1 epochs, 1 may go on"
    assert (str(reason_of(old)), reason_of(old).cause) == (old, Cause.TEXT)
    assert reason_of("") is None
    assert failure(ValueError("clip 17")) == Reason(Cause.ERROR, {"text": "clip 17"})
