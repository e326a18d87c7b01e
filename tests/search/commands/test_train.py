"""`train` in one process and in several with Ray Train, and its model from MLflow's registry."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import mlflow
import pytest
import torch
import yaml
from click.testing import Result
from rich.console import Console

from ogmge import checkpoint, inference
from ogmge import fit as trainable
from ogmge.fit import Objective
from search.backend.ddp import Job
from search.commands.train import History
from search.experiment.load import load
from search.experiment.schema import as_values, to_yaml
from search.models.registry import find_model_file
from tests.support.own_data import Drawn
from tests.support.searches import DEMO, command, said, search
from tests.support.tells import tells

TRIAL = """
name: alone
dataset: {{name: tests.support.own_data:{kind}{options}}}
trial:
  epochs: 3
  batch_size: 9
  encoder: mlp
  modulation: {{method: ogm_ge, alpha: 0.5, start: 0, end: 1, parameters: all}}
  optimizer: {{lr: 5e-2}}
"""
# The search validated on the split of seed 1, the file on that of seed 0.
ORIGIN = """
origin: {run: own, trial: 3, arm: modulated, metric: val/accuracy, value: 0.5, seeds: 6, prediction: [0.4, 0.6],
         epochs: 2, verdict: helps, fingerprint: drawn-96-0-1, split_seed: 1, versions: {python: 3.11.7}}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trial.yaml").write_text(TRIAL.format(kind="Drawn", options=""))
    (tmp_path / "best.yaml").write_text(TRIAL.format(kind="Drawn", options="") + ORIGIN)
    return tmp_path


def train(*arguments: str) -> Result:
    return command("train", *arguments)


def the_run(folder: Path, name: str) -> mlflow.entities.Run:
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'runs' / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    return run


