"""Whole searches, as users start them: real Ray processes, a real MLflow store, real files."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import mlflow
import pytest
import torch
from click.testing import CliRunner, Result

from ogmge import checkpoint
from search.cli import main, search_command
from search.record import Journal
from search.validation import load

ROOT = Path(__file__).resolve().parent.parent
DEMO = str(ROOT / "experiments" / "demo.yaml")
QUICK = [
    "search.trials=6",
    "trial.epochs=4",
    "trial.schedule.milestones=[3]",
    "search.scheduler={name: asha, grace_epochs: 1}",
    "confirm=null",
]

OWN = """
name: own
dataset: {{name: tests.own_data:{kind}}}
trial:
  epochs: 3
  batch_size: 32
  encoder: mlp
  modulation: {{method: ogm, alpha: 0.5, parameters: all}}
space:
  fusion: [concat, sum]
  optimizer.lr: [1e-3, 1e-2]
search: {{trials: 4, scheduler: {{name: none}}}}
"""


def search(*arguments: str) -> Result:
    return CliRunner().invoke(search_command, list(arguments))


def own(kind: str, folder: Path) -> str:
    path = folder / "own.yaml"
    path.write_text(OWN.format(kind=kind))
    return str(path)


def children(folder: Path, name: str) -> tuple[mlflow.entities.Run, list[mlflow.entities.Run], mlflow.MlflowClient]:
    """The search's run in MLflow, and those of its trials by number."""
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'runs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(name)
    runs = client.search_runs([experiment.experiment_id])
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    assert len(parents) == 1
    trials = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert len(trials) == len(runs) - 1
    return parents[0], sorted(trials, key=lambda r: int(r.data.tags["trial"])), client


