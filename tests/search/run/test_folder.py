"""A run's folder: which experiment it belongs to, what may be resumed in it, and what an error leaves behind."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from datasets import registry
from search.experiment.load import load
from search.experiment.schema import as_values, to_yaml
from search.run.disk import PlaceError
from search.run.folder import FolderError, RunFolder, claim_folder, find, require_search, write
from search.run.journal import Journal
from search.run.test_log import read_test
from tests.search.tuner.test_tuner import experiment
from tests.support import ROOT
from tests.support.tells import tells


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "runs" / "simulated")


def begin(folder: RunFolder, *assignments: str) -> None:
    """Leave a run with one event that has ended."""
    with claim_folder(folder, experiment(*assignments), resume=False):
        journal = Journal(folder.journal)
        journal.append({"event": "suggested"})
        journal.close()


def content(folder: RunFolder) -> dict[str, str]:
    return {str(p.relative_to(folder.path)): p.read_text() for p in folder.path.rglob("*") if p.is_file()}


def test_a_claimed_folder_holds_the_experiment_with_every_default(folder):
    asked = experiment("trial.schedule={name: step, milestones: [2]}")
    with claim_folder(folder, asked, resume=False):
        assert load(folder.experiment) == asked
        assert "weight_decay" in folder.experiment.read_text()


@pytest.mark.parametrize("name", ["experiment.yaml", "notes.txt"])
def test_a_folder_with_something_in_it_is_not_begun_anew(folder, name):
    folder.path.mkdir(parents=True)
    (folder.path / name).write_text("mine")
    with pytest.raises(FolderError) as error, claim_folder(folder, experiment(), resume=False):
        pass
    tells(error.value, folder.path, "--resume", "name=simulated-2")
    assert content(folder) == {name: "mine"}


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    ("file", "holds", "wanted", "name"),
    [
        ("tune/journal.jsonl", "search", "training", "simulated-plain"),
        ("train.json", "training", "search", "simulated-2"),
        ("last.pt", "training", "search", "simulated-2"),
        ("best.pt", "training", "search", "simulated-2"),
    ],
)
def test_a_run_of_another_kind_is_neither_overwritten_nor_resumed(folder, file, holds, wanted, name, resume):
    (folder.path / file).parent.mkdir(parents=True)
    (folder.path / file).write_text("something")
    write(folder.experiment, to_yaml(as_values(experiment())))
    before = content(folder)
    with pytest.raises(FolderError) as error, claim_folder(folder, experiment(), resume=resume, kind=wanted):
        pass
    tells(error.value, folder.path, f"holds a {holds}, not a {wanted}", f"(name={name})")
    assert "--resume" not in str(error.value)
    assert content(folder) == before


@pytest.mark.parametrize("file", [None, "train.json", "best.pt"])
def test_a_folder_without_a_search_says_how_to_start_one(folder, file):
    folder.path.mkdir(parents=True)
    if file is not None:
        (folder.path / file).write_text("something")
    with pytest.raises(FolderError) as error:
        require_search(folder)
    tells(error.value, f"there is no search in {folder.path}", "`uv run run_search.py FILE`")
    assert ("holds a training" in str(error.value)) is (file is not None)


def test_an_empty_folder_or_one_with_a_lock_that_nobody_holds_is_free(folder):
    folder.path.mkdir(parents=True)
    (folder.path / ".lock").touch()
    begin(folder)
    assert folder.has_progress


@pytest.mark.parametrize("damage", [b"name: [", b"- 7", b"\xff\xfe\x00"])
def test_a_damaged_experiment_is_reported_and_can_be_made_again_from_the_command(folder, damage):
    with claim_folder(folder, experiment(), resume=False):
        folder.tune.mkdir()
        folder.journal.write_text("begun")
    whole = folder.experiment.read_bytes()
    folder.experiment.write_bytes(damage)
    with pytest.raises(FolderError) as error, claim_folder(folder, experiment(), resume=True):
        pass
    tells(error.value, folder.experiment)
    assert error.value.__cause__ is not None  # why it cannot be read
    folder.experiment.unlink()
    with claim_folder(folder, experiment(), resume=True):
        assert folder.experiment.read_bytes() == whole


def test_what_was_never_begun_cannot_be_resumed(folder):
    with pytest.raises(FolderError) as error, claim_folder(folder, experiment(), resume=True):
        pass
    tells(error.value, folder.path, "--resume")
    assert "name=" not in str(error.value)
    assert not folder.path.exists()


RATES = [0.001, 0.01, 0.1]
CHANGED = [  # assignments on resume; the differing keys, with the value before and now
    (("trial.epochs=6",), {"trial.epochs": (5, 6)}),
    (("search.seed=1",), {"search.seed": (0, 1)}),
    (("dataset.snr_db=[0,1]",), {"dataset.snr_db": ([-18.0, -10.0], [0.0, 1.0])}),
    (("space.fusion=[sum]",), {"space.fusion": (["concat", "sum", "film"], ["sum"])}),
    (("space.batch_size=[32,64]",), {"space.batch_size": (None, [32, 64])}),
    (("trial.optimizer.lr=1.0",), {"trial.optimizer.lr": (0.001, 1.0), "space.optimizer.lr": (RATES, None)}),
    (
        ("tracking.uri=http://x", "search.mode=min"),
        {"search.mode": ("max", "min"), "tracking.uri": (None, "http://x")},
    ),
]


@pytest.mark.parametrize(("changes", "different"), CHANGED)
def test_another_experiment_is_not_resumed_and_every_difference_is_named(folder, changes, different):
    begin(folder)
    before = content(folder)
    with pytest.raises(FolderError) as error, claim_folder(folder, experiment(*changes), resume=True):
        pass
    tells(error.value, folder.experiment)
    _, *named = re.split(r"`([\w.]+)`", str(error.value))
    assert named[::2] == list(different)
    for said, values in zip(named[1::2], different.values(), strict=True):
        shown = [repr(value) if isinstance(value, str) else json.dumps(value) for value in values]  # as in a YAML file
        tells(said, *shown)
        was, now = map(said.index, shown)
        assert was < now
    assert content(folder) == before


@pytest.mark.parametrize("change", ["search.trials=30", "search.resources.cpu=2", "search.resources.gpu=0.5"])
def test_a_resume_may_ask_for_more_trials_or_other_resources_and_writes_that_down(folder, change):
    begin(folder)
    changed = experiment(change)
    with claim_folder(folder, changed, resume=True):
        assert load(folder.experiment) == changed
    with claim_folder(folder, changed, resume=True):
        pass


def suggested(folder: RunFolder, trials: int) -> None:
    """Leave a search that has begun some trials."""
    with claim_folder(folder, experiment(), resume=False):
        journal = Journal(folder.journal)
        for number in range(trials):
            suggestion = {"number": number, "arm": "baseline", "internal": {}, "changes": {}}
            journal.append({"event": "suggested", "version": 4, **suggestion})
        journal.close()


@pytest.mark.parametrize(("wanted", "is_refused"), [(2, True), (5, True), (6, False), (7, False), (30, False)])
def test_a_resume_cannot_ask_for_fewer_trials_than_have_begun(folder, wanted, is_refused):
    suggested(folder, 6)  # of 14
    before, changed = content(folder), experiment(f"search.trials={wanted}")
    if is_refused:
        with pytest.raises(FolderError) as error, claim_folder(folder, changed, resume=True):
            pass
        tells(error.value, f"`search.trials` is {wanted}", f"6 trials of {folder.path}", "set it to 6")
        assert content(folder) == before
    else:
        with claim_folder(folder, changed, resume=True):
            assert load(folder.experiment) == changed


def test_a_plan_that_was_shorter_than_its_trials_can_be_resumed(folder):
    """The arms of an older program's trials can make a plan longer than `search.trials`."""
    suggested(folder, 15)
    with claim_folder(folder, experiment(), resume=True):
        pass


