"""Whole searches with real Ray processes, a real MLflow store and real files."""

from __future__ import annotations

import csv
import shlex
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch

from ogmge import checkpoint
from search.experiment.formatting import duration
from search.experiment.load import load
from search.run.journal import Journal
from tests.support.searches import (
    DEMO,
    FINISHED,
    ONE_WORKER,
    children,
    command,
    journal_in,
    own,
    search,
)
from tests.support.tells import tells

MODALITIES = ("left", "right")


def test_a_search_says_what_it_found_and_where_it_is(searched):
    folder, result = searched
    record = Journal(folder / "runs/own/tune/journal.jsonl").replay()
    best = [f"{100 * max(t.best for t in record if t.arm == arm):.1f}" for arm in ("modulated", "baseline")]
    tells(result.output, "best modulated", "best baseline", *best, *MODALITIES, "runs/own/best.yaml")
    tells(result.output, "uv run python -m search confirm own", "uv run python -m search train runs/own/best.yaml")


def test_a_search_leaves_its_files(searched, monkeypatch):
    folder, _ = searched
    monkeypatch.chdir(folder)
    run = folder / "runs" / "own"
    rows = list(csv.DictReader((run / "trials.csv").open()))
    assert Counter(row["arm"] for row in rows) == {"baseline": 3, "modulated": 3}
    assert {row["status"] for row in rows} <= {"finished", "stopped"}
    assert load(run / "experiment.yaml") == load(Path(FINISHED[0]), FINISHED[1:])
    assert not list(run.rglob("last.pt"))  # nothing is left to resume
    assert not [*run.rglob("events.out.tfevents*"), *run.rglob("progress.csv")]  # Tune's loggers are disabled
    best = load(run / "best.yaml")
    chosen = next(row for row in rows if row["trial"] == str(best.origin.trial))
    assert float(chosen["val/accuracy"]) == max(float(row["val/accuracy"]) for row in rows)
    assert not best.space
    assert best.trial.fusion == chosen["fusion"]


def most_at_once(tune: Path) -> int:
    running, most = set(), 0
    for event in journal_in(tune):
        running |= {event["number"]} if event["event"] == "started" else set()
        running -= {event["number"]} if event["event"] == "ended" else set()
        most = max(most, len(running))
    return most


def test_half_a_gpu_packs_two_trials_on_it_and_each_pays_for_its_half(searched):
    """The CPUs suffice for four trials."""
    folder, _ = searched
    assert most_at_once(folder / "runs/own/tune") == 2
    record = Journal(folder / "runs/own/tune/journal.jsonl").replay()
    seconds = sum(metrics["seconds"] for trial in record for metrics in trial.epochs)
    assert record.spent.gpu_seconds == pytest.approx(seconds / 2)


def test_mlflow_has_a_run_for_the_search_and_a_child_for_each_trial(searched):
    folder, _ = searched
    parent, trials, client = children(folder, "own")
    journal = Journal(folder / "runs" / "own" / "tune" / "journal.jsonl").replay()
    assert parent.info.status == "FINISHED"
    assert len(trials) == 6
    expected = {name: name for name in ("train/loss", "val/loss", "val/accuracy")}
    expected |= {"optimizer/learning_rate": "learning_rate", "time/seconds": "seconds", "val/best": "best"}
    expected |= {n: n for n in (f"{w}/{u}" for w in ("val/accuracy", "ratio", "coefficient") for u in MODALITIES)}
    for run, record in zip(trials, journal, strict=True):
        assert set(expected) <= set(run.data.metrics)
        for metric, ours in expected.items():
            history = client.get_metric_history(run.info.run_id, metric)
            assert [(m.step, m.value) for m in history] == [(e, m[ours]) for e, m in enumerate(record.epochs)]
        assert run.data.params["optimizer.lr"] == str(record.changes["optimizer.lr"])
        assert run.data.params["modulation.method"] == record.changes["modulation.method"]
        assert run.info.status == {"finished": "FINISHED", "stopped": "KILLED"}[record.status]
        assert run.data.tags.get("stop_reason", "") == str(record.reason or "")
        assert run.data.tags["dataset.fingerprint"] == parent.data.tags["dataset.fingerprint"]
        assert run.data.tags["version.torch"] == torch.__version__.partition("+")[0]
        assert [a.path for a in client.list_artifacts(run.info.run_id)] == ["best.pt"]
    assert "stopped" in {t.status for t in journal}, "no trial was stopped early: the test shows less than it says"


