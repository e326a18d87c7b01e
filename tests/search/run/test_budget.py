"""Budgets: running trials stop at their next report, no new ones start, and more budget continues the search."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from search.console.summary import format_stop, print_summary
from search.experiment.arms import ARMS
from search.experiment.schema import Budget, ExperimentError, as_values
from search.run.best import best_of
from search.run.budget import Spent, reserve, stop_reason
from search.run.causes import Cause, Reason, reason_of
from search.run.folder import RunFolder, claim_folder
from search.run.journal import Journal
from search.tracking.curve import Curve
from search.tuner.search_policy import SearchPolicy
from search.tuner.tuner import Tuner
from tests.search.tuner.test_study import created_studies
from tests.search.tuner.test_tuner import check_whole, events, experiment, opened, results, simulate
from tests.support.searches import children, own, search
from tests.support.tells import tells


def spends(reason: Reason | None, limit: str, aside: float | None = None) -> None:
    """Assert that a reason is this limit of the budget, with this part of it reserved, if any is."""
    assert reason is not None
    assert reason.cause is Cause.BUDGET
    tells(str(reason), limit)
    number, *_ = limit.split()
    assert re.findall(r"\d+(?:\.\d+)?", str(reason)) == [number, *([] if aside is None else [str(aside)])]


@pytest.mark.parametrize(
    ("limits", "spent", "limit"),
    [
        ({}, Spent(1e9, 1e9, 10**9), None),
        ({"hours": 0.5}, Spent(1799.9, 1e9, 10**9), None),
        ({"hours": 0.5}, Spent(1800.0), "0.5 hours"),
        ({"hours": 1}, Spent(3601.0), "1 hour"),
        ({"gpu_hours": 2}, Spent(0, 7199.9), None),
        ({"gpu_hours": 2}, Spent(0, 7200.0), "2 GPU-hours"),
        ({"epochs": 7}, Spent(0, 0, 6), None),
        ({"epochs": 7, "hours": 9}, Spent(0, 0, 7), "7 epochs"),
    ],
)
def test_a_budget_is_spent_when_one_of_its_limits_is_reached(limits, spent, limit):
    reason = stop_reason(Budget(**limits), spent)
    assert (reason is None) is (limit is None)
    if reason is not None:
        spends(reason, limit)


_limits = st.none() | st.floats(0.001, 100)
_spents = st.builds(Spent, st.floats(0, 1e6), st.floats(0, 1e6), st.integers(0, 1000))


@given(_limits, _limits, st.none() | st.integers(1, 1000), _spents, _spents)
def test_what_is_spent_stays_spent_and_more_budget_never_ends_a_search_sooner(hours, gpu_hours, epochs, one, more):
    later = Spent(one.wall_seconds + more.wall_seconds, one.gpu_seconds + more.gpu_seconds, one.epochs + more.epochs)
    small = Budget(hours=hours, gpu_hours=gpu_hours, epochs=epochs)
    large = Budget(hours=hours and hours * 2, gpu_hours=gpu_hours and gpu_hours * 2, epochs=epochs and epochs * 2)
    if stop_reason(small, one):
        assert stop_reason(small, later)
    if stop_reason(large, one):
        assert stop_reason(small, one)


# ---- in the file ----


@pytest.mark.parametrize("written", ["null", "{}", "{hours: null}"])
def test_without_numbers_nothing_is_limited(written):
    asked = experiment(f"search.budget={written}")
    assert asked == experiment()
    assert as_values(asked)["search"]["budget"] == {"hours": None, "gpu_hours": None, "epochs": None}


@pytest.mark.parametrize(
    ("assignment", "key", "facts"),
    [
        ("search.budget.hours=0", "search.budget.hours", ["above 0"]),
        ("search.budget.epochs=0", "search.budget.epochs", ["at least 1", 0]),
        ("search.budget.epochs=2.5", "search.budget.epochs", ["whole number", 2.5]),
        ("search.budget.days=1", "search.budget.days", ["hours, gpu_hours, epochs"]),
        ("search.budget=3", "search.budget", ["mapping", 3]),
        ("search.budget.gpu_hours=2", "search.budget.gpu_hours", ["`search.resources.gpu`", 0, 2]),
    ],
)
def test_a_budget_that_cannot_be_is_a_mistake(assignment, key, facts):
    with pytest.raises(ExperimentError) as refused:
        experiment(assignment)
    (sentence,) = refused.value.sentences
    tells(sentence, f"`{key}`", "command line", *facts)


@pytest.mark.parametrize("before", ["null", "{hours: 1}"])
def test_a_resume_may_have_another_budget_or_none(tmp_path, before):
    folder = RunFolder(tmp_path / "runs" / "simulated")
    with claim_folder(folder, experiment(f"search.budget={before}"), resume=False):
        Journal(folder.journal).append({"event": "suggested"})
    for after in ("{hours: 2, epochs: 9}", "null"):
        with claim_folder(folder, experiment(f"search.budget={after}"), resume=True):
            pass


# ---- a search ----


class Clock:
    """Clock that advances by some seconds each time it is read."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 1000.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def stopped_by_budget(tuner: Tuner) -> list[int]:
    return [t.number for t in tuner.record if t.status == "stopped" and t.reason.cause is Cause.BUDGET]