def fail(folder: RunFolder, error: type[BaseException], files: dict[str, str], *, resume: bool = False) -> None:
    """Leave these files in a run, then fail."""
    with claim_folder(folder, experiment(), resume=resume):
        for name, text in files.items():
            (folder.path / name).parent.mkdir(exist_ok=True)
            (folder.path / name).write_text(text)
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_new_folder_in_which_nothing_happened_goes_away_with_the_error(folder, error):
    with pytest.raises(error):
        fail(folder, error, {"tune/journal.jsonl": "", "mlflow.json": "{}"})
    assert not folder.path.exists()
    begin(folder)


@pytest.mark.parametrize(("file", "kind"), [("tune/journal.jsonl", "search"), ("last.pt", "training")])
def test_a_new_folder_in_which_something_happened_stays(folder, file, kind):
    with pytest.raises(KeyboardInterrupt):
        fail(folder, KeyboardInterrupt, {file: "something"})
    assert (folder.path / file).read_text() == "something"
    with claim_folder(folder, experiment(), resume=True, kind=kind):
        pass


def test_a_resumed_folder_stays_whatever_happens(folder):
    with claim_folder(folder, experiment(), resume=False):
        pass
    with pytest.raises(ZeroDivisionError):
        fail(folder, ZeroDivisionError, {}, resume=True)
    assert load(folder.experiment) == experiment()


