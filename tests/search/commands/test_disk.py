"""Errors of the disk: places that cannot be written, found before any work, and a disk that fills in a run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

import pytest
from click.testing import Result

from ogmge import checkpoint
from search.run.journal import read
from tests.search.commands.test_train import TRIAL
from tests.support.disks import forbidden, read_only, replaced, small_disk
from tests.support.searches import ONE_WORKER, OWN, command, said, search
from tests.support.tells import tells

Fault = Callable[[Path], AbstractContextManager[None]]


def start(*arguments: str) -> Result:
    """Run `run_search.py` with the first argument "search", or another command."""
    return search(*arguments[1:]) if arguments[0] == "search" else command(*arguments)


def broken_link(path: Path) -> None:
    path.symlink_to("/proc/nowhere")


def endless_link(path: Path) -> None:
    path.symlink_to(path.name)


FILE: Fault = partial(replaced, make=Path.touch)
FOLDER: Fault = partial(replaced, make=Path.mkdir)
BROKEN: Fault = partial(replaced, make=broken_link)
ENDLESS: Fault = partial(replaced, make=endless_link)
LONG = "x" * 300
SEARCH = ["search", "own.yaml", "name=new"]
RESUME = ["search", "own.yaml", "--resume"]
TRAIN = ["train", "trial.yaml", "name=new"]
CONTINUE = ["train", "trial.yaml", "--resume"]
CONFIRM = ["confirm", "own", "--seeds", "1"]
CURVE = ["probe", "own", "--curve"]
CHECK = ["check", "own.yaml"]
IS_FILE, IS_FOLDER, IS_LINK = "is a file, but must be a folder", "is a folder, but must be a file", "is a link to"
RO, FORBIDDEN = "Read-only file system", "" if os.geteuid() else "Operation not permitted"

PLACES: list[tuple[list[str], Fault, str, str, str]] = [  # command, fault, where it is, path and reason that are told
    *((command, *place) for command in (SEARCH, TRAIN) for place in (
        (FILE, "runs", "runs", IS_FILE),
        (BROKEN, "runs", "runs", f"{IS_LINK} /proc/nowhere"),
        (read_only, "runs", "runs/new", RO),
        (forbidden, "runs", "runs/new", FORBIDDEN),
    )),
    (SEARCH, ENDLESS, "runs", "runs", IS_LINK),
    (SEARCH, FILE, "runs/new", "runs/new", IS_FILE),
    (SEARCH, BROKEN, "runs/new", "runs/new", IS_LINK),
    (RESUME, read_only, "runs/own", "runs/own", RO),
    (RESUME, forbidden, "runs/own", "runs/own", FORBIDDEN),
    (RESUME, FILE, "runs/own/tune", "runs/own/tune", IS_FILE),
    (RESUME, FILE, "runs/own/confirm", "runs/own/confirm", IS_FILE),
    *((RESUME, FOLDER, f"runs/own/{name}", f"runs/own/{name}", IS_FOLDER) for name in (
        ".lock", "experiment.yaml", "run.json", "best.yaml", "trials.csv", "report.html", "tune/journal.jsonl",
    )),
    (TRAIN, FOLDER, "runs/mlflow.db", "runs/mlflow.db", IS_FOLDER),
    (TRAIN, BROKEN, "runs/mlflow.db", "runs/mlflow.db", IS_LINK),
    (TRAIN, forbidden, "runs/mlflow.db", "runs/mlflow.db", "Permission denied"),
    (TRAIN, FOLDER, "runs/.mlflow.lock", "runs/.mlflow.lock", IS_FOLDER),
    (TRAIN, FILE, "runs/mlartifacts", "runs/mlartifacts", IS_FILE),
    *((CONTINUE, FOLDER, f"runs/alone/{name}", f"runs/alone/{name}", IS_FOLDER) for name in (
        "train.json", "last.pt", "best.pt", "test_readings.jsonl",
    )),
    (CONFIRM, read_only, "runs/own", "runs/own/.lock", RO),
    (CONFIRM, forbidden, "runs/own", "runs/own", FORBIDDEN),
    (CONFIRM, FILE, "runs/own/confirm", "runs/own/confirm", IS_FILE),
    (CONFIRM, BROKEN, "runs/own/confirm", "runs/own/confirm", IS_LINK),
    (CONFIRM, FOLDER, "runs/own/verdict.json", "runs/own/verdict.json", IS_FOLDER),
    (CURVE, FILE, "runs/own/probe_curve", "runs/own/probe_curve", IS_FILE),
    (["export", "own", "-o", "no/best.yaml"], FILE, "x", "no/best.yaml", "create its folder first"),
    (["export", "own", "-o", "x/best.yaml"], FILE, "x", "x/best.yaml", IS_FILE),
    (["export", "own", "-o", f"{LONG}.yaml"], FILE, "x", f"{LONG}.yaml", "choose a shorter name"),
    (["export", "own"], read_only, "runs/own", "runs/own/.lock", RO),
    (["export", LONG], FILE, "x", LONG, "choose a shorter name"),
    (["report", "own"], read_only, "runs/own", "runs/own/report.html", RO),
    (["report", "own"], FOLDER, "runs/own/report.html", "runs/own/report.html", IS_FOLDER),
    (["report", "own", "-o", "no/such.html"], FILE, "x", "no/such.html", "create its folder first"),
    (["report", "own", "-o", "x/x.html"], BROKEN, "x", "x/x.html", IS_LINK),
    (["evaluate", "alone"], read_only, "runs/alone", "runs/alone", "-o FOLDER"),
    (["evaluate", "alone"], forbidden, "runs/alone", "runs/alone", "-o FOLDER"),
    (["evaluate", "alone"], FOLDER, "runs/alone/evaluation.json", "runs/alone/evaluation.json", IS_FOLDER),
    (["evaluate", "alone"], FOLDER, "runs/alone/test_readings.jsonl", "runs/alone/test_readings.jsonl", "logged"),
    (["evaluate", "alone", "-o", "x"], BROKEN, "x", "x", IS_LINK),
    (["evaluate", LONG], FILE, "x", LONG, "choose a shorter name"),
    (["probe", "alone"], read_only, "runs/alone", "runs/alone/probe", RO),
    (["probe", "alone"], FILE, "runs/alone/probe", "runs/alone/probe", IS_FILE),
    (["probe", "alone"], BROKEN, "runs/alone/probe", "runs/alone/probe", IS_LINK),
    (["probe", "alone"], FOLDER, "runs/alone/probe/probe.png", "runs/alone/probe/probe.png", IS_FOLDER),
    (["probe", "alone", "--unimodal"], FILE, "runs/alone/probe/left", "runs/alone/probe/left", IS_FILE),
    (CHECK, FILE, "runs/sheets", "runs/sheets", IS_FILE),
    (CHECK, read_only, "runs", "runs/sheets", RO),
    (CHECK, FOLDER, "runs/sheets/own.png", "runs/sheets/own.png", IS_FOLDER),
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(searched: tuple[Path, Result], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the finished search `own` and the finished training `alone`."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(searched[0], folder, dirs_exist_ok=True)
    (folder / "trial.yaml").write_text(TRIAL.format(kind="Drawn", options=""))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = command("train", "trial.yaml")
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    own = (tmp_path / "runs/own/experiment.yaml").read_text()
    (tmp_path / "own.yaml").write_text(own)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def name_of(value: object) -> str | None:
    return getattr(getattr(value, "keywords", {}).get("make", value), "__name__", None)


@pytest.mark.parametrize(("arguments", "fault", "place", "path", "reason"), PLACES, ids=name_of)
def test_a_place_that_cannot_be_written_is_told_before_any_work(here, arguments, fault, place, path, reason):
    before = (here / "runs/alone/test_readings.jsonl").read_text()
    with ExitStack() as stack:
        stack.enter_context(fault(Path(place)))
        result = start(*arguments)
    assert result.exit_code == 2, result.output
    tells(said(result).replace(f"{here}/", ""), path, reason)
    assert "Traceback" not in result.output
    kept = next(here.glob("runs*/alone/test_readings.jsonl*"), None)
    assert kept is None or not kept.is_file() or kept.read_text() == before
    assert not (here / "runs/new/tune").exists()


# ---- a disk that fills ----


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    with small_disk(tmp_path / "runs", 24) as runs:
        yield runs


def options(disk: Path, split: str, left: int = 0) -> str:
    return f", disk: {disk}, split: {split}, left: {left}"


def test_a_training_on_a_full_disk_keeps_its_epochs_and_goes_on_when_there_is_room(disk):
    Path("trial.yaml").write_text(TRIAL.format(kind="Filling", options=options(disk, "train")))
    result = command("train", "trial.yaml")
    assert result.exit_code == 1, result.output
    tells(said(result), "No space left on device", "runs/alone", "uv run python -m search train trial.yaml --resume")
    assert len(checkpoint.load(disk / "alone/last.pt")["history"]) == 1
    assert not [file for file in (disk / "alone").iterdir() if file.suffix == ".tmp"]
    (disk / "ballast").unlink()
    Path("trial.yaml").write_text(TRIAL.format(kind="Filling", options=options(disk, "train")))
    result = command("train", "trial.yaml", "--resume")
    assert result.exit_code == 0, result.output
    assert len(checkpoint.load(disk / "alone/last.pt")["history"]) == 3


def test_a_model_that_cannot_be_registered_on_a_full_disk_is_not_listed(disk):
    Path("trial.yaml").write_text(TRIAL.format(kind="Filling", options=options(disk, "test")))
    result = command("train", "trial.yaml")
    assert result.exit_code == 0, result.output
    tells(said(result), "test/accuracy", "runs/alone/best.pt", "missing from MLflow")
    assert "@champion" not in result.output
    assert "Traceback" not in result.output
    assert checkpoint.load(disk / "alone/best.pt")


@pytest.fixture
def frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Yield a function from a folder to the options of a data set that forbids writing to it."""
    monkeypatch.chdir(tmp_path)
    with forbidden(tmp_path):
        pass  # skips where this is not possible
    if os.geteuid():
        pytest.skip("needs root")
    yield lambda folder: f", folder: {tmp_path / folder}, allowed: {tmp_path / 'allowed'}"
    subprocess.run(["chattr", "-R", "-i", tmp_path], check=True)


