"""A search without processes: a simulated engine drives it, is killed, and continues."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.experiment.load import check
from search.experiment.schema import Experiment
from search.experiment.yaml_source import override, parse
from search.run.causes import Cause, Reason, failure
from search.run.journal import Journal
from search.run.trials import SearchRecord, TrialRecord
from search.tuner.search_policy import SearchPolicy
from search.tuner.tuner import Tuner
from tests.search.tuner.test_study import created_studies
from tests.support.tells import tells

SIMULATED = """
name: simulated
dataset: {name: digits}
trial: {epochs: 5, encoder: small_conv, modulation: {end: 4}}
space:
  fusion: [concat, sum, film]
  optimizer.lr: [1e-3, 1e-2, 1e-1]
  modulation.method: [ogm, ogm_ge]
  modulation.alpha: {low: 0.05, high: 1.5, log: true}
  modulation.start: {low: 0, high: 3}
  modulation.end: {low: 1, high: 4}
search: {trials: 14, scheduler: {grace_epochs: 1, reduction_factor: 2}}
"""


def experiment(*assignments: str) -> Experiment:
    document = parse(SIMULATED, "simulated.yaml")
    override(document, assignments)
    return check(document)


def opened(path: Path, *assignments: str) -> Tuner:
    asked = experiment(*assignments)
    return Tuner(asked, Journal(path), SearchPolicy(asked))


# ---- simulated engine, which other tests use too ----


def fails_at(trial: TrialRecord) -> int | None:
    """Return the epoch at which a trial fails."""
    return trial.number % 2 if trial.number % 7 == 4 else None


def metrics_of(tuner: Tuner, trial: TrialRecord, epoch: int) -> dict[str, float]:
    """Return metrics that depend only on the trial's configuration and the epoch, so that a restart repeats them."""
    search = tuner.experiment.search
    key = json.dumps(trial.changes, sort_keys=True).encode()
    values = []
    for e in range(epoch + 1):
        chance = int.from_bytes(hashlib.blake2b(key + bytes([e % 256]), digest_size=4).digest()) / 2**32
        accuracy = (chance + key[-3] / 256 + e) / (e + 3)
        alone = {"val/accuracy/audio": accuracy / 2, "val/accuracy/visual": accuracy / 3}
        values.append({"val/loss": 1 - accuracy, "val/accuracy": accuracy, **alone})
    best = (max if search.mode == "max" else min)(v[search.metric] for v in values)
    k = {"coefficient/audio": 0.5, "coefficient/visual": 1.0, "ratio/audio": 1.5, "ratio/visual": 0.75}
    return {"epoch": epoch, "train/loss": 2.0, **values[-1], **k, "seconds": 1.0, "best": best}


def worker(tuner: Tuner, trial: TrialRecord) -> Iterator[None]:
    """Train one epoch at each step. A worker that replaces another reports the earlier epochs again."""
    tuner.record_start(trial.number)
    gpu = tuner.experiment.search.resources.gpu
    for epoch in range(tuner.experiment.trial.epochs):
        yield
        if epoch == fails_at(trial):
            tuner.record_end(trial.number, "failed", failure('ValueError: clip 17, "a\n[red]b"'))
            return
        if reason := tuner.record_epoch(trial.number, metrics_of(tuner, trial, epoch), gpu):
            tuner.record_end(trial.number, "stopped", reason)
            return
    tuner.record_end(trial.number, "finished")


def simulate(tuner: Tuner, at_once: int = 2, steps: int | None = None) -> None:
    """Run the search as Ray would, to its end or for some steps."""
    for _ in islice(_engine(tuner, at_once), steps):
        pass


def _engine(tuner: Tuner, at_once: int) -> Iterator[None]:
    running: list[Iterator[None]] = []
    while True:
        while len(running) < at_once and (trial := tuner.next()) is not None:
            running.append(worker(tuner, trial))
        if not running:
            return
        current = running.pop(0)
        for _ in islice(current, 1):
            running.append(current)
        yield