@pytest.fixture(scope="module")
def demo(ray_instance: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A small search of the demo: its folder, and what it printed."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = search(DEMO, *QUICK)
    assert result.exit_code == 0, result.output
    return folder, result


def test_a_search_says_what_it_found_and_where_it_is(demo):
    _, result = demo
    said = " ".join(result.output.split())
    for part in ("best modulated", "best unmodulated", "audio alone", "visual alone", "no evidence", "one seed each"):
        assert part in said
    assert "runs/demo/best.yaml" in said
    assert "next: uv run python -m search confirm demo uv run python -m search train runs/demo/best.yaml" in said


def test_a_search_leaves_its_files(demo):
    folder, _ = demo
    run = folder / "runs" / "demo"
    rows = list(csv.DictReader((run / "trials.csv").open()))
    assert Counter(row["arm"] for row in rows) == {"baseline": 3, "modulated": 3}
    assert {row["status"] for row in rows} <= {"finished", "stopped"}
    assert load(run / "experiment.yaml") == load(Path(DEMO), QUICK)
    assert not list(run.rglob("last.pt"))  # nothing is to go on
    assert not [*run.rglob("events.out.tfevents*"), *run.rglob("progress.csv")]  # Tune's own loggers are off
    best = load(run / "best.yaml")
    value = max(float(row["val/accuracy"]) for row in rows)
    chosen = next(row for row in rows if float(row["val/accuracy"]) == value)
    assert not best.space
    assert best.trial.fusion == chosen["fusion"]
    assert str(best.origin.trial) == chosen["trial"]


def most_at_once(journal: Path) -> int:
    running, most = set(), 0
    for line in journal.read_text().splitlines():
        event = json.loads(line)
        running |= {event["number"]} if event["event"] == "started" else set()
        running -= {event["number"]} if event["event"] == "ended" else set()
        most = max(most, len(running))
    return most


def test_two_trials_run_at_the_same_time(demo):
    folder, _ = demo
    assert most_at_once(folder / "runs" / "demo" / "tune" / "journal.jsonl") == 2


def test_mlflow_has_a_run_for_the_search_and_a_child_for_each_trial(demo):
    folder, _ = demo
    parent, trials, client = children(folder, "demo")
    journal = Journal(folder / "runs" / "demo" / "tune" / "journal.jsonl").replay()
    assert parent.info.status == "FINISHED"
    assert len(trials) == 6
    modalities = ("audio", "visual")
    expected = {name: name for name in ("train/loss", "val/loss", "val/accuracy")}
    expected |= {"optimizer/learning_rate": "learning_rate", "time/seconds": "seconds", "val/best": "best"}
    expected |= {n: n for n in (f"{w}/{u}" for w in ("val/accuracy", "ratio", "coefficient") for u in modalities)}
    for run, record in zip(trials, journal, strict=True):
        assert set(expected) <= set(run.data.metrics)
        for metric, ours in expected.items():
            history = client.get_metric_history(run.info.run_id, metric)
            assert [(m.step, m.value) for m in history] == [(e, m[ours]) for e, m in enumerate(record.epochs)]
        assert run.data.params["optimizer.lr"] == str(record.changes["optimizer.lr"])
        assert run.data.params["modulation.method"] == record.changes["modulation.method"]
        assert run.info.status == {"finished": "FINISHED", "stopped": "KILLED"}[record.status]
        assert run.data.tags.get("stop_reason", "") == record.reason
        assert run.data.tags["dataset.fingerprint"] == parent.data.tags["dataset.fingerprint"]
        assert run.data.tags["version.torch"] == torch.__version__.partition("+")[0]
        assert [a.path for a in client.list_artifacts(run.info.run_id)] == ["best.pt"]
    assert "stopped" in {t.status for t in journal}, "no trial was stopped early: the test shows less than it says"


def test_the_weights_in_mlflow_are_those_of_the_best_epoch(demo, tmp_path):
    folder, _ = demo
    _, trials, client = children(folder, "demo")
    for run in trials:
        path = client.download_artifacts(run.info.run_id, "best.pt", str(tmp_path))
        history = client.get_metric_history(run.info.run_id, "val/accuracy")
        metrics = checkpoint.load(Path(path))["metrics"]
        assert metrics["val/accuracy"] == max(m.value for m in history)
        assert metrics["epoch"] == min(m.step for m in history if m.value == metrics["val/accuracy"])


def test_the_baseline_arm_is_never_modulated(demo):
    folder, _ = demo
    _, trials, _ = children(folder, "demo")
    for run in trials:
        baseline = run.data.tags["arm"] == "baseline"
        assert (run.data.params["modulation.method"] == "none") is baseline
        if baseline:
            assert {run.data.metrics[f"coefficient/{u}"] for u in ("audio", "visual")} == {1.0}


def test_best_yaml_trains_as_it_stands(demo, monkeypatch):
    folder, _ = demo
    monkeypatch.chdir(folder)
    found = checkpoint_value(folder / "runs" / "demo" / "best.yaml")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the trial had: another number rounds otherwise
    result = CliRunner().invoke(main, ["train", "runs/demo/best.yaml"])
    torch.set_num_threads(threads)
    assert result.exit_code == 0, result.output
    again = checkpoint.load(folder / "runs" / "demo-best" / "best.pt")["metrics"]["val/accuracy"]
    assert again == found
    run, none, _ = children(folder, "demo-best")
    assert run.info.status == "FINISHED"
    assert run.data.metrics["val/best"] == again
    assert not none


def checkpoint_value(best_yaml: Path) -> float:
    number = load(best_yaml).origin.trial
    state = checkpoint.load(best_yaml.parent / "tune" / f"{number:04d}" / "best.pt")
    return float(state["metrics"]["val/accuracy"])


def test_the_same_name_twice_is_refused_and_a_resume_of_what_is_done_says_it_again(demo, monkeypatch):
    folder, first = demo
    monkeypatch.chdir(folder)
    again = search(DEMO, *QUICK)
    assert (again.exit_code, again.stdout) == (2, "")
    assert "runs/demo exists already: continue it with --resume, or take another name" in again.stderr
    resumed = search(DEMO, *QUICK, "--resume")
    assert resumed.exit_code == 0
    assert first.output.partition("best modulated")[2] == resumed.output.partition("best modulated")[2]
    other = search(DEMO, *QUICK, "trial.epochs=5", "--resume")
    assert other.exit_code == 2
    assert "`trial.epochs` was 4 and is 5" in other.stderr


def test_more_trials_can_be_asked_for_on_resume(ray_instance, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = own("Vectors", tmp_path)
    assert search(file, "search.trials=2").exit_code == 0
    assert search(file, "search.trials=4", "--resume").exit_code == 0
    _, trials, _ = children(tmp_path, "own")
    assert [run.info.status for run in trials] == ["FINISHED"] * 4


def test_a_loss_that_is_not_a_number_fails_its_trial_and_the_search_goes_on(ray_instance, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = search(own("Vectors", tmp_path), "space.optimizer.lr=[1e-2,1e30]", "search.trials=8")
    assert result.exit_code == 0, result.output
    parent, trials, _ = children(tmp_path, "own")
    assert parent.info.status == "FINISHED"
    assert len(trials) == 8  # all that the space holds
    failed = [run for run in trials if run.data.params["optimizer.lr"] == "1e+30"]
    assert len(failed) == 4
    for run in trials:
        assert run.info.status == ("FAILED" if run in failed else "FINISHED")
    for run in failed:
        assert "the loss is not finite at epoch 0, step 1" in run.data.tags["error"]
    assert "4 failed" in result.output


def test_a_search_in_which_every_trial_fails_says_why(ray_instance, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = search(own("Broken", tmp_path))
    assert result.exit_code == 1
    assert "the search failed: trial 0: OSError: clip 17 is damaged" in result.stderr
    parent, trials, _ = children(tmp_path, "own")
    assert {run.info.status for run in (parent, *trials)} == {"FAILED"}


def test_a_worker_that_is_killed_costs_the_epoch_it_was_in(ray_instance, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    marker = tmp_path / "killed"
    result = search(own("Deadly", tmp_path), f"dataset.marker={marker}", "search.trials=2")
    assert result.exit_code == 0, result.output
    assert marker.exists()
    _, trials, client = children(tmp_path, "own")
    for run in trials:
        assert [m.step for m in client.get_metric_history(run.info.run_id, "val/loss")] == [0, 1, 2]
    starts = Counter(
        event["number"]
        for event in map(json.loads, (tmp_path / "runs/own/tune/journal.jsonl").read_text().splitlines())
        if event["event"] == "started"
    )
    assert sorted(starts.values()) == [1, 2]


def test_a_trial_that_runs_out_of_memory_goes_on_with_more(ray_instance, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = search(own("Hungry", tmp_path), "search.resources.cpu=0.5", "search.trials=2")
    assert result.exit_code == 0, result.output
    events = [json.loads(line) for line in (tmp_path / "runs/own/tune/journal.jsonl").read_text().splitlines()]
    for number in (0, 1):  # half a CPU, one, two
        happened = [e["event"] for e in events if e["number"] == number and e["event"] != "suggested"]
        again = ["crowded", "started"]
        assert happened == ["started", "reported", *again, *again, "reported", "reported", "ended"]
    _, trials, _ = children(tmp_path, "own")
    assert [run.info.status for run in trials] == ["FINISHED"] * 2


@pytest.mark.slow
@pytest.mark.longer
def test_a_trial_fails_that_runs_out_of_memory_with_all_that_there_is(ray_instance, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = search(own("Hungry", tmp_path), "dataset.cpus=3", "search.trials=2")
    assert result.exit_code == 1, result.output
    reason = "out of memory, with 2 CPU at last: OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
    assert f"the search failed: trial 0: {reason}" in result.stderr


def test_a_quarter_of_a_gpu_packs_four_trials_on_it(ray_instance, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = search(own("Vectors", tmp_path), "search.resources={cpu: 0.25, gpu: 0.25}", "trial.epochs=12")
    assert result.exit_code == 0, result.output
    assert most_at_once(tmp_path / "runs/own/tune/journal.jsonl") == 4
    record = Journal(tmp_path / "runs/own/tune/journal.jsonl").replay()
    seconds = sum(metrics["seconds"] for trial in record for metrics in trial.epochs)
    assert record.spent.gpu_seconds == pytest.approx(seconds / 4)


@pytest.mark.slow
def test_a_full_disk_halts_the_search_which_goes_on_when_there_is_room(ray_instance, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [own("NoRoom", tmp_path), f"dataset.room={tmp_path / 'room'}"]
    result = search(*words)
    assert result.exit_code == 1, result.output
    assert (
        "halted (No space left on device: last.pt): what was done is kept. Mend that, and go on with:" in result.stderr
    )
    assert "Traceback" not in result.output
    record = Journal(tmp_path / "runs/own/tune/journal.jsonl").replay()
    assert {t.status for t in record} == {"running"}
    (tmp_path / "room").touch()
    result = search(*words, "--resume")
    assert result.exit_code == 0, result.output
    assert "4 trained to the end, 0 stopped early, 0 failed" in result.output
    _, trials, client = children(tmp_path, "own")
    for run in trials:
        assert [m.step for m in client.get_metric_history(run.info.run_id, "val/loss")] == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nothere.yaml"], "nothere.yaml cannot be read: No such file or directory"),
        ([DEMO, "trial.epochs"], "expected key=value (`trial.epochs=2`), but got 'trial.epochs'"),
        ([DEMO, "trial.epochs=two"], "`trial.epochs` must be a whole number, but got 'two' (command line)"),
        ([DEMO, "search.metric=val/acc"], "`search.metric` must be one of val/accuracy, val/loss,"),
        (
            [DEMO, "search.resources.cpu=64"],
            "`search.resources.cpu` asks for 64 CPU a trial, but Ray has no more than 2 CPU",
        ),
        ([DEMO, "space={}"], "there is no `space`, so there is nothing to search"),
        ([DEMO, "--resume"], "there is nothing to resume in runs/demo: start without --resume"),
        ([DEMO, "dataset={name: tests.own_data:NotPrepared}"], "mine is not there: run `python -m search prepare`"),
        ([DEMO, "trial.encoder=torchvision:resnet0"], "torchvision has no image model 'resnet0'"),
    ],
)
def test_a_mistake_gets_a_sentence_and_leaves_nothing_behind(ray_instance, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    result = search(*arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "runs" / "demo").exists()
