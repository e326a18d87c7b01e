"""MLflow has what the record has: complete runs of all trials, also after failures of the store and after a resume."""

from __future__ import annotations

import itertools
import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Container, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from search.experiment.formatting import flat
from search.experiment.schema import Experiment
from search.experiment.space import with_changes
from search.run.causes import failure
from search.run.folder import Identity, RunFolder
from search.run.journal import Journal
from search.run.trials import TrialRecord
from search.tracking import names, outbox
from search.tracking.client import INTERRUPTED, TrackingError, TrainingData, connect, read_run_id, store_uri
from search.tracking.curve import Curve
from search.tracking.run_writer import RunWriter
from search.tracking.tracker import SearchTracker
from search.tuner.search_policy import SearchPolicy
from search.tuner.tuner import Tuner
from tests.search.tuner.test_tuner import experiment, metrics_of, simulate
from tests.support import ROOT
from tests.support.tells import tells

TRIALS = "search.trials=8"
STATUSES = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return one store for all tests, whose experiments have different names, as creating a database takes seconds."""
    folder = tmp_path_factory.mktemp("runs")
    connect(None, folder, "first")
    return folder


CONNECT = """
import sys
from pathlib import Path
import mlflow
from search.tracking.client import connect

print("ready", flush=True)
sys.stdin.readline()
client, experiment = connect(sys.argv[1], Path(sys.argv[2]), "shared")
client.create_run(experiment)
"""


@pytest.mark.slow
@pytest.mark.longer
def test_searches_that_begin_at_the_same_moment_in_different_folders_can_share_a_new_database(tmp_path):
    """Each would create the tables that the others are creating."""
    uri = f"sqlite:///{tmp_path / 'shared.db'}"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CONNECT, uri, str(tmp_path / name / "runs")],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for name in ("one", "two", "three")
    ]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 3
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], errors
    client = MlflowClient(uri)
    assert len(client.search_runs([client.get_experiment_by_name("shared").experiment_id])) == 3


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliver each event separately."""
    monkeypatch.setattr(outbox, "EVERY_S", 0.0)


@dataclass
class Search:
    """A search with its journal, weights and tracker."""

    runs: Path
    name: str
    options: tuple[str, ...] = ()
    server: Path | None = None  # the folder of a server's database and files

    def __post_init__(self) -> None:
        self.folder = self.runs / self.name
        self.folder.mkdir(exist_ok=True)
        self.experiment: Experiment = experiment(TRIALS, f"name={self.name}", *self.options)
        self.tuner = Tuner(self.experiment, Journal(self.folder / "journal.jsonl"), SearchPolicy(self.experiment))
        self.tracker: SearchTracker | None = None
        self.threads: list[threading.Thread] = []  # the tracker's

    def weights(self, number: int) -> Path:
        return self.folder / str(number) / "best.pt"

    def track(self) -> SearchTracker:
        """Create the tracker as the runner does, and report all trials so far to it."""
        others = threading.enumerate()
        self.tracker = SearchTracker(
            self.experiment,
            RunFolder(self.folder),
            Identity("r1", "f1n9e2"),
            self.tuner.record,
            self.weights,
            description="**What for?**",
        )
        self.tracker.wait_until_connected()
        self.threads = [thread for thread in threading.enumerate() if thread not in others]
        self.tuner.callbacks += [Trains(self), self.tracker]
        for trial in self.tuner.record:
            self.tracker.on_report(trial)
        return self.tracker

    def again(self) -> Search:
        return Search(self.runs, self.name, self.options, self.server)

    def close(self, status: str = "FINISHED") -> str | None:
        return self.tracker.close(status, [self.folder / "journal.jsonl"])


@dataclass
class Trains:
    """Callback that writes weights where a worker would."""

    search: Search

    def on_start(self, trial: TrialRecord) -> None: ...

    def on_report(self, trial: TrialRecord) -> None:
        path = self.search.weights(trial.number)
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"weights of {trial.number}")

    def on_end(self, trial: TrialRecord) -> None: ...


@pytest.fixture
def search(runs: Path, request: pytest.FixtureRequest) -> Search:
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)[:90]
    return Search(runs, name)


