"""The end of a search's run in MLflow after success, failure or interruption."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from search.commands.ending import Ending, end_in_mlflow
from search.commands.search import _leave_answer
from search.experiment.load import load
from search.run.journal import Journal
from search.tracking.trial_runs import Results
from search.tuner.search_policy import SearchPolicy
from search.tuner.tuner import Tuner
from tests.search.report.test_report import run_in
from tests.support.tells import tells


class Tracker:
    """Stand-in for a tracker that stores the arguments of `close`."""

    def __init__(self, lack: str | None = None) -> None:
        self.lack, self.closed = lack, []

    def close(self, *given):
        self.closed.append(given)
        return self.lack


@pytest.mark.parametrize(
    ("complete", "has_failed", "status"),
    [(True, False, "FINISHED"), (True, True, "FAILED"), (False, False, "KILLED"), (False, True, "KILLED")],
)
def test_the_status_is_that_of_the_tuner_at_the_end(complete, has_failed, status):
    tuner, tracker = SimpleNamespace(complete=not complete), Tracker()
    with end_in_mlflow(tuner, tracker, []) as ending:
        tuner.complete, ending.has_failed = complete, has_failed
    assert tracker.closed == [(status, [], Results())]


def fail_with(tracker: Tracker, results: Results) -> None:
    with end_in_mlflow(SimpleNamespace(complete=True), tracker, [Path("a")]) as ending:
        ending.results, ending.files = results, [Path("b")]
        raise ZeroDivisionError


def test_what_was_known_before_an_error_is_delivered_and_the_error_goes_on():
    tracker, results = Tracker(), Results({"verdict/difference": 0.1})
    with pytest.raises(ZeroDivisionError):
        fail_with(tracker, results)
    assert tracker.closed == [("FINISHED", [Path("b")], results)]


@pytest.mark.parametrize("lack", [None, "MLflow lacks a part of this search"])
def test_what_mlflow_lacks_is_among_what_there_is_to_say(lack):
    with end_in_mlflow(SimpleNamespace(complete=True), Tracker(lack), []) as ending:
        ending.lacks.append("there is no report")
    assert ending.lacks == ["there is no report", *([lack] if lack else [])]


@pytest.mark.parametrize("damaged", [False, True])
def test_a_damaged_verdict_costs_a_search_no_more_than_its_new_best(tmp_path, damaged):
    run = run_in(tmp_path / "simulated")
    run.best.write_text("as it was")
    if damaged:
        run.verdict.write_text("{")
    asked = load(run.experiment)
    tuner, ending = Tuner(asked, Journal(run.journal), SearchPolicy(asked)), Ending([])
    _leave_answer(tuner, run, ending)
    assert run.trials.exists()
    assert run.report.exists()
    assert (run.best.read_text() == "as it was") is damaged
    assert len(ending.lacks) == damaged
    for lack in ending.lacks:
        tells(lack, "best.yaml", run.verdict, "python -m search confirm simulated")
    assert not tuner.halted
