"""Files that a run or a store reads back, damaged: a sentence that names the file, or as if it were missing."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from datasets.registry import DatasetError
from datasets.store.prepare import _read_plan
from datasets.store.shards import read_shard
from datasets.store.store import Manifest
from ogmge.checkpoint import CheckpointError
from ogmge.checkpoint import load as load_checkpoint
from search.commands.run_trials import _earlier_packing
from search.commands.train import _read_job
from search.experiment.load import load
from search.experiment.mistakes import UserError
from search.models.probe_curve import curve_file, read_curves
from search.run.checkpoints import storage_of
from search.run.folder import RunFolder, claim_folder, identify
from search.run.journal import Journal
from search.run.journal import read as read_journal
from search.run.test_log import readings
from search.tracking.client import read_run_id
from search.verdict.evidence import read_evidence
from search.verdict.plan import read_plan
from search.verdict.probe_plan import _read as read_probe_plan
from tests.search.tuner.test_tuner import experiment
from tests.support.tells import tells

Read = Callable[[RunFolder], Any]


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def empty(path: Path) -> None:
    path.touch()


def garbage(path: Path) -> None:
    path.write_bytes(b"\x00\xff\xfe\x80 garbage\n")


def other_json(path: Path) -> None:
    path.write_text('{"a": {"b": 1}}\n')


def other_list(path: Path) -> None:
    path.write_text("[1, 2]\n")


def nested(path: Path) -> None:
    path.write_text("[" * 100_000)


def secret(path: Path) -> None:
    path.write_text("{}\n")
    path.chmod(0)
    path.parent.chmod(0o777)  # for a command that also writes there


UNREADABLE = (folder, pipe, secret)
DAMAGED = (empty, garbage, other_json, other_list, nested)


def resume(run: RunFolder) -> None:
    with claim_folder(run, experiment(), resume=True):
        pass


def with_storage(run: RunFolder) -> None:
    storage_of(experiment(f"search.storage={run.path}"), run)


REFUSED: list[tuple[str, Read]] = [
    ("experiment.yaml", lambda run: load(run.experiment)),
    ("experiment.yaml", resume),
    ("run.json", lambda run: identify(run, "x")),
    ("tune/journal.jsonl", lambda run: Journal(run.journal)),
    ("tune/journal.jsonl", lambda run: read_journal(run.journal)),
    ("tune/journal.copy.jsonl", lambda run: Journal(run.journal)),
    ("storage", with_storage),
    ("train.json", lambda run: _read_job(run.training)),
    ("verdict.json", lambda run: read_evidence(run.verdict)),
    ("confirm/plan.json", lambda run: read_plan(run.confirmation.path / "plan.json")),
    ("probe_curve/plan.json", lambda run: read_probe_plan(run.probe_curve.path / "plan.json")),
    ("probe_curve/probe_curve.json", read_curves),
    ("best.pt", lambda run: load_checkpoint(run.path / "best.pt")),
    ("last.pt", lambda run: load_checkpoint(run.path / "last.pt")),
    ("manifest.json", lambda run: Manifest.read(run.path)),
    ("plan.json", lambda run: _read_plan(run.path)),
]
ELSEWHERE = {  # damaged lines are dropped, another plan is another store: in test_journal.py, test_prepare.py
    *((f"tune/{name}.jsonl", damage) for name in ("journal", "journal.copy") for damage in DAMAGED),
    ("plan.json", other_json),
}
AS_IF_MISSING: list[tuple[str, Read, Any]] = [
    ("tune/packing.json", lambda run: _earlier_packing(run, []), None),
    ("mlflow.json", lambda run: read_run_id(run.path), None),
]


@pytest.fixture
def run() -> Iterator[RunFolder]:
    """Folder that other users can open."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield RunFolder(path)
    shutil.rmtree(path)


def put(run: RunFolder, name: str, damage: Callable[[Path], None]) -> Path:
    path = run.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    damage(path)
    return path


def read_as_user(read: Read, run: RunFolder, damage: Callable[[Path], None]) -> Any:
    """Read; a file without permission as another user, because the superuser can read everything."""
    user = os.geteuid()
    if user == 0 and damage is secret:
        os.seteuid(65534)
    try:
        return read(run)
    finally:
        os.seteuid(user)


@pytest.mark.parametrize(
    ("name", "read", "damage"),
    [(*row, damage) for row in REFUSED for damage in (*UNREADABLE, *DAMAGED) if (row[0], damage) not in ELSEWHERE],
)
def test_a_file_that_decides_how_to_go_on_is_refused_by_name(run, name, read, damage):
    path = put(run, name, damage)
    with pytest.raises((UserError, DatasetError, CheckpointError)) as found:
        read_as_user(read, run, damage)
    tells(found.value, path)


@pytest.mark.parametrize("damage", [*UNREADABLE, *DAMAGED])
@pytest.mark.parametrize(("name", "read", "missing"), AS_IF_MISSING)
def test_a_file_that_can_be_made_again_counts_as_missing(run, name, read, missing, damage):
    put(run, name, damage)
    assert read_as_user(read, run, damage) == missing


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_description_of_a_shard_counts_as_missing(run, damage):
    assert read_shard(put(run, "shard-00000.json", damage)) is None


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_log_of_test_readings_counts_as_readings(run, damage):
    put(run, "test_readings.jsonl", damage)
    assert {line["time"] for line in readings(run)} == ({"time unknown"} if damage is not empty else set())


@pytest.mark.parametrize("name", ["run.json", "verdict.json", "probe_curve/probe_curve.json", "manifest.json"])
def test_a_file_of_a_newer_version_is_refused_by_its_version(run, name):
    versions = {"version": 99, "manifest": {"version": 99}}
    put(run, name, lambda path: path.write_text(json.dumps(versions)))
    read = next(read for other, read in REFUSED if other == name)
    with pytest.raises((UserError, DatasetError)) as found:
        read(run)
    tells(found.value, "version 99", "this program reads")


def test_the_files_of_this_table_are_those_of_a_run():
    names = {name for name, *_ in [*REFUSED, *AS_IF_MISSING]}
    run = RunFolder(Path())
    assert {str(curve_file(run)), str(run.packing), str(run.training), str(run.storage), str(run.identity)} <= names