def client(search: Search) -> MlflowClient:
    return MlflowClient(store_uri(None, search.server or search.runs))


def rows(search: Search, run: Run) -> list[tuple[int, int, str, float]]:
    """Return time, step, name and value of all metrics as they were written."""
    with closing(sqlite3.connect((search.server or search.runs) / "mlflow.db")) as there:
        query = "SELECT timestamp, step, key, value FROM metrics WHERE run_uuid = ?"
        return sorted(there.execute(query, [run.info.run_id]))


def history(search: Search, run: Run) -> dict[str, list[tuple[int, float]]]:
    """Return the steps and values of each metric by name."""
    found: dict[str, list[tuple[int, float]]] = {}
    for _, step, name, value in rows(search, run):
        found.setdefault(name, []).append((step, value))
    return found


def until(what: Callable[[], bool]) -> None:
    """Wait for a condition, for up to a minute on slow machines."""
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end, "the condition was not met within a minute"
        time.sleep(0.05)


def stored(search: Search) -> tuple[Run, dict[int, Run]]:
    """Return the search's run, and the runs of its trials by number."""
    there = client(search)
    found = there.search_runs([there.get_experiment_by_name(search.name).experiment_id])
    (parent,) = (run for run in found if "mlflow.parentRunId" not in run.data.tags)
    children = [run for run in found if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(children) == len(found) - 1
    by_number = {int(run.data.tags["trial"]): run for run in children}
    assert len(by_number) == len(children), "a trial has two runs"
    return parent, by_number


def files(search: Search, run: Run) -> dict[str, str]:
    """Return the artifacts of a run by name."""
    folder = search.server / "artifacts" / run.info.experiment_id if search.server else search.runs / "mlartifacts"
    found = (folder / run.info.run_id / "artifacts").glob("*")
    return {file.name: file.read_text() for file in found}


def statuses(search: Search) -> list[str]:
    """Return the statuses of the trials' existing runs, by number."""
    there = client(search)
    found = there.search_runs([there.get_experiment_by_name(search.name).experiment_id], "tags.kind = 'trial'")
    return [run.info.status for run in sorted(found, key=lambda run: int(run.data.tags["trial"]))]


def check_in_line(search: Search) -> None:
    """Assert that MLflow has every trial with its parameters, each metric of each epoch once, and its end."""
    parent, children = stored(search)
    assert sorted(children) == sorted(t.number for t in search.tuner.record)
    for trial in search.tuner.record:
        run = children[trial.number]
        check_epochs(search, run, trial.epochs)
        check_params(run.data.params, asdict(with_changes(search.experiment.trial, trial.changes)))
        assert run.info.status == STATUSES[trial.status]
        said = {name: run.data.tags.get(name, "") for name in ("stop_reason", "error")}
        assert said == {"stop_reason": "", "error": ""} | {reason_tag(trial): str(trial.reason or "")}
        weights = search.weights(trial.number)
        kept = weights.exists() and search.experiment.tracking.checkpoints == "best"
        assert files(search, run) == ({"best.pt": weights.read_text()} if kept else {})
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["mlflow.note.content"] == "**What for?**"
    for run in (parent, *children.values()):
        [data] = run.inputs.dataset_inputs
        assert (data.dataset.name, data.dataset.digest) == ("digits", "f1n9e2")
        assert json.loads(data.dataset.source) == search.experiment.dataset
    check_curve(search, parent)


def reason_tag(trial: TrialRecord) -> str:
    return "error" if trial.status == "failed" else "stop_reason"


def check_epochs(search: Search, run: Run, epochs: list[dict[str, float]]) -> None:
    """Assert that each metric has the name that puts it in a section of the page."""
    section = {"best": "val/best", "seconds": "time/seconds"}
    names = {name for epoch in epochs for name in epoch} - {"epoch"}
    expected = {section.get(name, name): [(e, epoch[name]) for e, epoch in enumerate(epochs)] for name in names}
    assert history(search, run) == expected
    assert all("/" in name for name in expected)


def check_curve(search: Search, parent: Run) -> None:
    """Assert that the search's run has the curve of its record, up to the current point.

    It may have further points, written when the search was closed before a resume.
    """
    curve = Curve(search.tuner.record, "max")
    expected = curve.points() | curve.end()
    written = history(search, parent)
    assert set(parent.data.metrics) == set(written) == set(list(expected.values())[-1])
    for name, points in written.items():
        assert [step for step, _ in points] == sorted(step for step, _ in points)
        assert len(set(points)) == len(points), "a point is there twice"
        last = dict(points)
        wanted = {step: values[name] for step, values in expected.items() if name in values}
        if name != "spent/wall_hours":  # closing a session takes some more time
            assert {step: last.get(step) for step in wanted} == wanted
            assert parent.data.metrics[name] == list(wanted.values())[-1]
        else:
            assert wanted.keys() <= last.keys()


def check_params(params: Mapping[str, str], values: Mapping) -> None:
    expected = {path: v if isinstance(v, str) else json.dumps(v) for path, v in flat(values).items()}
    assert params == expected


# ---- an undisturbed search ----


@pytest.mark.parametrize("checkpoints", ["best", "none"])
def test_every_trial_has_a_run_with_all_it_did(runs, checkpoints):
    search = Search(runs, f"all-{checkpoints}", (f"tracking.checkpoints={checkpoints}",))
    search.track()
    simulate(search.tuner)
    assert search.close() is None
    assert {t.status for t in search.tuner.record} == {"finished", "stopped", "failed"}
    check_in_line(search)


def test_the_runs_say_what_they_are(search):
    search.track()
    simulate(search.tuner)
    search.close()
    parent, children = stored(search)
    assert parent.info.run_name == search.name
    for run in (parent, *children.values()):
        tags = run.data.tags
        assert (tags["dataset"], tags["dataset.fingerprint"]) == ("digits", "f1n9e2")
        assert tags["version.mlflow"] == mlflow.__version__
        assert {"version.python", "version.torch", "version.ray", "version.optuna"} <= set(tags)
    assert parent.data.tags["kind"] == "search"
    for trial in search.tuner.record:
        run = children[trial.number]
        assert (run.data.tags["kind"], run.data.tags["arm"]) == ("trial", trial.arm)
        assert (run.data.tags["method"] == "none") is (trial.arm == "baseline")
        assert run.data.tags["fusion"] == trial.changes["fusion"]
        assert run.info.run_name.startswith(f"{trial.number:03} fusion={trial.changes['fusion']} ")
    assert parent.data.params["space.modulation.alpha.high"] == "1.5"
    assert parent.data.params["search.trials"] == "8"
    assert parent.data.params["dataset.snr_db"] == "[-18.0, -10.0]"


def test_texts_longer_than_mlflow_takes_are_cut(search):
    trial = search.tuner.next()
    trial.changes["weights"] = "w" * 7000
    trial.status, trial.reason = "failed", failure("é" * 9000)
    search.track()
    assert search.close() is None
    run = stored(search)[1][0]
    assert run.data.params["weights"] == "w" * names.PARAMETER_LENGTH
    assert run.data.tags["error"] == "é" * names.TAG_LENGTH


def test_what_comes_at_the_same_time_goes_in_one_call(search, monkeypatch):
    monkeypatch.setattr(outbox, "EVERY_S", 60.0)
    search.track()
    calls = {name: fail(monkeypatch, name, ()) for name in ("create_run", "log_batch", "set_terminated")}
    simulate(search.tuner)
    assert search.close() is None
    assert {name: call.count for name, call in calls.items()} == {
        "create_run": 1 + 8,
        "log_batch": 2 + 8,  # settings and curve of the search; settings, epochs and reason of each trial in one
        "set_terminated": 1 + 8,
    }
    assert not any(thread.is_alive() for thread in search.threads)
    check_in_line(search)


# ---- a search that is interrupted and resumed ----


LAST = 10**6
kills = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # raised to end threads


def kill(search: Search) -> None:
    """End the tracker as in a killed process, without closing it, after it has delivered everything it knows.

    Its thread ends in the call that would create the run of one more trial; the thread for uploads then only waits.
    """
    create_run, killed = MlflowClient.create_run, threading.Event()

    def last(there: MlflowClient, experiment_id: str, start_time: int, tags: dict[str, str], name: str) -> Run:
        if tags.get("trial") == str(LAST):
            killed.set()
            raise SystemExit
        return create_run(there, experiment_id, start_time, tags, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MlflowClient, "create_run", last)
        search.tracker.on_report(TrialRecord(LAST, "baseline", {}, {}))
        assert killed.wait(60)
    until(lambda: not any(thread.is_alive() for thread in search.threads) or not unsent(search))
    search.tuner.callbacks.clear()


def unsent(search: Search) -> list[int]:
    """Return the ended trials whose weights MLflow lacks."""
    _, children = stored(search)
    ended = [t.number for t in search.tuner.record if t.is_over and search.weights(t.number).exists()]
    return [number for number in ended if not files(search, children[number])]


def running(search: Search) -> list[TrialRecord]:
    found = [t for t in search.tuner.record if t.status == "running"]
    assert found
    return found


def test_what_runs_when_a_search_is_closed_is_marked_as_interrupted(search):
    search.track()
    simulate(search.tuner, at_once=3, steps=10)
    assert search.close("KILLED") is None
    parent, children = stored(search)
    assert parent.info.status == "KILLED"
    for trial in running(search):
        run = children[trial.number]
        assert (run.info.status, run.data.tags["stop_reason"]) == ("KILLED", INTERRUPTED)
        check_epochs(search, run, trial.epochs)


@kills
def test_the_mark_is_taken_away_as_soon_as_the_search_goes_on(search):
    search.track()
    simulate(search.tuner, at_once=3, steps=10)
    search.close("KILLED")
    resumed = search.again()
    resumed.track()
    kill(resumed)
    parent, children = stored(resumed)
    assert {run.info.status for run in (parent, *(children[t.number] for t in running(search)))} == {"RUNNING"}
    assert INTERRUPTED not in {run.data.tags.get("stop_reason") for run in children.values()}


@kills
@pytest.mark.parametrize("ends", [("closed",), ("killed",), ("closed", "closed"), ("killed", "closed", "killed")])
def test_a_search_that_was_stopped_and_goes_on_has_everything_once(search, ends):
    parents = set()
    for end in ends:
        search.track()
        simulate(search.tuner, at_once=3, steps=9)
        search.close("KILLED") if end == "closed" else kill(search)
        parents.add(stored(search)[0].info.run_id)
        for trial in running(search):  # recorded in the journal, but not in MLflow
            search.tuner.record_epoch(trial.number, metrics_of(search.tuner, trial, len(trial.epochs)))
            search.weights(trial.number).parent.mkdir(parents=True, exist_ok=True)
            search.weights(trial.number).write_text(f"weights of {trial.number}")
        search = search.again()
    search.track()
    simulate(search.tuner, at_once=3)
    assert search.close() is None
    check_in_line(search)
    assert parents == {stored(search)[0].info.run_id}


def test_a_resume_adds_only_what_is_missing(search):
    """Compared including the time at which each metric and each file was written."""

    def written() -> tuple[Run, dict[int, tuple]]:
        parent, children = stored(search)
        return parent, {n: (dict(r.info), r.data.tags, rows(search, r), sent(search, r)) for n, r in children.items()}

    search.track()
    simulate(search.tuner, steps=25)
    search.close("KILLED")
    parent = stored(search)[0]
    ended = [t.number for t in search.tuner.record if t.is_over and t.epochs]
    curve = rows(search, parent)
    before = {number: run for number, run in written()[1].items() if number in ended}
    for _ in range(2):
        search = search.again()
        search.track()
        simulate(search.tuner)
        search.close()
        check_in_line(search)
    assert len(before) >= 3
    parent, children = written()
    assert {number: children[number] for number in before} == before
    assert rows(search, parent)[: len(curve)] == curve


def test_a_search_that_is_complete_gets_nothing_from_a_resume(search):
    search.track()
    simulate(search.tuner)
    search.close()
    parent, children = stored(search)
    before = [rows(search, run) for run in (parent, *children.values())]
    again = search.again()
    again.track()
    again.close()
    check_in_line(again)
    assert [rows(search, run) for run in (parent, *children.values())] == before


# ---- a store that fails ----


class Away(OSError):
    """The store cannot be reached."""


class Calls:
    """Calls of a method of MLflow's client, some of which fail.

    Attributes:
        count: number of calls so far.
        failed: event that is set when a call has failed.
    """

    def __init__(self, method: Callable, to_fail: Container[int]) -> None:
        self._method, self._to_fail = method, to_fail
        self.count, self.failed = 0, threading.Event()

    def __call__(self, *args, **options):
        self.count += 1
        if self.count in self._to_fail:
            self.failed.set()
            raise Away("the store is away")
        return self._method(*args, **options)


def fail(monkeypatch: pytest.MonkeyPatch, method: str, calls: Container[int]) -> Calls:
    """Let these calls of the method fail, counted from 1."""
    found = Calls(getattr(MlflowClient, method), calls)
    monkeypatch.setattr(MlflowClient, method, lambda *args, **options: found(*args, **options))
    return found


@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("create_run", 1),
        ("create_run", 3),
        ("log_batch", 1),
        ("log_batch", 2),
        ("log_batch", 5),
        ("log_artifact", 1),
        ("set_terminated", 1),
    ],
)
def test_a_store_that_fails_for_a_while_gets_everything_later(search, monkeypatch, method, call):
    search.track()
    calls = fail(monkeypatch, method, {call})
    simulate(search.tuner)
    assert calls.failed.wait(60)
    assert search.close() is None
    check_in_line(search)