def test_a_training_that_may_write_no_longer_keeps_its_epochs_and_goes_on(frozen, tmp_path):
    Path("trial.yaml").write_text(TRIAL.format(kind="Forbidding", options=frozen("runs/alone")))
    result = command("train", "trial.yaml")
    assert result.exit_code == 1, result.output
    resume = "uv run python -m search train trial.yaml --resume"
    tells(said(result), "Operation not permitted", "runs/alone/best.pt", resume)
    subprocess.run(["chattr", "-i", "runs/alone"], check=True)
    assert len(checkpoint.load(tmp_path / "runs/alone/last.pt")["history"]) == 1
    (tmp_path / "allowed").touch()
    result = command("train", "trial.yaml", "--resume")
    assert result.exit_code == 0, result.output


@pytest.mark.slow
def test_a_trial_that_may_write_no_longer_halts_the_search_and_is_not_a_failure(ray_instance, frozen):
    Path("own.yaml").write_text(OWN.format(kind=f"Forbidding{frozen('runs/own/tune/0000')}"))
    result = search("own.yaml", "search.trials=2", "trial.epochs=2", ONE_WORKER)
    assert result.exit_code == 1, result.output
    tells(said(result), "Operation not permitted", "runs/own/tune/0000/best.pt", "--resume")
    statuses = {trial.status for trial in read(Path("runs/own/tune/journal.jsonl"))}
    assert "failed" not in statuses


