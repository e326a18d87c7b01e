"""Runs and stores of MLflow that are deleted, replaced or unusable when a search or a training is resumed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.cli import cli
from mlflow.entities import ViewType

from search.experiment.schema import Experiment
from search.tracking import outbox
from search.tracking import tracker as tracking
from search.tracking.client import TrackingError, TrainingData, keep_run_id, read_run_id, store_uri
from search.tracking.training_run import TrainingTracker
from search.tracking.ui import pages
from tests.search.tracking.test_tracking import TRIALS, Search, check_in_line, client, stored
from tests.search.tuner.test_tuner import experiment, simulate
from tests.support.tells import tells


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "EVERY_S", 0.0)
    monkeypatch.setattr(outbox, "AGAIN_AFTER_S", 0.0)


@pytest.fixture
def search(tmp_path: Path) -> Search:
    """Return a search that was interrupted after some trials."""
    found = Search(tmp_path, "lost", ("search.trials=4",))
    found.track()
    simulate(found.tuner, steps=8)
    assert found.close("KILLED") is None
    return found


def delete(*which: str) -> Callable[[Search], None]:
    """Return a function that deletes the search's run (`search`), a trial's (its number), or all trials' (`trials`)."""

    def lose(search: Search) -> None:
        for run_id in ids(search, which):
            client(search).delete_run(run_id)

    return lose


def ids(search: Search, which: tuple[str, ...]) -> list[str]:
    parent, children = stored(search)
    first = [children[0]] if 0 in children else []
    found = {"search": [parent], "trials": list(children.values()), "0": first}
    return [run.info.run_id for word in which for run in found[word]]


def purge(*which: str) -> Callable[[Search], None]:
    """Return a function that deletes runs permanently."""

    def lose(search: Search) -> None:
        gone = ids(search, which)
        delete(*which)(search)
        collect(search, "--run-ids", ",".join(gone))

    return lose


def collect(search: Search, *options: str) -> None:
    """Run `mlflow gc`."""
    uri = store_uri(None, search.runs)
    found = CliRunner().invoke(cli, ["gc", "--backend-store-uri", uri, "--tracking-uri", uri, *options])
    assert found.exit_code == 0, found.output


def delete_experiment(search: Search) -> None:
    client(search).delete_experiment(stored(search)[0].info.experiment_id)


def purge_experiment(search: Search) -> None:
    number = stored(search)[0].info.experiment_id
    client(search).delete_experiment(number)
    collect(search, "--experiment-ids", number)


def name_another_search(search: Search) -> None:
    other = client(search).create_run(stored(search)[0].info.experiment_id, tags={"run.id": "other", "kind": "other"})
    keep_run_id(search.folder, parent_run_id=other.info.run_id)


SLOW = pytest.mark.slow
PLAIN = ("all runs are deleted", "the search's run is gone, a trial's deleted")
LOSSES = {
    "all runs are deleted": delete("search", "trials"),
    "the search's run is gone, a trial's deleted": lambda search: (delete("0")(search), purge("search")(search)),
    "the trials' runs are gone": purge("trials"),
    "the experiment is deleted": delete_experiment,
    "the experiment is gone": purge_experiment,
    "the id is unknown": lambda search: keep_run_id(search.folder, parent_run_id="0" * 32),
    "the id is none": lambda search: keep_run_id(search.folder, parent_run_id="no id, 'at all'"),
}


@pytest.mark.parametrize(
    "lose",
    [pytest.param(lose, id=what, marks=() if what in PLAIN else SLOW) for what, lose in LOSSES.items()],
)
def test_a_resume_restores_what_was_deleted_and_makes_anew_what_is_gone(search, lose):
    lose(search)
    for steps in (2, None):
        search = search.again()
        assert search.track()
        simulate(search.tuner, steps=steps)
        assert search.close() is None
    check_in_line(search)
    assert read_run_id(search.folder) == stored(search)[0].info.run_id


@SLOW
def test_the_run_of_another_search_is_left_alone(search):
    before = stored(search)[0].info.run_id
    name_another_search(search)
    other = client(search).get_run(read_run_id(search.folder))
    search = search.again()
    search.track()
    simulate(search.tuner)
    assert search.close() is None
    assert read_run_id(search.folder) == before
    assert client(search).get_run(other.info.run_id).to_dictionary() == other.to_dictionary()


@SLOW
def test_a_search_whose_experiment_was_renamed_goes_on_there(search):
    number = stored(search)[0].info.experiment_id
    client(search).rename_experiment(number, "renamed")
    search = search.again()
    search.track()
    simulate(search.tuner)
    assert search.close() is None
    search.name = "renamed"
    check_in_line(search)


@SLOW
def test_a_run_deleted_during_the_search_is_restored_by_the_promised_resume(search):
    search = search.again()
    search.track()
    delete("search", "trials")(search)
    simulate(search.tuner)
    tells(search.close(), "--resume")
    search = search.again()
    search.track()
    assert search.close() is None
    check_in_line(search)


# ---- a store that cannot be used ----