HOLD = """
import sys
from pathlib import Path
from search.run.folder import RunFolder, claim_folder
from tests.search.tuner.test_tuner import experiment
with claim_folder(RunFolder(Path(sys.argv[1])), experiment(), resume=True):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_has_ended_even_by_a_kill(folder):
    begin(folder)
    before = content(folder)
    command = [sys.executable, "-c", HOLD, str(folder.path)]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(FolderError) as error, claim_folder(folder, experiment(), resume=True):
            pass
        tells(error.value, folder.path)
        assert isinstance(error.value.__cause__, BlockingIOError)
        assert content(folder) == before
        holder.kill()
    with claim_folder(folder, experiment(), resume=True):
        pass


def test_of_searches_that_begin_under_one_name_at_the_same_moment_only_one_does(folder):
    """Each is done before the last one gives up waiting for the lock."""
    together, won, lost = threading.Barrier(8), [], []

    def compete(number: int) -> None:
        together.wait()
        try:
            with claim_folder(folder, experiment(), resume=False):
                (folder.tune).mkdir()
                folder.journal.write_text(str(number))
            won.append(number)
        except FolderError as error:
            lost.append(str(error))

    threads = [threading.Thread(target=compete, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert folder.journal.read_text() == str(won[0])
    assert len(lost) == 7
    for sentence in lost:
        tells(sentence, folder.path)


@pytest.mark.parametrize(
    "name",
    [".lock", ".training", "test_readings.jsonl", "tune", "tune/journal.copy.jsonl", "tune/0000", "confirm/tune/0001"],
)
def test_nothing_is_written_through_a_link_of_another_user(folder, tmp_path, monkeypatch, name):
    begin(folder)
    target = tmp_path / "precious"
    target.write_text("precious")
    link = folder.path / name
    shutil.rmtree(link, ignore_errors=True)
    link.unlink(missing_ok=True)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    monkeypatch.setattr("search.experiment.own_code.ROOT_USER", -1)
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 1)
    with pytest.raises(PlaceError) as error, claim_folder(folder, experiment(), resume=True):
        Journal(folder.journal).close()
    tells(error.value, link, "a link of another user", target, "delete it")
    assert target.read_text() == "precious"


def test_a_link_of_ones_own_is_followed(folder, tmp_path):
    begin(folder)
    folder.tune.rename(tmp_path / "large disk")
    folder.tune.symlink_to(tmp_path / "large disk")
    with claim_folder(folder, experiment(), resume=True):
        assert folder.journal.is_file()


def test_a_reading_of_the_test_split_is_not_logged_through_a_link_of_another_user(folder, tmp_path, monkeypatch):
    begin(folder)
    folder.readings.symlink_to(tmp_path / "precious")
    monkeypatch.setattr("search.experiment.own_code.ROOT_USER", -1)
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 1)
    data = registry.options({"name": "digits"}).open()
    with pytest.raises(PlaceError, match="a link of another user"):
        read_test(data, folder, "a test", 8, print)
    assert not (tmp_path / "precious").exists()


def test_a_run_is_found_by_its_name_or_its_folder(tmp_path, monkeypatch):
    runs = tmp_path / "runs"
    for name in ("one", "two"):
        begin(RunFolder(runs / name), f"name={name}")
    monkeypatch.chdir(tmp_path)
    assert find("one", Path("runs")) == Path("runs/one")
    assert find("runs/two", Path("runs")) == Path("runs/two")
    assert find(str(runs / "two"), Path("elsewhere")) == runs / "two"
    with pytest.raises(FolderError) as error:
        find("three", Path("runs"))
    tells(error.value, "'three'", "runs/", "one, two")
    assert len(re.findall(r"\b(one|two)\b", str(error.value))) == 2  # neither is suggested as the name that was meant
    with pytest.raises(FolderError) as error:
        find("one", Path("nowhere"))
    tells(error.value, "'one'", "nowhere/")
    assert "two" not in str(error.value)


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "trials.csv"
    write(path, "été\n")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))  # behaves like a full disk
    try:
        with pytest.raises(OSError) as error:  # noqa: PT011, its number says which
            write(path, "x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert error.value.errno == errno.EFBIG
    assert path.read_text() == "été\n"
    assert [p.name for p in tmp_path.iterdir()] == ["trials.csv"]


def test_a_link_in_the_place_of_the_temporary_file_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / f".file.{os.getpid()}").symlink_to(tmp_path / "precious")
    write(tmp_path / "file", "new")
    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / "file").read_text() == "new"


def test_what_no_text_can_hold_is_written_in_its_place(tmp_path):
    write(tmp_path / "trials.csv", "a\udc80b")
    assert (tmp_path / "trials.csv").read_text() == "a\\udc80b"


def test_a_trials_checkpoints_have_a_folder_of_its_number():
    assert RunFolder(Path("runs/x")).trial(12) == Path("runs/x/tune/0012")