def test_what_failed_is_tried_again_while_the_search_goes_on(search, monkeypatch):
    monkeypatch.setattr(outbox, "AGAIN_AFTER_S", 0.01)
    search.track()
    fail(monkeypatch, "log_batch", range(1, 4))
    simulate(search.tuner, steps=6)
    there = client(search)
    number = there.get_experiment_by_name(search.name).experiment_id
    until(lambda: any("val/best" in run.data.metrics for run in there.search_runs([number])))
    assert search.close("KILLED") is None


@pytest.mark.parametrize("method", ["create_run", "log_batch", "set_terminated"])
def test_a_store_that_stays_away_is_said_and_gets_everything_on_a_resume(search, monkeypatch, method):
    search.track()
    with monkeypatch.context() as patch:
        fail(patch, method, range(1, 10**6))
        simulate(search.tuner)
        assert search.tuner.complete
        lack = search.close()
    tells(lack, "the store is away", "--resume")
    assert "files" not in lack
    resumed = search.again()
    resumed.track()
    assert resumed.close() is None
    check_in_line(resumed)


MANY = [
    {"epoch": e, **{f"val/{i}": e + i / 100 for i in range(15)}, "train/loss": 1.0, "x/1": 0.5, "best": float(e)}
    for e in range(150)
]