def test_the_weights_in_mlflow_are_those_of_the_best_epoch(searched, tmp_path):
    folder, _ = searched
    _, trials, client = children(folder, "own")
    for run in trials:
        path = client.download_artifacts(run.info.run_id, "best.pt", str(tmp_path))
        history = client.get_metric_history(run.info.run_id, "val/accuracy")
        metrics = checkpoint.load(Path(path))["metrics"]
        assert metrics["val/accuracy"] == max(m.value for m in history)
        assert metrics["epoch"] == min(m.step for m in history if m.value == metrics["val/accuracy"])


def test_the_baseline_arm_is_never_modulated(searched):
    folder, _ = searched
    _, trials, _ = children(folder, "own")
    for run in trials:
        baseline = run.data.tags["arm"] == "baseline"
        assert (run.data.params["modulation.method"] == "none") is baseline
        if baseline:
            assert {run.data.metrics[f"coefficient/{u}"] for u in MODALITIES} == {1.0}


def test_best_yaml_trains_as_it_stands(searched, tmp_path, monkeypatch):
    shutil.copytree(searched[0], tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    found = checkpoint_value(Path("runs/own/best.yaml"))
    result = command("train", "runs/own/best.yaml")
    assert result.exit_code == 0, result.output
    again = checkpoint.load(Path("runs/own-best/best.pt"))["metrics"]["val/accuracy"]
    assert again == found
    run, none, _ = children(Path(), "own-best")
    assert run.info.status == "FINISHED"
    assert run.data.metrics["val/best"] == again
    assert not none


def checkpoint_value(best_yaml: Path) -> float:
    number = load(best_yaml).origin.trial
    state = checkpoint.load(best_yaml.parent / "tune" / f"{number:04d}" / "best.pt")
    return float(state["metrics"]["val/accuracy"])


def test_the_same_name_twice_is_refused_and_a_resume_of_what_is_done_says_it_again(searched, tmp_path, monkeypatch):
    shutil.copytree(searched[0], tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    again = search(*FINISHED)
    assert (again.exit_code, again.stdout) == (2, "")
    tells(again.stderr, "runs/own", "--resume")
    resumed = search(*FINISHED, "--resume")
    assert resumed.exit_code == 0
    wall = Journal(Path("runs/own/tune/journal.jsonl")).replay().spent.wall_seconds
    tells(resumed.output, f"6 trials in {duration(wall)}")  # not the second that the command took
    assert searched[1].output.partition("best modulated")[2] == resumed.output.partition("best modulated")[2]
    other = search(*FINISHED, "trial.epochs=5", "--resume")
    assert other.exit_code == 2
    tells(other.stderr, "`trial.epochs`", 4, 5)


def test_more_trials_can_be_asked_for_on_resume(searched, tmp_path, monkeypatch):
    shutil.copytree(searched[0], tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    _, before, _ = children(Path(), "own")
    result = search(*FINISHED, ONE_WORKER, "search.trials=8", "--resume")
    assert result.exit_code == 0, result.output
    _, trials, _ = children(Path(), "own")
    assert [run.info.run_id for run in trials[:6]] == [run.info.run_id for run in before]
    assert len(trials) == 8
    assert {run.info.status for run in trials} <= {"FINISHED", "KILLED"}


def test_a_loss_that_is_not_a_number_fails_its_trial_and_the_search_goes_on(ray_instance, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ["space={optimizer.lr: [1e-2, 1e30]}", ONE_WORKER]
    result = search(own("Vectors", tmp_path), *small)
    assert result.exit_code == 0, result.output
    parent, trials, _ = children(tmp_path, "own")
    assert parent.info.status == "FINISHED"
    assert len(trials) == 4  # all configurations of the space
    failed = [run for run in trials if run.data.params["optimizer.lr"] == "1e+30"]
    assert len(failed) == 2
    for run in trials:
        assert run.info.status == ("FAILED" if run in failed else "FINISHED")
    for run in failed:
        tells(run.data.tags["error"], "epoch 0", "step 1", "1e+30")
    tells(result.output, "2 failed")


def test_a_search_in_which_every_trial_fails_says_why(ray_instance, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = search(own("Broken", tmp_path), "search.trials=2", ONE_WORKER)
    assert result.exit_code == 1
    tells(result.stderr, "trial 0", "OSError: clip 17 is damaged")
    parent, trials, _ = children(tmp_path, "own")
    assert {run.info.status for run in (parent, *trials)} == {"FAILED"}


@pytest.mark.parametrize(("cpu", "again"), [(1, 1), pytest.param(0.5, 2, marks=[pytest.mark.slow, pytest.mark.longer])])
def test_a_trial_that_runs_out_of_memory_goes_on_with_more(ray_instance, tmp_path, monkeypatch, cpu, again):
    """A trial needs two CPUs: after each failure, twice as many are tried."""
    monkeypatch.chdir(tmp_path)
    result = search(own("Hungry", tmp_path), f"search.resources.cpu={cpu}", "search.trials=2")
    assert result.exit_code == 0, result.output
    events = journal_in(tmp_path / "runs/own/tune")
    for number in (0, 1):
        happened = [e["event"] for e in events if e["number"] == number and e["event"] != "suggested"]
        more = ["out_of_memory", "started"] * again
        assert happened == ["started", "reported", *more, "reported", "reported", "ended"]
    _, trials, _ = children(tmp_path, "own")
    assert [run.info.status for run in trials] == ["FINISHED"] * 2


@pytest.mark.slow
@pytest.mark.longer
def test_a_trial_fails_that_runs_out_of_memory_with_all_that_there_is(ray_instance, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = search(own("Hungry", tmp_path), "dataset.cpus=3", "search.trials=2")
    assert result.exit_code == 1, result.output
    tells(result.stderr, "trial 0", "2 CPU", "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.slow
def test_a_full_disk_halts_the_search_which_goes_on_when_there_is_room(ray_instance, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [own("NoRoom", tmp_path), f"dataset.room={tmp_path / 'room'}", ONE_WORKER]
    result = search(*words)
    assert result.exit_code == 1, result.output
    tells(result.stderr, "No space left on device", "last.pt", f"uv run run_search.py {shlex.join(words)} --resume")
    assert "Traceback" not in result.output
    record = Journal(tmp_path / "runs/own/tune/journal.jsonl").replay()
    assert {t.status for t in record} == {"running"}
    (tmp_path / "room").touch()
    result = search(*words, "--resume")
    assert result.exit_code == 0, result.output
    assert {t.status for t in Journal(tmp_path / "runs/own/tune/journal.jsonl").replay()} == {"finished"}
    _, trials, client = children(tmp_path, "own")
    for run in trials:
        assert [m.step for m in client.get_metric_history(run.info.run_id, "val/loss")] == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["nothere.yaml"], ["nothere.yaml", "No such file or directory"]),
        ([DEMO, "trial.epochs"], ["key=value", "'trial.epochs'"]),
        ([DEMO, "trial.epochs=two"], ["`trial.epochs`", "whole number", "'two'", "command line"]),
        ([DEMO, "search.metric=val/acc"], ["`search.metric`", "val/accuracy", "val/loss"]),
        ([DEMO, "search.resources.cpu=64"], ["`search.resources.cpu`", "64 CPU", "Ray", "2 CPU"]),
        ([DEMO, "space={}"], ["`space`"]),
        ([DEMO, "--resume"], ["runs/demo", "without --resume"]),
        ([DEMO, "dataset={name: tests.support.own_data:NotPrepared}"], ["`python -m search prepare`"]),
        ([DEMO, "trial.encoder=torchvision:resnet0"], ["torchvision", "'resnet0'"]),
    ],
)
def test_a_mistake_gets_a_sentence_and_leaves_nothing_behind(ray_instance, tmp_path, monkeypatch, arguments, facts):
    monkeypatch.chdir(tmp_path)
    result = search(*arguments)
    assert result.exit_code == 2
    tells(result.stderr, *facts)
    assert "Traceback" not in result.output
    assert not (tmp_path / "runs" / "demo").exists()


REFUSED = {
    "wrong key": ["own.yaml", "search.trials=0"],
    "no file": ["missing.yaml"],
    "no data": ["own.yaml", "dataset={name: tests.support.own_data:NotPrepared}"],
    "taken name": ["own.yaml", "name=taken"],
    "nothing to resume": ["own.yaml", "--resume"],
    "too many CPUs": ["own.yaml", "search.resources={cpu: 500, gpu: 0}"],
    "no server": ["own.yaml", "tracking.uri=http://127.0.0.1:1"],
    "no folder for the database": ["own.yaml", "tracking.uri=sqlite:////missing/mlflow.db"],
}


@pytest.mark.parametrize("arguments", REFUSED.values(), ids=REFUSED)
def test_a_refused_search_leaves_nothing_in_mlflow(ray_instance, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("search.tracking.outbox.AGAIN_AFTER_S", 0.0)
    own("Vectors", tmp_path)
    (tmp_path / "runs" / "taken").mkdir(parents=True)
    (tmp_path / "runs" / "taken" / "mine.txt").touch()
    refused = search(*arguments)
    assert refused.exit_code == 2, refused.output
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} - {"runs/.mlflow.lock"}
    assert left == {"own.yaml", "runs", "runs/taken", "runs/taken/mine.txt"}