def of_another_version(runs: Path) -> Callable[[], None]:
    return _change(runs, "UPDATE alembic_version SET version_num = ?", "0123456789ab")


def _change(runs: Path, statement: str, value: str) -> Callable[[], None]:
    """Change a database; return a function that undoes it."""

    def run(value: str) -> str:
        with closing(sqlite3.connect(runs / "mlflow.db")) as there:
            before = there.execute("SELECT version_num FROM alembic_version").fetchone()[0]
            there.execute(statement, [value])
            there.commit()
            return str(before)

    before = run(value)
    return lambda: run(before) and None


def a_folder(runs: Path) -> Callable[[], None]:
    (runs / "mlflow.db").rename(runs / "kept")
    (runs / "mlflow.db").mkdir()

    def undo() -> None:
        (runs / "mlflow.db").rmdir()
        (runs / "kept").rename(runs / "mlflow.db")

    return undo


UNUSABLE = [
    pytest.param(of_another_version, "upgrade", id="of another version"),
    pytest.param(a_folder, "mlflow.db", id="a folder", marks=SLOW),
]


@pytest.mark.parametrize(("spoil", "word"), UNUSABLE)
def test_a_store_that_cannot_be_used_stops_no_resume_and_gets_everything_by_a_later_one(search, spoil, word):
    fix = spoil(search.runs)
    search = search.again()
    note = _resume(search)
    tells(note, word)
    simulate(search.tuner)
    assert search.tuner.complete
    tells(search.close(), word, "--resume")
    fix()
    search = search.again()
    assert _resume(search) is None
    assert search.close() is None
    check_in_line(search)


def _resume(search: Search) -> str | None:
    """Track a search; return what the tracker says first."""
    said: list[str | None] = []
    wait = tracking.SearchTracker.wait_until_connected
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking.SearchTracker, "wait_until_connected", lambda self: said.append(wait(self)))
        search.track()
    return said[0]


@pytest.mark.parametrize(("spoil", "word"), UNUSABLE)
def test_a_new_search_is_refused(search, spoil, word):
    spoil(search.runs)
    with pytest.raises(Exception, match=word) as error:
        Search(search.runs, "new").track()
    assert error.value.sentences


# ---- a final training ----


@pytest.fixture
def trained(tmp_path: Path) -> Callable[[int], TrainingTracker]:
    """Return a function that trains some epochs, delivers all so far, and is resumed by the next call."""

    def train(epochs: int) -> TrainingTracker:
        folder = tmp_path / "trained"
        folder.mkdir(exist_ok=True)
        plan: Experiment = experiment(TRIALS, "name=trained")
        data = TrainingData(plan.dataset, "f1n9e2")
        with TrainingTracker(plan, tmp_path, "trained", folder, {"a+b": 1}, {"kind": "training"}, data) as tracker:
            tracker.deliver([{"epoch": e, "train/loss": 1.0, "val/accuracy/rgb+flow": e / 9} for e in range(epochs)])
        return tracker

    return train


def steps(tracker: TrainingTracker, runs: Path) -> list[int]:
    there = MlflowClient(store_uri(None, runs))
    run = there.get_run(tracker.run_id)
    assert (run.info.status, run.info.lifecycle_stage) == ("FINISHED", "active")
    [name] = (name for name in run.data.metrics if name.startswith("val/"))
    return [metric.step for metric in there.get_metric_history(tracker.run_id, name)]


@pytest.mark.parametrize("gone", [False, True])
def test_a_resumed_training_whose_run_was_deleted_is_whole(trained, tmp_path, gone):
    first = trained(2)
    there = MlflowClient(store_uri(None, tmp_path))
    there.delete_run(first.run_id)
    if gone:
        keep_run_id(tmp_path / "trained", run_id="0" * 32)
    second = trained(4)
    assert second.trouble is None
    assert (second.run_id == first.run_id) is not gone
    assert steps(second, tmp_path) == [0, 1, 2, 3]
    number = there.get_experiment_by_name("trained").experiment_id
    assert len(there.search_runs([number], run_view_type=ViewType.ACTIVE_ONLY)) == 1


@pytest.mark.parametrize(("spoil", "word"), UNUSABLE)
def test_a_store_that_cannot_be_used_stops_no_resumed_training(trained, tmp_path, spoil, word):
    trained(2)
    fix = spoil(tmp_path)
    tells(trained(3).trouble, word)
    fix()
    tracker = trained(4)
    assert tracker.trouble is None
    assert steps(tracker, tmp_path) == [0, 1, 2, 3]


def test_a_new_training_is_refused_where_mlflow_cannot_be_used(trained, tmp_path):
    (tmp_path / "mlflow.db").write_text("no database, but a text that is longer than its header " * 99)
    with pytest.raises(TrackingError, match=r"mlflow\.db"):
        trained(1)


def test_mlflows_front_page_is_opened_for_a_run_that_is_gone(search):
    purge("search")(search)
    assert pages(search.folder, store_uri(None, search.runs), 5000) == ["http://127.0.0.1:5000/"]
