"""Background calls: each is made, only the latest per key, again after a failure, and none after the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from search.tracking import outbox
from search.tracking.outbox import Outbox

PATIENCE_S = 60.0


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "EVERY_S", 0.0)
    monkeypatch.setattr(outbox, "AGAIN_AFTER_S", 0.0)


@pytest.fixture
def calls() -> Iterator[Outbox]:
    found = Outbox("test")
    yield found
    found.finish(0.0)


def finish(calls: Outbox) -> list[Exception | None]:
    return calls.finish(time.monotonic() + PATIENCE_S)


def fails(first: int, then: Callable[[], None]) -> Callable[[], None]:
    """Return a call that fails `first` times before it succeeds."""
    numbers = count()

    def call() -> None:
        if next(numbers) < first:
            raise OSError("away")
        then()

    return call


def test_every_call_is_made_in_its_order(calls):
    made: list[int] = []
    for number in range(100):
        calls.submit(number, lambda number=number: made.append(number))
    assert finish(calls) == []
    assert made == list(range(100))


def test_of_a_key_the_latest_call_counts_also_where_an_earlier_one_is_being_made(calls):
    made, began, go_on = [], threading.Event(), threading.Event()

    def first() -> None:
        began.set()
        assert go_on.wait(PATIENCE_S)
        made.append("first")

    calls.submit("key", first)
    assert began.wait(PATIENCE_S)
    calls.submit("key", lambda: made.append("second"))
    calls.submit("key", lambda: made.append("third"))
    go_on.set()
    assert finish(calls) == []
    assert made == ["first", "third"]


def test_a_call_that_fails_is_made_again_and_holds_no_other_up(calls):
    made, done = [], threading.Event()
    calls.submit("slow", fails(3, done.set))
    calls.submit("other", lambda: made.append("other"))
    assert done.wait(PATIENCE_S)
    assert made == ["other"]
    assert finish(calls) == []


def test_at_the_end_each_call_is_made_once_more_and_the_last_ones_last(calls, monkeypatch):
    monkeypatch.setattr(outbox, "AGAIN_AFTER_S", PATIENCE_S)
    made, failed = [], threading.Event()

    def away() -> None:
        made.append("away")
        failed.set()
        raise OSError("away")

    calls.submit("away", away)
    assert failed.wait(PATIENCE_S)
    calls.submit("late", lambda: made.append("late"))
    last = {"refused": fails(9, lambda: None), "last": lambda: made.append("last")}
    errors = calls.finish(time.monotonic() + PATIENCE_S, last)
    assert made == ["away", "away", "late", "last"]
    assert [type(error) for error in errors] == [OSError, OSError]


def test_after_the_deadline_nothing_is_waited_for_nor_begun(calls):
    made, began, go_on = [], threading.Event(), threading.Event()

    def hangs() -> None:
        began.set()
        assert go_on.wait(PATIENCE_S)

    calls.submit("hangs", hangs)
    calls.submit("next", lambda: made.append("next"))
    assert began.wait(PATIENCE_S)
    assert calls.finish(time.monotonic()) == [None, None]
    go_on.set()
    calls._thread.join(PATIENCE_S)
    assert not calls._thread.is_alive()
    assert made == []
