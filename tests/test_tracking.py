"""MLflow has what the record has: each trial's run whole, also after a failure of the store, and after a resume."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Run

from search import mlflow_store, tracking
from search.experiment import Experiment
from search.labels import flat
from search.mlflow_store import INTERRUPTED, TrackingError, connect, store_uri
from search.policy import Tuning
from search.record import Journal, TrialRecord
from search.session import Session
from search.space import with_changes
from search.tracking import Tracker
from tests.test_session import experiment, metrics_of, simulate

TRIALS = "search.trials=8"
STATUSES = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all tests, whose experiments have names of their own: to make a data base takes seconds."""
    folder = tmp_path_factory.mktemp("runs")
    connect(None, folder, "first")
    return folder


@dataclass
class Search:
    """A search with its journal, its weights, its tracker."""

    runs: Path
    name: str
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.folder = self.runs / self.name
        self.folder.mkdir(exist_ok=True)
        self.experiment: Experiment = experiment(TRIALS, f"name={self.name}", *self.options)
        self.session = Session(self.experiment, Journal(self.folder / "journal.jsonl"), Tuning(self.experiment))
        self.tracker: Tracker | None = None

    def weights(self, number: int) -> Path:
        return self.folder / str(number) / "best.pt"

    def track(self) -> Tracker:
        """As the runner does: the tracker hears of everything so far, then of what happens."""
        self.tracker = Tracker(self.experiment, self.runs, "f1n9e2", self.weights)
        self.tracker.connected()
        self.session.observers += [Trains(self), self.tracker]
        for trial in self.session.record:
            self.tracker.reported(trial)
        return self.tracker

    def again(self) -> Search:
        return Search(self.runs, self.name, self.options)

    def close(self, status: str = "FINISHED") -> str | None:
        return self.tracker.close(status, {"best/baseline": 0.5}, [self.folder / "journal.jsonl"])


@dataclass
class Trains:
    """Leaves weights where a worker does."""

    search: Search

    def started(self, trial: TrialRecord) -> None: ...

    def reported(self, trial: TrialRecord) -> None:
        path = self.search.weights(trial.number)
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"weights of {trial.number}")

    def ended(self, trial: TrialRecord) -> None: ...


@pytest.fixture
def search(runs: Path, request: pytest.FixtureRequest) -> Search:
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)[:90]
    return Search(runs, name)


def client(runs: Path) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(store_uri(None, runs))


