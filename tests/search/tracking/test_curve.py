"""The curve of a search agrees with its record, whenever it is drawn, and has few points."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from statistics import fmean

import pytest

from search.run.best import best_of
from search.run.journal import Journal
from search.run.trials import SearchRecord, TrialRecord
from search.tracking.curve import Curve
from tests.search.tuner.test_tuner import opened, simulate

Points = dict[int, dict[str, float]]
MIN = ("search.metric=val/loss", "search.mode=min")


class Draws:
    """Callback that continues the curve after every few reports."""

    def __init__(self, curve: Curve, every: int) -> None:
        self.curve, self.every, self.count = curve, every, 0
        self.points: Points = {}

    def on_start(self, trial: TrialRecord) -> None:
        """Do nothing."""

    def on_report(self, trial: TrialRecord) -> None:
        self.count += 1
        if self.count % self.every == 0:
            more = self.curve.points()
            assert not more or min(more) > max(self.points, default=-1), "a point is there twice"
            self.points |= more

    def on_end(self, trial: TrialRecord) -> None:
        self.record_epoch(trial)


@pytest.mark.parametrize(("mode", "options"), [("max", ()), ("min", MIN)])
def test_it_ends_with_what_the_search_found_and_spent(tmp_path, mode, options):
    tuner = opened(tmp_path / "journal.jsonl", "search.resources.gpu=0.5", *options)
    simulate(tuner)
    record, search = tuner.record, tuner.experiment.search
    points = Curve(record, mode).end()
    last = points[max(points)]
    improved = 0
    for arm in ("baseline", "modulated"):
        assert last[f"best/{arm}"] == best_of(record, arm, search.metric, search.mode).value
        best = [values[f"best/{arm}"] for values in points.values() if f"best/{arm}" in values]
        assert best == sorted(best, reverse=mode == "min")
        improved += len(set(best)) - 1
    assert improved
    counts = {name: sum(t.status == name for t in record) for name in ("finished", "stopped", "failed")}
    assert {name: last[f"trials/{name}"] for name in counts} == counts
    epochs = sum(len(trial.epochs) for trial in record)
    assert (max(points), last["spent/epochs"], last["spent/gpu_hours"]) == (
        epochs,
        epochs,
        pytest.approx(epochs / 2 / 3600),
    )
    assert last["spent/wall_hours"] == record.spent.wall_seconds / 3600


def test_without_a_gpu_there_are_no_gpu_hours(tmp_path):
    tuner = opened(tmp_path / "journal.jsonl")
    simulate(tuner)
    assert not any("spent/gpu_hours" in values for values in Curve(tuner.record, "max").end().values())


def test_the_best_of_a_trial_that_failed_does_not_count(tmp_path):
    tuner = opened(tmp_path / "journal.jsonl", "search.baseline_share=0.01")
    for number, best in enumerate((0.5, 0.9)):
        tuner.next()
        tuner.record_epoch(number, {"epoch": 0, "val/accuracy": best, "best": best})
        tuner.record_end(number, "finished" if number == 0 else "failed")
    points = Curve(tuner.record, "max").end()
    assert points[2]["best/modulated"] == 0.5
    assert (points[2]["trials/finished"], points[2]["trials/failed"]) == (1, 1)


@pytest.mark.parametrize("every", [1, 7])
def test_drawn_at_any_times_it_has_the_points_of_the_whole(tmp_path, every):
    """This holds after a resume too, from the journal alone."""
    path = tmp_path / "journal.jsonl"
    tuner = opened(path)
    drawn = Draws(Curve(tuner.record, "max"), every)
    tuner.callbacks.append(drawn)
    simulate(tuner, at_once=3)
    assert len(drawn.points) > 5
    whole = Curve(Journal(path).replay(), "max").end()
    assert drawn.points | drawn.curve.end() == whole
    assert [values["spent/epochs"] for values in whole.values()] == list(whole)


def long(trials: int, epochs: int, at_once: int = 8) -> SearchRecord:
    """Return the record of a search in which `at_once` trials run together, one epoch each in turn."""
    record, number = SearchRecord(), 0
    for first in range(0, trials, at_once):
        numbers = range(first, min(trials, first + at_once))
        for number in numbers:
            record.apply({"event": "suggested", "number": number, "arm": "baseline", "internal": {}, "changes": {}})
        for epoch in range(epochs):
            for number in numbers:
                record.apply({"event": "reported", "number": number, "metrics": {"epoch": epoch, "best": 0.5}})
        for number in numbers:
            record.apply({"event": "ended", "number": number, "status": "finished", "reason": ""})
    return record


@pytest.mark.parametrize(("trials", "epochs"), [(500, 100), (500, 3), (16, 1000)])
def test_it_has_some_hundreds_of_points_however_long_the_search(trials, epochs):
    steps = list(Curve(long(trials, epochs), "max").end())
    assert 100 < len(steps) < 2000
    gaps = [b - a for a, b in pairwise(steps)]
    assert max(gaps) < 10 * fmean(gaps), "there is a long gap without points"


def test_it_can_be_drawn_before_anything_has_happened(tmp_path: Path):
    curve = Curve(SearchRecord(), "max")
    assert curve.points() == {}
    assert curve.end()[0]["trials/finished"] == 0