PREDICT = """
import sys, mlflow, numpy as np, torch
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/alone@champion")
left, right = torch.load(sys.argv[2], weights_only=True)
found = model.predict({"left": left.numpy(), "right": right.numpy()})
torch.save({name: torch.as_tensor(value) for name, value in found.items()}, sys.argv[3])
try:
    model.predict({"left": left.numpy()[:, :2], "right": right.numpy()})
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_training_reads_the_test_split_once_and_leaves_a_model_that_predicts_in_a_fresh_process(here):
    result = train("best.yaml")
    assert result.exit_code == 0, result.output
    run = the_run(here, "alone")
    (line,) = (here / "runs/alone/test_readings.jsonl").read_text().splitlines()
    ((x, y),) = Drawn().test(batch_size=96, reason="check")
    model = inference.load(here / "runs/alone/best.pt")
    accuracy = float((model.logits(x)[0].argmax(1) == y).double().mean())
    assert json.loads(line)["reason"] == "final training"
    assert run.data.metrics["test/accuracy"] == pytest.approx(accuracy)
    assert (run.data.tags["test"], run.info.status) == ("read", "FINISHED")
    client = mlflow.MlflowClient(f"sqlite:///{here / 'runs' / 'mlflow.db'}")
    # each epoch exactly once
    assert [m.step for m in client.get_metric_history(run.info.run_id, "val/accuracy")] == [0, 1, 2]
    best = checkpoint.load(here / "runs/alone/best.pt")["metrics"]
    tells(result.output, "test/accuracy", f"{100 * accuracy:.1f} %", "left", "right")
    tells(result.output, "val/accuracy", f"{100 * best['val/accuracy']:.1f} %", f"epoch {best['epoch']:.0f}")
    tells(result.output, "40.0 %", "60.0 %", "models:/alone@champion")  # what the file expects
    assert result.output.endswith(
        "\nnext:  uv run python -m search evaluate alone\n       uv run python -m search ui alone\n"
    )
    table = [line.split() for line in result.output.splitlines()[:4]]
    assert table[0] == ["epoch", "loss", "val", "left", "right", "k", "time"]
    assert [row[0] for row in table[1:]] == ["1/3", "2/3", "3/3"]
    assert result.output.count("epochs count from 0") == 1

    torch.save([x["left"], x["right"]], here / "x.pt")
    (here / "elsewhere").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", PREDICT, f"sqlite:///{here / 'runs/mlflow.db'}", str(here / "x.pt"), str(here / "y.pt")],
        cwd=here / "elsewhere",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = torch.load(here / "y.pt", weights_only=True)
    expected = model.logits(x)[0].softmax(1)
    assert torch.allclose(found["probabilities"], expected, atol=1e-6)
    assert found["class_id"].equal(expected.argmax(1))
    assert "MlflowException" in done.stdout  # the signature knows the shapes

    for arguments, code, what in (
        (["models:/alone@champion", "--split", "validation"], 0, "runs/alone/evaluation.json"),
        (["models:/alone/7"], 2, "models:/alone/7"),
        (["models:/missing@champion"], 2, "models:/missing@champion"),
    ):
        evaluated = command("evaluate", *arguments)
        assert (evaluated.exit_code, what in said(evaluated)) == (code, True), evaluated.output
    (here / "runs/alone/best.pt").rename(here / "moved.pt")
    copy = find_model_file("models:/alone@champion", Path("runs"))
    assert copy.read_bytes() == (here / "moved.pt").read_bytes()
    (here / "moved.pt").rename(here / "runs/alone/best.pt")

    again = train("best.yaml", "--resume")
    assert again.exit_code == 0, again.output
    assert len((here / "runs/alone/test_readings.jsonl").read_text().splitlines()) == 2


def test_with_all_data_it_ends_after_the_confirmations_median_epoch_and_validates_nothing(here):
    result = train("best.yaml", "--all-data", "--no-test")
    assert result.exit_code == 0, result.output
    best = checkpoint.load(here / "runs/alone/best.pt")
    assert best["metrics"]["epoch"] == 1
    assert not any(name.startswith("val/") for name in best["metrics"])
    tells(result.output, "2 epochs")
    assert result.output.endswith("\nnext:  uv run python -m search ui alone\n")  # no split is left to evaluate on
    run = the_run(here, "alone")
    assert (run.data.params["all_data"], run.data.params["epochs_trained"]) == ("true", "2")
    assert run.data.tags["test"] == "not read"
    assert not (here / "runs/alone/test_readings.jsonl").exists()
    trial, told = load(here / "trial.yaml").trial, []
    trainable.train(trial, Drawn(samples=192), told.append, folder=here / "same", objective=None, epochs=2)
    same = checkpoint.load(here / "same/best.pt")["model"]
    assert all(value.equal(best["model"][key]) for key, value in same.items())


def test_a_data_set_without_a_test_split_is_trained_on_all_the_same(here):
    (here / "trial.yaml").write_text(TRIAL.format(kind="Vectors", options=""))
    result = train("trial.yaml")
    assert result.exit_code == 0, result.output
    assert not (here / "runs/alone/test_readings.jsonl").exists()
    assert the_run(here, "alone").data.tags["test"] == "not read"
    tells(result.output, "next:  uv run python -m search evaluate alone --split validation\n")


def epoch_metrics(names: Sequence[str], epoch: int) -> dict[str, float]:
    each = {f"{split}/accuracy/{name}": 1.0 for name in names for split in ("train", "val")}
    steering = {f"coefficient/{name}": 0.97 for name in names}
    own = {"epoch": epoch, "train/loss": 12.3456, "val/loss": 0.5, "train/accuracy": 0.5, "val/accuracy": 1.0}
    return {**own, **each, **steering, "seconds": 1234.5 if epoch else 4.12}


@pytest.mark.parametrize("metric", ["val/accuracy", "val/accuracy/audio", "val/loss"])
@pytest.mark.parametrize(
    "names", [["audio", "visual"], ["audio", "visual", "flow"], ["audio", "visual", "optical_flow"]]
)
def test_the_rows_of_epochs_fit_on_80_columns(names, metric):
    console = Console(file=io.StringIO(), width=80)
    trial = load(Path(DEMO), ["trial.epochs=100", "space={}"], only_trial=True).trial
    job = Job(trial, {}, Objective(), None, False, None, Path(), None)
    history = History(metric, job, console, lambda epochs: None)
    for epoch in (0, 1):
        history.add(epoch_metrics(names, epoch))
    head, first, second = console.file.getvalue().splitlines()
    assert (len(names) == 3 and metric == "val/loss") or max(map(len, (head, first))) <= 80
    assert [cell for cell in head.split() if cell in names] == names
    assert ("val/loss" in head) is (metric == "val/loss")
    tells(first, "1/100", "12.346", "100.0 %", "/".join(["0.97"] * len(names)), "4.1 s")
    tells(second, "2/100", "20 min 34 s")


TOLD = "expected range"


@pytest.mark.parametrize(
    ("words", "origin", "expected"),
    [
        ([], {"prediction": [-0.13, 1.658]}, "(95 %: 0.0 % to 100.0 %)"),
        (["trial.seed=5"], {}, "(95 %: 40.0 % to 60.0 %)"),
        (["dataset.split_seed=1"], {}, None),
        ([], {"split_seed": None, "fingerprint": "drawn-96-0-0"}, None),
        (["trial.optimizer.lr=0.1"], {}, None),
        (["trial={epochs: 2, encoder: mlp, modulation: {method: none}}"], {}, None),
        (["--epochs", "1"], {}, None),
        ([], {"seeds": 2}, None),
        ([], {"seeds": 3}, "(95 %: 40.0 % to 60.0 %)"),
    ],
)
def test_a_training_is_compared_with_the_search_only_if_it_can_be(here, words, origin, expected):
    whole = yaml.safe_load((here / "best.yaml").read_text())
    whole["origin"] |= origin
    (here / "best.yaml").write_text(yaml.safe_dump(whole))
    result = train("best.yaml", "--no-test", *words)
    assert result.exit_code == 0, result.output
    assert (TOLD in result.output) is (expected is not None)
    tells(result.output, *([expected] if expected else []))


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["trial.yaml", "--all-data"], ["--all-data", "confirm"]),
        (["vectors.yaml", "--all-data"], ["--all-data", "validation"]),
        (["trial.yaml", "--workers", "10"], ["`trial.batch_size`", "--workers", 10, 9]),
        (["best.yaml", "dataset.samples=90"], ["`own`", "drawn-96-0-1", "drawn-90-0-1"]),
        (["best.yaml", "origin.seeds=six"], ["`origin.seeds`", "whole number", "'six'"]),
        (["broken.yaml"], ["broken.yaml", "line 1"]),
    ],
)
def test_a_mistake_gets_a_sentence(here, arguments, facts):
    (here / "vectors.yaml").write_text(TRIAL.format(kind="Vectors", options=""))
    (here / "broken.yaml").write_text("name: [")
    result = train(*arguments)
    assert (result.exit_code, type(result.exception)) == (2, SystemExit)
    tells(result.output, *facts)
    assert not (here / "runs/alone").exists()


def test_a_resumed_training_is_trained_as_it_was_begun(here):
    assert train("best.yaml", "--no-test").exit_code == 0
    result = train("best.yaml", "--resume", "--all-data")
    assert result.exit_code == 2
    tells(result.output, "neither --all-data nor --epochs", "got --all-data --epochs")


SPACE = """
space: {modulation.method: [ogm, ogm_ge], fusion: [concat, sum]}
search: {trials: 2, sampler: grid, first: [{fusion: sum}, {fusion: film}], budget: {epochs: 3}}
confirm: {seeds: 6}
"""


def test_the_trial_of_a_search_is_trained_without_what_only_a_search_needs(here):
    (here / "both.yaml").write_text(TRIAL.format(kind="Drawn", options="") + SPACE)
    options = ["both.yaml", "trial.modulation.method=none", "--no-test"]
    result = train(*options, "search.metric=val/loss", "search.mode=min")
    assert result.exit_code == 0, result.output
    kept = load(here / "runs/alone/experiment.yaml")
    assert (kept.space, kept.confirm, kept.trial.modulation.method) == ({}, None, "none")
    assert kept.search.objective.metric == "val/loss"
    changed = train(*options, "--resume")
    assert changed.exit_code == 2
    tells(changed.output, "`search.metric` was 'val/loss' and is now 'val/accuracy'", "`search.mode`")
    assert "`space" not in changed.output
    # an older version kept the whole file
    whole = as_values(
        load(here / "both.yaml", ["search.metric=val/loss", "search.mode=min", "search.trials=8", "search.budget={}"])
    )
    whole["trial"] = as_values(kept)["trial"]
    (here / "runs/alone/experiment.yaml").write_text(to_yaml(whole))
    again = train(*options, "search.metric=val/loss", "search.mode=min", "--resume")
    assert again.exit_code == 0, again.output


@pytest.mark.parametrize("more", [[], ["--resume"]])
def test_a_training_leaves_the_folder_of_a_search_alone(here, more):
    journal = here / "runs/alone/tune/journal.jsonl"
    journal.parent.mkdir(parents=True)
    journal.write_text("{}\n")
    shutil.copy("trial.yaml", here / "runs/alone/experiment.yaml")
    before = sorted((here / "runs").rglob("*"))
    result = train("trial.yaml", "trial.epochs=2", *more)
    assert result.exit_code == 2
    tells(result.output, "runs/alone", "holds a search, not a training", "name=alone-plain")
    assert sorted((here / "runs").rglob("*")) == before


def test_a_search_leaves_the_folder_of_a_training_alone(here):
    assert train("trial.yaml", "--no-test", "trial.epochs=1").exit_code == 0
    before = (here / "runs/alone/experiment.yaml").read_text()
    for more in ([], ["--resume"]):
        result = search("trial.yaml", "space={fusion: [concat, sum]}", *more)
        assert result.exit_code == 2
        tells(result.output, "runs/alone", "holds a training, not a search", "name=alone-2")
    assert (here / "runs/alone/experiment.yaml").read_text() == before


def test_a_resumed_training_is_on_the_data_that_it_was_begun_with(here):
    assert train("trial.yaml", "--no-test").exit_code == 0
    identity = here / "runs/alone/run.json"
    identity.write_text(identity.read_text().replace("drawn-96-0-0", "drawn-97-0-0"))
    for result in (train("trial.yaml", "--resume"), command("evaluate", "alone")):
        assert result.exit_code == 2
        tells(result.output, "runs/alone", "fingerprint", "drawn-97-0-0", "drawn-96-0-0")
    assert not (here / "runs/alone/test_readings.jsonl").exists()


@pytest.mark.parametrize("text", ["", "{}", '{"run_id": "gone"}'])
def test_a_resumed_training_that_mlflow_does_not_know_is_recorded_anew(here, text):
    assert train("trial.yaml", "--no-test", "trial.epochs=1").exit_code == 0
    before = the_run(here, "alone").info.run_id
    (here / "runs/alone/mlflow.json").write_text(text)
    result = train("trial.yaml", "--no-test", "trial.epochs=1", "--resume")
    assert result.exit_code == 0, result.output
    client = mlflow.MlflowClient(f"sqlite:///{here / 'runs' / 'mlflow.db'}")
    client.delete_run(before)
    assert the_run(here, "alone").data.metrics.keys() >= {"train/loss", "val/accuracy"}


def test_what_was_read_stays_on_record(here):
    assert train("trial.yaml").exit_code == 0
    assert train("trial.yaml", "--resume", "--no-test").exit_code == 0
    assert the_run(here, "alone").data.tags["test"] == "read"


def test_a_training_whose_checkpoints_are_elsewhere_goes_on_after_an_interruption(here):
    (here / "trial.yaml").write_text(TRIAL.format(kind="Interrupted", options=""))
    options = ["trial.yaml", "--no-test", f"search.storage={here / 'shared'}"]
    assert train(*options).exit_code == 130
    (here / "over").touch()
    result = train(*options, "--resume")
    assert result.exit_code == 0, result.output
    assert len(checkpoint.load(next((here / "shared").rglob("last.pt")))["history"]) == 3