def stored(search: Search) -> tuple[Run, dict[int, Run]]:
    """The search's run, and its trials' by number."""
    there = client(search.runs)
    found = there.search_runs([there.get_experiment_by_name(search.name).experiment_id])
    (parent,) = (run for run in found if "mlflow.parentRunId" not in run.data.tags)
    children = [run for run in found if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(children) == len(found) - 1
    by_number = {int(run.data.tags["trial"]): run for run in children}
    assert len(by_number) == len(children), "a trial has two runs"
    return parent, by_number


def check_in_line(search: Search) -> None:
    """MLflow has every trial with its parameters, each metric of each epoch once, and how it ended."""
    there = client(search.runs)
    parent, children = stored(search)
    assert sorted(children) == sorted(t.number for t in search.session.record)
    for trial in search.session.record:
        run = children[trial.number]
        check_epochs(there, run, trial.epochs)
        check_params(run.data.params, asdict(with_changes(search.experiment.trial, trial.changes)))
        assert run.info.status == STATUSES[trial.status]
        said = {name: run.data.tags.get(name, "") for name in ("stop_reason", "error")}
        assert said == {"stop_reason": "", "error": ""} | {reason_tag(trial): trial.reason}
        files = [file.path for file in there.list_artifacts(run.info.run_id)]
        assert files == (["best.pt"] if trial.epochs and search.experiment.tracking.checkpoints == "best" else [])
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics == {"best/baseline": 0.5}


def reason_tag(trial: TrialRecord) -> str:
    return "error" if trial.status == "failed" else "stop_reason"


def check_epochs(there: mlflow.MlflowClient, run: Run, epochs: list[dict[str, float]]) -> None:
    names = {name for epoch in epochs for name in epoch} - {"epoch"}
    assert set(run.data.metrics) == names
    for name in names:
        history = there.get_metric_history(run.info.run_id, name)
        assert [(m.step, m.value) for m in history] == [(e, epoch[name]) for e, epoch in enumerate(epochs)]


def check_params(params: Mapping[str, str], values: Mapping) -> None:
    expected = {path: v if isinstance(v, str) else json.dumps(v) for path, v in flat(values).items()}
    assert params == expected


# ---- a search that nothing disturbs ----


@pytest.mark.parametrize("checkpoints", ["best", "none"])
def test_every_trial_has_a_run_with_all_it_did(runs, checkpoints):
    search = Search(runs, f"all-{checkpoints}", (f"tracking.checkpoints={checkpoints}",))
    search.track()
    simulate(search.session)
    assert search.close() is None
    assert {t.status for t in search.session.record} == {"finished", "stopped", "failed"}
    check_in_line(search)


def test_the_runs_say_what_they_are(search):
    search.track()
    simulate(search.session)
    search.close()
    parent, children = stored(search)
    assert parent.info.run_name == search.name
    for run in (parent, *children.values()):
        tags = run.data.tags
        assert (tags["dataset"], tags["dataset.fingerprint"]) == ("digits", "f1n9e2")
        assert tags["version.mlflow"] == mlflow.__version__
        assert {"version.python", "version.torch", "version.ray", "version.optuna"} <= set(tags)
    assert parent.data.tags["kind"] == "search"
    for trial in search.session.record:
        run = children[trial.number]
        assert (run.data.tags["kind"], run.data.tags["arm"]) == ("trial", trial.arm)
        assert (run.data.tags["method"] == "none") is (trial.arm == "baseline")
        assert run.data.tags["fusion"] == trial.changes["fusion"]
        assert run.info.run_name.startswith(f"{trial.number:03} fusion={trial.changes['fusion']} ")
    assert parent.data.params["space.modulation.alpha.high"] == "1.5"
    assert parent.data.params["search.trials"] == "8"
    assert parent.data.params["dataset.snr_db"] == "[-18.0, -10.0]"


def test_texts_longer_than_mlflow_takes_are_cut(search):
    trial = search.session.next()
    trial.changes["weights"] = "w" * 7000
    trial.status, trial.reason = "failed", "é" * 9000
    search.track()
    assert search.close() is None
    run = stored(search)[1][0]
    assert run.data.params["weights"] == "w" * mlflow_store.PARAMETER_LENGTH
    assert run.data.tags["error"] == "é" * tracking.TAG_LENGTH


# ---- a search that is interrupted, and goes on ----


def kill(search: Search) -> None:
    """Ends the tracker as a killed process would, once all it knows is delivered: nothing is closed."""
    tracker = search.tracker
    with tracker._changed:
        tracker._closing = True
        tracker._changed.notify()
    tracker._thread.join()
    search.session.observers.clear()


def running(search: Search) -> list[TrialRecord]:
    found = [t for t in search.session.record if t.status == "running"]
    assert found
    return found


def test_what_runs_when_a_search_is_closed_is_marked_as_interrupted(search):
    search.track()
    simulate(search.session, at_once=3, steps=10)
    assert search.close("KILLED") is None
    parent, children = stored(search)
    assert parent.info.status == "KILLED"
    for trial in running(search):
        run = children[trial.number]
        assert (run.info.status, run.data.tags["stop_reason"]) == ("KILLED", "interrupted: the search can be resumed")
        check_epochs(client(search.runs), run, trial.epochs)


def test_the_mark_is_taken_away_as_soon_as_the_search_goes_on(search):
    search.track()
    simulate(search.session, at_once=3, steps=10)
    search.close("KILLED")
    resumed = search.again()
    resumed.track()
    kill(resumed)
    parent, children = stored(resumed)
    assert {run.info.status for run in (parent, *(children[t.number] for t in running(search)))} == {"RUNNING"}
    assert INTERRUPTED not in {run.data.tags.get("stop_reason") for run in children.values()}


@pytest.mark.parametrize("ends", [("closed",), ("killed",), ("closed", "closed"), ("killed", "closed", "killed")])
def test_a_search_that_was_stopped_and_goes_on_has_everything_once(search, ends):
    parents = set()
    for end in ends:
        search.track()
        simulate(search.session, at_once=3, steps=9)
        search.close("KILLED") if end == "closed" else kill(search)
        parents.add(stored(search)[0].info.run_id)
        for trial in running(search):  # told to the journal, and not to MLflow any more
            search.session.reported(trial.number, metrics_of(search.session, trial, len(trial.epochs)))
            search.weights(trial.number).parent.mkdir(parents=True, exist_ok=True)
            search.weights(trial.number).write_text(f"weights of {trial.number}")
        search = search.again()
    search.track()
    simulate(search.session, at_once=3)
    assert search.close() is None
    check_in_line(search)
    assert parents == {stored(search)[0].info.run_id}


def test_a_resume_adds_only_what_is_missing(search):
    """Down to the time that each metric was written at."""

    there = client(search.runs)

    def written() -> dict[int, tuple]:
        found = {}
        for number, run in stored(search)[1].items():
            history = [str(there.get_metric_history(run.info.run_id, name)) for name in sorted(run.data.metrics)]
            found[number] = (dict(run.info), run.data.tags, history)
        return found

    search.track()
    simulate(search.session, steps=25)
    search.close("KILLED")
    ended = {t.number for t in search.session.record if t.ended}
    before = {number: run for number, run in written().items() if number in ended}
    resumed = search.again()
    resumed.track()
    simulate(resumed.session)
    resumed.close()
    check_in_line(resumed)
    assert len(before) >= 3
    assert {number: run for number, run in written().items() if number in before} == before


# ---- a store that fails ----


class Away(OSError):
    """The store is away."""


def fail(monkeypatch: pytest.MonkeyPatch, search: Search, method: str, calls: Container[int]) -> threading.Event:
    """The store fails at these calls of the method, counted from 1; the event says that it did."""
    there = search.tracker._client
    original, count, failed = getattr(there, method), itertools.count(1), threading.Event()

    def call(*args, **options):
        if next(count) in calls:
            failed.set()
            raise Away("the store is away")
        return original(*args, **options)

    monkeypatch.setattr(there, method, call)
    return failed


@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("create_run", 1),
        ("create_run", 3),
        ("log_batch", 1),
        ("log_batch", 2),
        ("log_batch", 5),
        ("log_artifact", 1),
        ("set_tag", 1),
        ("set_terminated", 1),
    ],
)
def test_a_store_that_fails_for_a_while_gets_everything_later(search, monkeypatch, method, call):
    search.track()
    failed = fail(monkeypatch, search, method, {call})
    simulate(search.session)
    assert failed.wait(60)
    assert search.close() is None
    check_in_line(search)