def events(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def results(record: SearchRecord) -> list[tuple]:
    return [(t.arm, t.changes, t.status, t.reason, t.epochs) for t in record]


def check_whole(tuner: Tuner, path: Path) -> None:
    """Assert that every planned trial is there once, each with its epochs from 0 on, and an end."""
    assert tuner.complete
    assert (tuner.remaining_trials, tuner.next()) == (0, None)
    assert [t.number for t in tuner.record] == list(range(len(tuner.policy.arms)))
    assert [t.arm for t in tuner.record] == tuner.policy.arms
    for trial in tuner.record:
        assert trial.is_over
        assert [m["epoch"] for m in trial.epochs] == list(range(len(trial.epochs)))
        assert trial.status != "finished" or len(trial.epochs) == tuner.experiment.trial.epochs
        assert trial.status != "failed" or len(trial.epochs) == fails_at(trial)
    counts = Counter((e["event"], e["number"], e.get("metrics", {}).get("epoch")) for e in events(path))
    again = {number for event, number, _ in counts if event == "reopened"}
    twice = {(event, number) for (event, number, _), count in counts.items() if count > 1 and event != "started"}
    assert twice <= {("ended", number) for number in again}
    for arm in ("baseline", "modulated"):
        had = [json.dumps(t.changes, sort_keys=True) for t in tuner.record if t.arm == arm]
        assert len(set(had)) == len(had)


# ---- a search ----


@pytest.mark.parametrize("at_once", [1, 4])
@pytest.mark.parametrize(
    "options", [(), ("search.sampler=random",), ("search.metric=val/loss", "search.mode=min"), ("search.seed=1",)]
)
def test_a_search_ends_with_every_planned_trial(tmp_path, options, at_once):
    tuner = opened(tmp_path / "journal.jsonl", *options)
    assert (tuner.complete, tuner.remaining_trials) == (False, 14)
    simulate(tuner, at_once)
    check_whole(tuner, tmp_path / "journal.jsonl")
    assert Counter(t.arm for t in tuner.record) == {"baseline": 7, "modulated": 7}
    assert {t.status for t in tuner.record} == {"finished", "stopped", "failed"}


def test_trials_are_stopped_at_the_rungs_and_only_there(tmp_path):
    tuner = opened(tmp_path / "journal.jsonl")
    simulate(tuner)
    stopped = [t for t in tuner.record if t.status == "stopped"]
    assert {len(t.epochs) for t in stopped} <= {1, 2, 4}
    assert all(re.search(rf"\b{len(t.epochs)} epochs?\b", str(t.reason)) for t in stopped)
    assert all(("baseline" in str(t.reason)) == (t.arm == "baseline") for t in stopped)


@pytest.mark.parametrize(("mode", "stopped"), [("max", 0.4), ("min", 0.6)])
def test_it_is_the_worse_trial_that_is_stopped(tmp_path, mode, stopped):
    alike = ["search.baseline_share=0.01", "space.modulation.start=[0]"]
    tuner = opened(tmp_path / "journal.jsonl", f"search.mode={mode}", *alike)
    tuner.next()
    tuner.record_epoch(0, {"epoch": 0, "best": 0.5})
    for best in (0.4, 0.6):
        reason = tuner.record_epoch(tuner.next().number, {"epoch": 0, "best": best})
        assert (reason is not None) is (best == stopped)


def test_without_a_scheduler_none_is_stopped(tmp_path):
    tuner = opened(tmp_path / "journal.jsonl", "search.scheduler.name=none")
    simulate(tuner)
    assert {t.status for t in tuner.record} == {"finished", "failed"}


def test_an_arm_gets_no_more_trials_than_its_space_holds(tmp_path):
    space = "space={modulation.method: [ogm, ogm_ge], fusion: [concat, sum]}"
    tuner = opened(tmp_path / "journal.jsonl", space)
    simulate(tuner)
    check_whole(tuner, tmp_path / "journal.jsonl")
    assert Counter(t.arm for t in tuner.record) == {"baseline": 2, "modulated": 4}


# ---- killed and opened again ----


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Journal of an undisturbed search with three parallel trials."""
    path = tmp_path_factory.mktemp("whole") / "journal.jsonl"
    simulate(opened(path), at_once=3)
    return path


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Journal of an undisturbed search with one trial at a time."""
    path = tmp_path_factory.mktemp("alone") / "journal.jsonl"
    simulate(opened(path), at_once=1)
    return path


@settings(deadline=None, max_examples=25)
@given(place=st.floats(0, 1), again=st.floats(0, 1))
def test_a_search_killed_at_any_point_loses_no_trial_and_counts_none_twice(whole, place, again):
    """It is killed, resumed, killed again and resumed; half of the time, the journal is cut in the middle of a line."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        path.write_bytes(whole.read_bytes())
        for share in (place, again):
            path.write_bytes(path.read_bytes()[: round(share * path.stat().st_size)])
            tuner = opened(path)
            before = {
                t.number: result for t, result in zip(tuner.record, results(tuner.record), strict=True) if t.is_over
            }
            assert tuner.remaining_trials == len(tuner.policy.arms) - len(before)
            simulate(tuner, at_once=3)
            check_whole(tuner, path)
            assert {n: results(tuner.record)[n] for n in before} == before


NUMBERS = "space={batch_size: [8, 16, 32, 64], optimizer.lr: [1e-3, 1e-2, 1e-1], modulation.start: [0, 1, 2]}"


@pytest.mark.parametrize(
    "options", [(), *((f"search.sampler={name}", NUMBERS) for name in ("grid", "qmc", "cmaes", "nsga2"))]
)
@pytest.mark.filterwarnings("ignore:.* is experimental")
def test_a_search_killed_between_two_trials_epochs_is_the_one_that_was_not(tmp_path, options):
    """With one trial at a time, nothing depends on speed: suggestions, epochs and stops are the same."""
    path = tmp_path / "whole.jsonl"
    simulate(opened(path, *options), at_once=1)
    expected = results(Journal(path).replay())
    lines = path.read_text().splitlines(keepends=True)
    for count in range(0, len(lines), 5):
        if count and json.loads(lines[count]).get("status") == "stopped":
            continue  # killed after the decision but before it was written: the trial continues to the next rung
        cut = tmp_path / f"{count}.jsonl"
        cut.write_text("".join(lines[:count]))
        tuner = opened(cut, *options)
        simulate(tuner, at_once=1)
        assert results(tuner.record) == expected, count


def test_an_interrupted_trial_comes_before_a_new_one_whether_it_was_started_or_not(tmp_path):
    path = tmp_path / "journal.jsonl"
    first = opened(path)
    for _ in range(3):
        first.next()
    first.record_start(0)
    first.record_epoch(0, metrics_of(first, first.record.trials[0], 0))
    first.record_start(1)
    first.record_end(1, "failed", failure("no reason"))
    again = opened(path)
    assert again.remaining_trials == 14 - 1
    assert [again.next().number for _ in range(3)] == [0, 2, 3]
    assert again.record.trials[2].changes == first.record.trials[2].changes


def test_the_rungs_are_there_again(tmp_path):
    """A trial after a resume is ranked among those before."""
    path = tmp_path / "journal.jsonl"
    options = ("search.baseline_share=0.01", "search.scheduler.reduction_factor=3", "space.modulation.start=[0]")
    before = opened(path, *options)
    for accuracy in (0.9, 0.8):
        trial = before.next()
        before.record_epoch(trial.number, {"epoch": 0, "val/accuracy": accuracy, "best": accuracy, "seconds": 1.0})
    before.record_end(0, "finished")
    tuner = opened(path, *options)
    assert tuner.next().number == 1
    trial = tuner.next()
    reason = tuner.record_epoch(trial.number, {"epoch": 0, "val/accuracy": 0.85, "best": 0.85, "seconds": 1.0})
    tells(reason, "asha:", "2nd of 3", "open window")


@pytest.mark.parametrize("event", range(1, 12))
def test_what_cannot_be_written_down_has_not_happened_and_halts_the_search(tmp_path, alone, event):
    """The disk is full from some event on. Once there is space, the search ends as if nothing had happened."""
    path, left = tmp_path / "journal.jsonl", event

    class Full(Journal):
        def append(self, happened):
            nonlocal left
            left -= 1
            if left < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            super().append(happened)

    tuner = Tuner(experiment(), Full(path), SearchPolicy(experiment()))
    simulate(tuner, at_once=1)
    tells(tuner.halted, os.strerror(errno.ENOSPC), path)
    assert not tuner.complete
    assert len(events(path)) == event
    again = opened(path)
    simulate(again, at_once=1)
    assert again.complete
    assert results(again.record) == results(Journal(alone).replay())


def test_trials_of_earlier_searches_that_cannot_be_written_down_are_not_learned(tmp_path, whole):
    """The disk is full: a search that began without them would continue without them."""
    path, earlier = tmp_path / "journal.jsonl", [t for t in Journal(whole).replay() if t.status == "finished"]

    class Full(Journal):
        def append(self, happened):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    tuner = Tuner(experiment(), Full(path), SearchPolicy(experiment()))
    tuner.learn(earlier)
    assert (tuner.next(), tuner.record.earlier) == (None, [])
    tells(tuner.halted, os.strerror(errno.ENOSPC), path)
    again = opened(path)
    again.learn(earlier)
    assert again.next().number == 0
    assert len(again.record.earlier) == len(opened(path).record.earlier) == len(earlier)


def test_a_search_that_learned_and_never_began_leaves_nothing_behind(tmp_path, whole):
    path = tmp_path / "journal.jsonl"
    opened(path).learn(Journal(whole).replay())
    assert path.read_bytes() == b""


@pytest.mark.parametrize("scheduler", ["{name: median}", "{rungs: [4], grace_epochs: 2}"])
def test_a_trial_that_has_trained_to_the_end_is_never_stopped_early(tmp_path, scheduler):
    """Neither by the median nor at a rung that the window's grace has postponed to the last epoch."""
    options = (f"search.scheduler={scheduler}", "search.baseline_share=0.01", "space.modulation.start=[3]")
    tuner = opened(tmp_path / "journal.jsonl", *options)
    for number in range(6):
        trial = tuner.next()
        for epoch in range(5):
            told = {"epoch": epoch, "val/accuracy": 0.5, "best": 0.5 - number / 100 * (epoch == 4), "seconds": 1.0}
            reason = tuner.record_epoch(trial.number, told)
        assert reason is None


def test_a_trial_that_was_killed_before_it_could_be_stopped_stops_after_the_resume(tmp_path):
    path = tmp_path / "journal.jsonl"
    options = ("search.baseline_share=0.01", "space.modulation.start=[0]")
    before = opened(path, *options)
    best, worse = before.next(), before.next()
    before.record_epoch(best.number, {"epoch": 0, "val/accuracy": 0.9, "best": 0.9, "seconds": 1.0})
    told = {"epoch": 0, "val/accuracy": 0.1, "best": 0.1, "seconds": 1.0}
    reason = before.record_epoch(worse.number, told)
    assert reason
    tuner = opened(path, *options)
    assert tuner.record_epoch(worse.number, told) == reason
    assert len(tuner.record.trials[worse.number].epochs) == 1


@pytest.mark.parametrize(("trials", "expected"), [(18, 18), (30, 24), (14, 14), (4, 14)])
def test_another_number_of_trials_on_a_resume_adds_some_or_takes_none_away(tmp_path, whole, trials, expected):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(whole.read_bytes())
    before = results(Journal(path).replay())
    tuner = opened(path, f"search.trials={trials}")
    # of 30 trials, the baseline has only nine configurations for its fifteen
    assert tuner.remaining_trials == expected - 14
    assert tuner.complete is (expected == 14)
    simulate(tuner)
    assert tuner.complete
    assert results(tuner.record)[:14] == before
    assert [t.arm for t in tuner.record][: len(tuner.policy.arms)] == tuner.policy.arms
    assert len(tuner.record.trials) == expected


# ---- repeated reports, and broken callbacks ----


def test_epochs_that_a_second_worker_tells_again_change_nothing(tmp_path):
    path = tmp_path / "journal.jsonl"
    tuner = opened(path)
    trial, rival = tuner.next(), None
    seen = Watcher()
    tuner.callbacks.append(seen)
    tuner.record_start(trial.number)
    for epoch in (0, 1):
        assert tuner.record_epoch(trial.number, metrics_of(tuner, trial, epoch)) is None
    while rival is None or rival.arm != trial.arm:
        rival = tuner.next()
    tuner.record_epoch(rival.number, metrics_of(tuner, rival, 0) | {"best": 2.0})  # now the first one would be stopped
    written, told = path.read_bytes(), list(seen.told)
    for epoch in (0, 1):
        assert tuner.record_epoch(trial.number, metrics_of(tuner, trial, epoch) | {"best": 0.0}) is None
    assert (path.read_bytes(), seen.told) == (written, told)
    tuner.record_epoch(trial.number, metrics_of(tuner, trial, 2))
    assert [m["epoch"] for m in trial.epochs] == [0, 1, 2]


def test_a_trial_that_ran_out_of_memory_is_handed_out_again_and_is_no_result(tmp_path, monkeypatch):
    """Also after a resume, and when all other trials have been handed out."""
    path, studies = tmp_path / "journal.jsonl", created_studies(monkeypatch)
    tuner = opened(path, "search.trials=2")
    crowded, other = tuner.next(), tuner.next()
    tuner.record_epoch(crowded.number, metrics_of(tuner, crowded, 0))
    assert (tuner.next(), tuner.over) == (None, False)
    tuner.record_out_of_memory(crowded.number)
    tuner.record_end(other.number, "finished")
    assert (crowded.oom_retries, crowded.status, tuner.remaining_trials, tuner.complete) == (1, "waiting", 1, False)
    states = [trial.state.name for study in studies for trial in study.trials]
    assert sorted(states) == ["FAIL", "RUNNING"]  # the other trial reported no epoch
    resumed = opened(path, "search.trials=2")
    for later in (tuner, resumed):
        again = later.next()
        assert (again.number, again.oom_retries, len(again.epochs)) == (crowded.number, 1, 1)
        assert (later.next(), later.over) == (None, False)
    tuner.record_end(crowded.number, "finished")
    assert tuner.over


def test_of_two_ends_the_first_counts(tmp_path):
    path = tmp_path / "journal.jsonl"
    tuner = opened(path)
    seen = Watcher()
    tuner.callbacks.append(seen)
    trial = tuner.next()
    tuner.record_epoch(trial.number, metrics_of(tuner, trial, 0))
    early = Reason(Cause.MEDIAN, {"of": 4, "epochs": 1, "peers": "open"})
    tuner.record_end(trial.number, "stopped", early)
    tuner.record_end(trial.number, "failed", failure("its worker died"))
    assert (trial.status, trial.reason) == ("stopped", early)
    assert [e["event"] for e in events(path)] == ["suggested", "reported", "ended"]
    assert seen.told == [("reported", 0), ("ended", 0)]


class Watcher:
    """Callback that notes its events, with the state of the record at that time."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def on_start(self, trial: TrialRecord) -> None:
        assert trial.status == "running"
        self.told.append(("started", trial.number))

    def on_report(self, trial: TrialRecord) -> None:
        self.told.append(("reported", trial.number))

    def on_end(self, trial: TrialRecord) -> None:
        assert trial.is_over
        self.told.append(("ended", trial.number))


class Broken:
    def __getattr__(self, name: str):
        raise OSError("the disk is full")


def test_callbacks_are_told_everything_in_the_order_of_the_journal(tmp_path):
    path = tmp_path / "journal.jsonl"
    tuner = opened(path)
    seen = Watcher()
    tuner.callbacks.append(seen)
    simulate(tuner)
    assert seen.told == [(e["event"], e["number"]) for e in events(path) if e["event"] != "suggested"]


def test_a_callback_that_fails_is_named_once_and_disturbs_nobody(tmp_path, caplog):
    path = tmp_path / "journal.jsonl"
    tuner = opened(path)
    seen = Watcher()
    tuner.callbacks += [Broken(), seen]
    with caplog.at_level(logging.WARNING):
        simulate(tuner)
    check_whole(tuner, path)
    assert len(seen.told) == sum(e["event"] != "suggested" for e in events(path))
    (said,) = caplog.records
    tells(said.message, "Broken")
    assert str(said.exc_info[1]) == "the disk is full"


def test_the_journal_is_ahead_of_the_callbacks(tmp_path):
    """What a callback has seen is already in the file, so that a crash in between loses nothing that was shown."""
    path = tmp_path / "journal.jsonl"
    tuner = opened(path)
    written: list[bool] = []

    class Looks(Watcher):
        def on_report(self, trial: TrialRecord) -> None:
            last = events(path)[-1]
            written.append(
                (last["event"], last["number"], last["metrics"]) == ("reported", trial.number, trial.epochs[-1])
            )

    tuner.callbacks.append(Looks())
    simulate(tuner, steps=10)
    assert written
    assert all(written)