@pytest.mark.parametrize("at_once", [1, 4])
@pytest.mark.parametrize(
    ("assignments", "most"),
    [
        (["search.budget.epochs=20"], 20),
        (["search.budget.gpu_hours=0.0025", "search.resources.gpu=0.5"], 18),  # an epoch takes a second on half a GPU
    ],
)
def test_running_trials_end_at_their_next_report_and_no_new_one_is_suggested(tmp_path, assignments, most, at_once):
    tuner = opened(tmp_path / "journal.jsonl", *assignments)
    simulate(tuner, at_once)
    assert tuner.complete
    assert (tuner.remaining_trials, tuner.next()) == (0, None)
    assert all(t.is_over for t in tuner.record)
    assert most <= tuner.record.spent.epochs < most + at_once
    assert len(tuner.record.trials) < len(tuner.policy.arms)
    assert len(stopped_by_budget(tuner)) <= at_once


def test_a_trial_stopped_by_the_budget_is_a_result_and_is_told_to_the_sampler_as_pruned(tmp_path, monkeypatch):
    studies = created_studies(monkeypatch)
    tuner = opened(tmp_path / "journal.jsonl", "search.budget.epochs=2", "search.scheduler.name=none")
    simulate(tuner, at_once=2)
    assert stopped_by_budget(tuner) == [0, 1]
    for arm, study in zip(ARMS, studies, strict=True):
        best = best_of(tuner.record, arm, "val/accuracy", "max")
        assert best is not None
        (trial,) = study.trials
        assert (trial.state.name, len(trial.intermediate_values)) == ("PRUNED", len(best.trial.epochs))


def test_a_trial_whose_last_epoch_spends_the_budget_has_finished(tmp_path):
    tuner = opened(tmp_path / "journal.jsonl", "search.budget.epochs=5", "search.scheduler.name=none")
    simulate(tuner, at_once=1)
    assert [(t.status, t.reason) for t in tuner.record] == [("finished", None)]
    assert tuner.complete


def test_the_hours_of_earlier_sessions_count_and_the_time_between_them_does_not(tmp_path):
    path = tmp_path / "journal.jsonl"
    asked = experiment("search.budget.hours=1")
    first = Tuner(asked, Journal(path), SearchPolicy(asked), Clock(60))
    simulate(first, steps=5)
    used = first.record.spent.wall_seconds
    assert 0 < used < 3600
    second = Tuner(asked, Journal(path), SearchPolicy(asked), Clock(60))
    assert second.record.spent.wall_seconds == used
    simulate(second)
    second.close()
    assert second.complete
    spends(second.stop_reason, "1 hour")
    at = [event["wall_seconds"] for event in events(path)]
    assert at == sorted(at)
    assert 3600 <= at[-1] < 3600 + 60 * 10


def test_what_was_interrupted_is_ended_where_the_budget_is_spent_meanwhile(tmp_path):
    path = tmp_path / "journal.jsonl"
    simulate(opened(path), at_once=3, steps=4)
    tuner = opened(path, "search.budget.epochs=1")
    interrupted = [t.number for t in tuner.record if not t.is_over]
    assert interrupted
    assert (tuner.remaining_trials, tuner.complete) == (0, False)
    tuner.close()
    assert stopped_by_budget(tuner) == interrupted
    assert tuner.complete