@pytest.mark.parametrize("away", [range(0), range(4, 5), range(4, 100)])
def test_more_metrics_than_mlflow_takes_at_once_come_whole(search, monkeypatch, away):
    """150 epochs of 18 metrics take three calls, after two with parameters; the second fails once or forever."""
    search.track()
    with monkeypatch.context() as patch:
        calls = fail(patch, "log_batch", away)
        trial = search.tuner.next()
        trial.epochs, trial.status = MANY, "finished"
        search.tracker.on_report(trial)
        assert not away or calls.failed.wait(60)
        lack = search.close()
    assert (lack is None) is (len(away) < 2)
    if lack:
        search = search.again()
        search.tuner.next()
        search.tuner.record.trials[0].epochs, search.tuner.record.trials[0].status = MANY, "finished"
        search.track()
        assert search.close() is None
    check_epochs(search, stored(search)[1][0], MANY)


def test_a_store_that_cannot_be_reached_is_named_and_holds_nobody_up(runs, monkeypatch):
    monkeypatch.setattr(outbox, "AGAIN_AFTER_S", 0.01)
    search = Search(runs, "unreachable", ("tracking.uri=http://127.0.0.1:9",))
    with pytest.raises(TrackingError) as error:
        search.track()
    tells(error.value, "http://127.0.0.1:9")
    search.tracker = SearchTracker(
        search.experiment, RunFolder(search.folder), Identity("r1", ""), search.tuner.record, search.weights
    )
    search.tuner.callbacks.append(search.tracker)
    simulate(search.tuner)
    assert search.tuner.complete
    tells(search.close(), "http://127.0.0.1:9", "--resume")


