"""Trials keep their checkpoints at a path or URI that all nodes can access, and resume from there on any node."""

from __future__ import annotations

import shlex
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from datasets.store.remote import Remote
from ogmge import checkpoint, fit
from search.experiment.load import load
from search.run.checkpoints import Storage, storage_of
from search.run.folder import RunFolder
from search.run.journal import Journal
from tests.support.own_data import Batch, Vectors
from tests.support.searches import ONE_WORKER, children, journal_in, own, search
from tests.support.tells import tells


class Counted(Vectors):
    """Data set that notes which epochs are trained."""

    trained: ClassVar[list[int]] = []

    def train(self, *, batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
        self.trained.append(epoch)
        yield from super().train(batch_size=batch_size, seed=seed, epoch=epoch)


class Killed(BaseException):
    """Exception that ends a training between two epochs."""


@pytest.mark.parametrize("kind", ["path", "file", "s3"])
def test_a_trial_goes_on_from_its_last_epoch_on_another_machine(tmp_path, monkeypatch, kind, request):
    """The other machine has its own folder for temporary files, and no other file of the trial."""
    where = {"path": str(tmp_path / "there"), "file": (tmp_path / "there").as_uri()}.get(kind)
    Counted.trained.clear()
    storage = Storage(where or request.getfixturevalue("s3")(tmp_path.name), "own-1f2e")
    config, objective = load(Path(own("Vectors", tmp_path))).trial, fit.Objective("val/loss", "min")

    def train(machine: str, epochs: int) -> list[dict[str, float]]:
        (tmp_path / machine).mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / machine))
        seen: list[dict[str, float]] = []
        with storage.training(3) as (folder, keep):

            def report(metrics: dict[str, float]) -> None:
                keep()
                seen.append(metrics)
                if len(seen) == epochs:
                    raise Killed

            fit.train(config, Counted(), report, folder=folder, objective=objective)
        return seen

    with pytest.raises(Killed):
        train("first", 2)
    whole = train("second", 4)
    assert [m["epoch"] for m in whole] == [0, 1, 2]
    assert Counted.trained == [0, 1, 2]  # each once
    fit.train(config, Vectors(), lambda m: None, folder=tmp_path / "alone", objective=objective)
    alone = checkpoint.load(tmp_path / "alone" / "last.pt")["history"]
    timeless = [[{k: v for k, v in m.items() if k != "seconds"} for m in history] for history in (whole, alone)]
    assert timeless[0] == timeless[1]
    weights = storage.weights(3, tmp_path / "here")
    best = checkpoint.load(weights)
    assert best["metrics"]["val/loss"] == whole[-1]["best"]
    assert weights.is_relative_to(tmp_path / ("there" if kind == "path" else "here"))
    assert not list(tmp_path.glob("first/own*")) + list(tmp_path.glob("second/own*"))
    storage.tidy(3)
    assert not Remote(storage.where).exists("own-1f2e/0003/last.pt")
    assert Remote(storage.where).exists("own-1f2e/0003/best.pt")


def test_only_what_is_new_is_put(tmp_path):
    storage = Storage((tmp_path / "there").as_uri(), "own-1f2e")
    last = tmp_path / "there" / "own-1f2e" / "0000" / "last.pt"
    for _ in range(2):
        with storage.training(0) as (folder, keep):
            if not (folder / "last.pt").exists():
                (folder / "last.pt").write_text("epoch 0")
            keep()
            before = last.stat()
            keep()
            assert last.stat() == before


def test_what_a_killed_worker_left_is_taken_away(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    for name in ("own-1f2e-0003-abc", "own-1f2e-0004-abc", "own-77-0003-abc"):
        (tmp_path / "tmp" / name).mkdir(parents=True)
    with Storage((tmp_path / "there").as_uri(), "own-1f2e").training(3):
        pass
    assert {path.name for path in (tmp_path / "tmp").iterdir()} == {"own-1f2e-0004-abc", "own-77-0003-abc"}


def test_two_runs_of_one_name_do_not_meet(tmp_path):
    experiment = load(Path(own("Vectors", tmp_path)), [f"search.storage={tmp_path / 'there'}"])
    folders = [RunFolder(tmp_path / where / "runs" / "own") for where in ("a", "b")]
    for folder in folders:
        folder.path.mkdir(parents=True)
    first, second = (storage_of(experiment, folder) for folder in folders)
    assert first.run != second.run
    assert first.where == second.where == str(tmp_path / "there")
    assert storage_of(experiment, folders[0]) == first  # on resume


def test_a_worker_that_is_killed_costs_the_epoch_it_was_in_of_a_search_that_keeps_its_trials_at_a_uri(
    ray_instance, tmp_path, monkeypatch
):
    """The worker is killed in the second epoch; its trial resumes after the first."""
    monkeypatch.chdir(tmp_path)
    there = tmp_path / "Daten é"
    words = [f"dataset.marker={tmp_path / 'killed'}", "search.trials=2", f"search.storage={there.as_uri()}", ONE_WORKER]
    result = search(own("Deadly", tmp_path), *words)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "killed").exists()
    (run,) = there.iterdir()
    assert run.name == (tmp_path / "runs" / "own" / "storage").read_text()
    tells(result.output, run.name, there.as_uri(), "96 validation examples")
    assert sorted(str(p.relative_to(run)) for p in run.rglob("*.pt")) == ["0000/best.pt", "0001/best.pt"]
    assert not list(Path(tempfile.gettempdir()).glob(f"{run.name}*"))
    _, trials, client = children(tmp_path, "own")
    for number, trial in enumerate(trials):
        assert [m.step for m in client.get_metric_history(trial.info.run_id, "val/loss")] == [0, 1, 2]
        path = client.download_artifacts(trial.info.run_id, "best.pt", str(tmp_path))
        assert Path(path).read_bytes() == (run / f"{number:04d}" / "best.pt").read_bytes()
    events = journal_in(tmp_path / "runs/own/tune")
    assert sorted(Counter(e["number"] for e in events if e["event"] == "started").values()) == [1, 2]


@pytest.mark.slow
def test_a_storage_that_is_gone_halts_the_search_which_goes_on_when_it_is_back(ray_instance, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    there = tmp_path / "there"
    words = [own("Unplugged", tmp_path), f"dataset.folder={there}", f"search.storage={there.as_uri()}", ONE_WORKER]
    result = search(*words)
    assert result.exit_code == 1, result.output
    tells(result.stderr, there.as_uri(), f"uv run run_search.py {shlex.join(words)} --resume")
    there.unlink()
    there.with_suffix(".away").rename(there)
    (tmp_path / "there.away").mkdir()
    result = search(*words, "--resume")
    assert result.exit_code == 0, result.output
    assert {t.status for t in Journal(tmp_path / "runs/own/tune/journal.jsonl").replay()} == {"finished"}


def test_a_storage_that_cannot_be_is_told_before_the_first_trial(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ray.init", lambda **options: pytest.fail("Ray was started"))
    result = search(own("Vectors", tmp_path), "search.storage=file:///proc/x")
    assert result.exit_code == 2, result.output
    tells(result.stderr, "`search.storage`", "file:///proc/x")
    assert "Traceback" not in result.output
    assert not (tmp_path / "runs" / "own").exists()
    result = search(own("Vectors", tmp_path), "search.storage=s3://key:word@bucket/x")
    assert result.exit_code == 2
    tells(result.stderr, "`search.storage`", "password")
    assert "word@" not in result.output