def test_what_failed_is_tried_again_while_the_search_goes_on(search, monkeypatch):
    monkeypatch.setattr(tracking, "AGAIN_AFTER_S", 0.01)
    search.track()
    fail(monkeypatch, search, "log_batch", range(1, 4))
    simulate(search.session, steps=6)
    there = client(search.runs)
    until = time.monotonic() + 60
    while not any("best" in run.data.metrics for run in there.search_runs([search.tracker._experiment_id])):
        assert time.monotonic() < until, "nothing came within a minute"
        time.sleep(0.05)
    assert search.close("KILLED") is None


@pytest.mark.parametrize("method", ["create_run", "log_batch", "set_terminated", "log_metric"])
def test_a_store_that_stays_away_is_said_and_gets_everything_on_a_resume(search, monkeypatch, method):
    search.track()
    fail(monkeypatch, search, method, range(1, 10**6))
    simulate(search.session)
    assert search.session.complete
    lack = search.close()
    assert (
        lack == "MLflow lacks a part of this search (the store is away); --resume delivers it, and nothing else is lost"
    )
    resumed = search.again()
    resumed.track()
    assert resumed.close() is None
    check_in_line(resumed)


MANY = [
    {"epoch": e, **{f"val/{i}": e + i / 100 for i in range(15)}, "val/loss": 1.0, "x/1": 0.5, "best": float(e)}
    for e in range(150)
]


@pytest.mark.parametrize("away", [range(0), range(4, 5), range(4, 100)])
def test_more_metrics_than_mlflow_takes_at_once_come_whole(search, monkeypatch, away):
    """150 epochs of 18 metrics, three calls after two with parameters; the second of them fails once, or for good."""
    search.track()
    failed = fail(monkeypatch, search, "log_batch", away)
    trial = search.session.next()
    trial.epochs, trial.status = MANY, "finished"
    search.tracker.reported(trial)
    assert not away or failed.wait(60)
    lack = search.close()
    assert (lack is None) is (len(away) < 2)
    if lack:
        search = search.again()
        search.session.next()
        search.session.record.trials[0].epochs, search.session.record.trials[0].status = MANY, "finished"
        search.track()
        assert search.close() is None
    check_epochs(client(search.runs), stored(search)[1][0], MANY)


def test_a_store_that_cannot_be_reached_is_named_and_holds_nobody_up(runs, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    search = Search(runs, "unreachable", ("tracking.uri=http://127.0.0.1:9",))
    with pytest.raises(TrackingError, match=r"^MLflow at http://127\.0\.0\.1:9 cannot be used: "):
        search.track()
    search.tracker = Tracker(search.experiment, runs, "", search.weights)
    search.session.observers.append(search.tracker)
    simulate(search.session)
    assert search.session.complete
    assert search.close().startswith("MLflow lacks a part of this search (MLflow at http://127.0.0.1:9 cannot be used")


def test_a_deleted_experiment_is_taken_up_again(search):
    there, number = connect(None, search.runs, search.name)
    there.delete_experiment(number)
    assert connect(None, search.runs, search.name)[1] == number
    assert there.get_experiment(number).lifecycle_stage == "active"


def test_without_a_uri_all_of_it_is_below_the_folder_of_the_runs(search):
    search.track()
    simulate(search.session)
    search.close()
    assert (search.runs / "mlflow.db").stat().st_size
    run = stored(search)[1][0]
    file = search.runs / "mlartifacts" / run.info.run_id / "artifacts" / "best.pt"
    assert file.read_text() == "weights of 0"