def test_with_budget_left_nothing_that_was_interrupted_is_ended(tmp_path):
    path = tmp_path / "journal.jsonl"
    simulate(opened(path), at_once=3, steps=4)
    tuner = opened(path, "search.budget.epochs=100")
    before = results(tuner.record)
    tuner.close()
    assert results(tuner.record) == before


NONE = "search.scheduler.name=none"


def test_more_budget_on_a_resume_goes_on_with_the_plan(tmp_path):
    path = tmp_path / "journal.jsonl"
    first = opened(path, "search.budget.epochs=8", NONE)
    simulate(first)
    before = results(first.record)
    cut = stopped_by_budget(first)
    tuner = opened(path, "search.budget.epochs=1000", NONE)
    assert [t.number for t in tuner.record if not t.is_over] == cut  # these continue
    assert tuner.remaining_trials == len(tuner.policy.arms) - len(before) + len(cut) > len(cut) > 0
    assert not tuner.complete
    simulate(tuner)
    for number, (earlier, now) in enumerate(zip(before, results(tuner.record), strict=False)):
        assert (earlier == now) is (number not in cut)
    assert not stopped_by_budget(tuner)
    check_whole(tuner, path)


def test_without_more_budget_nothing_that_it_stopped_goes_on(tmp_path):
    path = tmp_path / "journal.jsonl"
    first = opened(path, "search.budget.epochs=8", NONE)
    simulate(first)
    assert stopped_by_budget(first)
    again = opened(path, "search.budget.epochs=8", NONE)
    assert results(again.record) == results(first.record)
    assert (again.remaining_trials, again.complete) == (0, True)


def test_what_the_budget_stopped_is_counted_once_however_it_ends(tmp_path):
    path = tmp_path / "journal.jsonl"
    simulate(opened(path, "search.budget.epochs=8", NONE))
    tuner = opened(path, NONE)
    simulate(tuner)
    points = Curve(tuner.record, "max").end()
    assert sum(points[max(points)][f"trials/{how}"] for how in ("finished", "stopped", "failed")) == 14


# ---- messages ----


def printed(tuner: Tuner) -> str:
    best = {arm: found for arm in ARMS if (found := best_of(tuner.record, arm, "val/accuracy", "max"))}
    console = Console(file=io.StringIO(), width=200)
    print_summary(console, tuner, best, None, 1.0)
    return console.file.getvalue()


def test_the_summary_says_that_the_budget_ended_it_and_what_was_left(tmp_path):
    tuner = opened(tmp_path / "journal.jsonl", "search.budget.epochs=9")
    simulate(tuner)
    text = printed(tuner)
    left = 14 - len(tuner.record.trials)
    stopped = len(stopped_by_budget(tuner))
    tells(format_stop(tuner), "9 epochs", stopped, left, 14, "`search.budget`", "--resume")
    tells(text, format_stop(tuner))


def test_of_a_budget_that_cost_nothing_no_word_is_said(tmp_path):
    path = tmp_path / "journal.jsonl"
    simulate(opened(path))
    tuner = opened(path, "search.budget.epochs=1")
    assert tuner.stop_reason
    assert format_stop(tuner) is None
    assert "Budget:" not in printed(tuner)