@pytest.mark.parametrize("wanted", [True, False])
def test_how_busy_the_machine_is_is_sampled_where_it_is_asked_for(runs, monkeypatch, wanted):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    search = Search(runs, f"busy-{wanted}", (f"tracking.system_metrics={str(wanted).lower()}",))
    for ends in (9, None):  # the second session resumes, and the samples continue
        search.track()
        simulate(search.tuner, steps=ends)
        until(lambda search=search: read_run_id(search.folder))
        before = cpu(search)
        until(lambda search=search, before=before: not wanted or len(cpu(search)) > len(before))
        assert search.close() is None
        steps = cpu(search)
        assert bool(steps) is wanted
        assert steps == list(range(len(steps)))
        search = search.again()


def cpu(search: Search) -> list[int]:
    """Return the steps of the samples of processor load."""
    samples = client(search).get_metric_history(read_run_id(search.folder), "system/cpu_utilization_percentage")
    return [metric.step for metric in samples]


def test_a_run_that_mlflow_refuses_holds_nobody_up(search, monkeypatch):
    """MLflow refuses a metric of the first trial, whose delivery is tried again each time."""
    monkeypatch.setattr(outbox, "AGAIN_AFTER_S", 0.0)
    search.tuner.next()
    search.tuner.record_epoch(0, {"epoch": 0, "best": 0.5, "odd/metric": "no number"})
    search.tuner.record_end(0, "failed", failure("no reason"))
    search.track()
    simulate(search.tuner)
    until(lambda: len(statuses(search)) == 8 and "RUNNING" not in statuses(search)[1:])
    assert statuses(search)[0] == "RUNNING"
    lack = search.close()
    tells(lack, "no number", "--resume")
    assert "delivers" not in lack