@pytest.mark.slow
def test_a_disk_that_fills_before_the_report_lists_only_files_that_are_written(ray_instance, disk):
    Path("own.yaml").write_text(OWN.format(kind=f"Filling{options(disk, 'train', 3_000_000)}"))
    result = search("own.yaml", "search.trials=2", "trial.epochs=2", ONE_WORKER)
    listed = re.findall(r"^(?:configuration|report) +(runs/.*)$", result.output, re.MULTILINE)
    assert listed == ["runs/own/best.yaml"], result.output
    tells(said(result), "runs/own/report.html was not written", "No space left on device")
    assert not (disk / "own/report.html").exists()
    (disk / "ballast").unlink()
    assert command("report", "own").exit_code == 0


@pytest.mark.slow
@pytest.mark.longer
def test_a_confirmation_on_a_full_disk_keeps_its_trainings_and_goes_on_when_there_is_room(ray_instance, disk):
    Path("own.yaml").write_text(OWN.format(kind=f"Filling{options(disk, 'train')}"))
    (disk / "held").touch()
    result = search("own.yaml", "search.trials=2", "trial.epochs=2", ONE_WORKER)
    assert result.exit_code == 0, result.output
    (disk / "held").unlink()
    result = command("confirm", "own", "--seeds", "1")
    assert result.exit_code == 1, result.output
    tells(said(result), "No space left on device", "uv run python -m search confirm own --seeds 1")
    assert not (disk / "own/verdict.json").exists()
    (disk / "ballast").unlink()
    result = command("confirm", "own", "--seeds", "1")
    assert (disk / "own/verdict.json").exists(), result.output