@pytest.mark.slow
@pytest.mark.longer
def test_a_real_search_ends_with_its_budget_and_goes_on_with_more(ray_instance, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = own("Vectors", tmp_path)
    first = search(file, "search.budget.epochs=2")
    assert first.exit_code == 0, first.output
    tells(first.stdout, "Budget: 2 epochs")
    _, trials, _ = children(tmp_path, "own")
    reasons = [run.data.tags["stop_reason"] for run in trials if "stop_reason" in run.data.tags]
    spends(next(reason for reason in map(reason_of, reasons) if reason.cause is Cause.BUDGET), "2 epochs")
    more = search(file, "search.budget.epochs=100", "--resume")
    assert more.exit_code == 0, more.output
    tells(more.stdout, "4 trials")
    assert "Budget:" not in more.stdout


@pytest.mark.slow
@pytest.mark.longer
def test_a_budget_too_small_for_both_arms_is_a_failure_that_says_so(ray_instance, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = search(own("Vectors", tmp_path), "search.budget.epochs=1", "search.resources.cpu=2")
    assert result.exit_code == 1
    tells(result.stderr, "budget: 1 epoch")


@pytest.mark.parametrize(
    ("spent", "aside"),
    [
        (Spent(), Spent(epochs=60)),  # the duration of an epoch is still unknown
        (Spent(wall_seconds=100.0, gpu_seconds=50.0, epochs=10), Spent(600.0, 300.0, 60)),
    ],
)
def test_what_is_set_aside_is_what_as_many_epochs_of_the_search_took(spent, aside):
    assert reserve(6, 10, spent) == aside


def test_the_confirmations_trainings_are_set_aside_first(tmp_path):
    """The confirmation needs 3 x 4 x 5 of 80 epochs, so the search ends at 20 and says so."""
    assignments = ("search.budget.epochs=80", "confirm.seeds=4", "search.scheduler={name: none}")
    tuner = opened(tmp_path / "journal.jsonl", *assignments)
    simulate(tuner)
    assert tuner.record.spent.epochs == 20
    spends(tuner.stop_reason, "80 epochs", 60)


def test_a_budget_that_is_spent_stays_spent_whatever_the_estimate_of_what_is_set_aside(tmp_path):
    tuner = opened(tmp_path / "journal.jsonl", "search.budget.hours=1", "confirm.seeds=2")
    told = {"epoch": 0, "val/accuracy": 0.5, "best": 0.5, "seconds": 1.0}
    tuner.record_epoch(tuner.next().number, told)
    tuner.record.spent.wall_seconds = 3000.0  # 30 such epochs are reserved
    spends(tuner.stop_reason, "1 hour", 25)
    tuner.record.spent.wall_seconds = 1.0
    assert tuner.stop_reason is not None


def test_a_search_that_its_budget_ended_is_done_also_when_it_is_opened_again(tmp_path):
    """Its last epochs were quick, so a smaller reserve would do, but the result is to be confirmed now."""
    path, now = tmp_path / "journal.jsonl", 0.0
    asked = experiment("search.budget.hours=1", "confirm.seeds=2")
    tuner = Tuner(asked, Journal(path), SearchPolicy(asked), lambda: now)
    told = {"epoch": 0, "val/accuracy": 0.5, "best": 0.5, "seconds": 1.0}
    for trial in [tuner.next() for _ in range(2)]:
        now += 130.0 if not tuner.record.spent.epochs else 1.0  # 30 epochs are reserved
        tuner.record_end(trial.number, "stopped", tuner.record_epoch(trial.number, told))
    assert (tuner.complete, stop_reason(asked.search.budget, tuner.record.spent)) == (True, None)
    again = Tuner(asked, Journal(path), SearchPolicy(asked), lambda: now)
    assert (again.complete, again.remaining_trials) == (True, 0)
    more = experiment("search.budget.hours=2", "confirm.seeds=2")
    assert not Tuner(more, Journal(path), SearchPolicy(more), lambda: now).complete


def test_a_budget_that_the_confirmation_would_use_up_is_a_mistake():
    with pytest.raises(ExperimentError) as refused:
        experiment("search.budget.epochs=60", "confirm.seeds=4")
    (sentence,) = refused.value.sentences
    tells(sentence, "`search.budget.epochs`", "12 trainings x 5 epochs = 60", "got 60", "command line")
    assert experiment("search.budget.epochs=61", "confirm.seeds=4").confirm.seeds == 4


def test_gpu_hours_that_were_spent_stay_what_they_were_when_a_resume_gives_other_shares(tmp_path):
    path = tmp_path / "journal.jsonl"
    budget = "search.budget.gpu_hours=1"
    told = {"epoch": 0, "val/accuracy": 0.5, "best": 0.5, "seconds": 3600.0}
    tuner = opened(path, budget, "search.resources.gpu=1")
    tuner.record_epoch(tuner.next().number, told, 1.0)
    spends(tuner.stop_reason, "1 GPU-hour")
    assert opened(path, budget, "search.resources.gpu=0.25").stop_reason == tuner.stop_reason