@pytest.mark.parametrize("answers_to", ["create_run", "log_batch", "set_terminated"])
def test_an_answer_that_is_lost_leaves_no_run_and_no_metric_twice(search, monkeypatch, answers_to):
    """The store carries out the call, but its answer is lost."""
    monkeypatch.setattr(outbox, "AGAIN_AFTER_S", 0.0)
    search.track()
    original, count = getattr(MlflowClient, answers_to), itertools.count()

    def late(*args, **options):
        done = original(*args, **options)
        if next(count) % 3 == 0:
            raise Away("no answer")
        return done

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, answers_to, late)
        simulate(search.tuner)
        until(lambda: len(statuses(search)) == 8 and "RUNNING" not in statuses(search))
    assert next(count) >= 9
    assert search.close() is None
    check_in_line(search)


def test_a_run_that_is_made_later_than_it_was_looked_for_goes_away_again(search, monkeypatch):
    """The first of two requests is carried out last; its run is deleted at the end of this session, or of the next."""
    monkeypatch.setattr(outbox, "AGAIN_AFTER_S", 0.0)
    search.track()
    original, held, count = MlflowClient.create_run, [], itertools.count(1)

    def late(*args, **options):
        if next(count) in (1, 3, 5):  # the runs of the search and of two trials
            held.append((args, options))
            raise Away("no answer")
        return original(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_run", late)
        simulate(search.tuner)
        until(lambda: len(statuses(search)) == 8)
    for args, options in held:
        original(*args, **options)
    assert search.close() is None
    check_in_line(search)
    original(*held[-1][0], **held[-1][1])
    resumed = search.again()
    resumed.track()
    assert resumed.close() is None
    check_in_line(resumed)


# ---- files ----


def sent(search: Search, run: Run) -> int | None:
    """Return when the run's weights were uploaded, in nanoseconds; None if they were not."""
    file = search.runs / "mlartifacts" / run.info.run_id / "artifacts" / "best.pt"
    return file.stat().st_mtime_ns if file.exists() else None


def test_a_slow_upload_delays_neither_metrics_nor_the_ends_of_trials(search, monkeypatch):
    search.track()
    original, may_go = MlflowClient.log_artifact, threading.Event()

    def slow(*args, **options):
        assert may_go.wait(60)
        return original(*args, **options)

    monkeypatch.setattr(MlflowClient, "log_artifact", slow)
    simulate(search.tuner)
    until(lambda: len(statuses(search)) == 8 and "RUNNING" not in statuses(search))
    _, children = stored(search)
    for trial in search.tuner.record:
        check_epochs(search, children[trial.number], trial.epochs)
        assert sent(search, children[trial.number]) is None
    may_go.set()
    assert search.close() is None
    check_in_line(search)


def test_files_that_cannot_be_sent_are_counted_and_sent_on_a_resume(search, monkeypatch):
    search.track()
    with monkeypatch.context() as patch:
        fail(patch, "log_artifact", range(1, 10**6))
        simulate(search.tuner)
        lack = search.close()
    count = 1 + sum(bool(trial.epochs) for trial in search.tuner.record)
    tells(lack, f"{count} files", "the store is away", "--resume")
    parent, children = stored(search)
    assert {run.info.status for run in (parent, *children.values())} == set(STATUSES.values())
    resumed = search.again()
    resumed.track()
    assert resumed.close() is None
    check_in_line(resumed)


def killed(*_: object) -> None:
    """End the thread, in place of a call."""
    raise SystemExit


@kills
@pytest.mark.parametrize("left", ["nothing", "half of it"])
def test_weights_whose_upload_was_killed_are_sent_on_a_resume(search, monkeypatch, left):
    """The trial's run has already ended, so its status does not show whether the weights are complete."""
    search.track()
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifact", killed)
        simulate(search.tuner)
        kill(search)
    _, children = stored(search)
    assert set(statuses(search)) == set(STATUSES.values())
    halves = [children[t.number] for t in search.tuner.record if t.epochs and left == "half of it"]
    for run in halves:
        folder = search.runs / "mlartifacts" / run.info.run_id / "artifacts"
        folder.mkdir(parents=True)
        (folder / "best.pt").write_text("weights")
    resumed = search.again()
    resumed.track()
    assert resumed.close() is None
    check_in_line(resumed)


def test_a_deleted_experiment_is_taken_up_again(search):
    there, number = connect(None, search.runs, search.name)
    there.delete_experiment(number)
    assert connect(None, search.runs, search.name)[1] == number
    assert there.get_experiment(number).lifecycle_stage == "active"


def test_without_a_uri_all_of_it_is_below_the_folder_of_the_runs(search):
    search.track()
    simulate(search.tuner)
    search.close()
    assert (search.runs / "mlflow.db").stat().st_size
    run = stored(search)[1][0]
    file = search.runs / "mlartifacts" / run.info.run_id / "artifacts" / "best.pt"
    assert file.read_text() == "weights of 0"


def test_more_parameters_than_a_call_takes_are_all_there(runs):
    client, experiment_id = connect(None, runs, "many")
    run_id = client.create_run(experiment_id).info.run_id
    params = {f"p{number}": str(number) for number in range(250)}
    RunWriter(client, run_id, TrainingData({"name": "digits"}, "f1n9e2"), params).flush()
    assert client.get_run(run_id).data.params == params


def test_a_run_that_goes_on_has_no_reason_to_have_ended(runs):
    client, experiment_id = connect(None, runs, "again")
    run_id = client.create_run(experiment_id).info.run_id
    data = TrainingData({"name": "digits"}, "f1n9e2")
    RunWriter(client, run_id, data, {"epochs": "3"}).end("KILLED", {"stop_reason": "budget: 9 epochs are spent"})
    resumed = RunWriter(client, run_id, data, {"epochs": "3"}, client.get_run(run_id))
    resumed.reopen()
    run = client.get_run(run_id)
    assert (run.info.status, run.data.tags.get("stop_reason")) == ("RUNNING", None)
