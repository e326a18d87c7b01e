"""`train` in several processes with Ray Train."""

from __future__ import annotations

import itertools
import re
import threading
from pathlib import Path

import mlflow
import pytest
import ray
import torch

from ogmge import checkpoint
from search.backend import ddp
from search.backend.ddp import Job
from search.experiment.load import load
from tests.search.commands.test_train import TRIAL, the_run, train
from tests.support.searches import command, said, start
from tests.support.tells import tells


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trial.yaml").write_text(TRIAL.format(kind="Drawn", options=""))
    return tmp_path


def test_the_last_epoch_is_reported_whatever_an_earlier_report_takes(ray_instance, here, monkeypatch):
    """A slow MLflow delays a report, and training ends in the meantime."""
    told, go_on = [], threading.Event()

    class Trainer:
        """The part of Ray Train's interface that is used."""

        def __init__(self, loop, *, train_loop_config, **more):
            self.mailbox = train_loop_config["mailbox"]

        def fit(self):
            ray.get(self.mailbox.put.remote({"epoch": 0}))
            assert go_on.wait(60)
            ray.get(self.mailbox.put.remote({"epoch": 1}))

    def report(metrics):
        told.append(metrics["epoch"])
        go_on.set()
        for thread in threading.enumerate():
            if thread.name == "ray-train":
                thread.join(60)

    monkeypatch.setattr(ddp, "TorchTrainer", Trainer)
    job = Job(load(here / "trial.yaml").trial, {}, None, None, False, None, here, None)
    ddp.train(job, 1, 1, False, report)
    assert told == [0, 1]


def test_more_processes_than_there_ever_is_room_for_are_refused(ray_instance, here):
    result = train("trial.yaml", "--workers", "3", "search.resources.cpu=1")
    assert result.exit_code == 2
    tells(result.output, "--workers", 3, "1 CPU", "`search.resources.cpu`", 2)
    assert not (here / "runs/alone").exists()


@pytest.mark.slow
@pytest.mark.longer
def test_processes_of_which_one_dies_begin_again_at_the_last_epoch(ray_instance, here):
    options = f", marker: {here / 'died'}"
    (here / "trial.yaml").write_text(TRIAL.format(kind="Deadly", options=options))
    result = train("trial.yaml", "--workers", "2", "search.resources.cpu=1")
    assert result.exit_code == 0, result.output
    assert (here / "died").exists()
    assert re.findall(r"^ *(\d/3) ", result.output, re.MULTILINE) == ["1/3", "2/3", "3/3"]
    history = checkpoint.load(here / "runs/alone/last.pt")["history"]
    assert [m["epoch"] for m in history] == [0, 1, 2]


@pytest.mark.slow
@pytest.mark.longer
def test_what_fails_in_a_process_is_told_by_its_reason(ray_instance, here):
    (here / "trial.yaml").write_text(TRIAL.format(kind="Broken", options=""))
    result = train("trial.yaml", "--workers", "2", "search.resources.cpu=1")
    assert (result.exit_code, said(result)) == (1, "OSError: clip 17 is damaged")
    assert the_run(here, "alone").info.status == "FAILED"


@pytest.mark.slow
def test_two_processes_of_which_the_first_command_is_killed_train_what_one_does(ray_instance, here):
    """Scores, coefficients and noise are those of the whole batch: nine samples, five of them in one process."""
    # at five times the rate, a unit reaches the kink of its activation, where the last bit decides the course
    options = ["train", "trial.yaml", "trial.epochs=30", "trial.optimizer.lr=1e-2", "search.resources.cpu=1"]
    two = [*options, "name=two", "--workers", "2"]
    process = start(here, "-m", "search", *two)
    seen = list(itertools.takewhile(lambda line: not line.startswith(" 3/30 "), process.stdout))
    process.kill()
    process.communicate()
    known = len(checkpoint.load(here / "runs/two/last.pt")["history"])
    assert 3 <= known < 30, seen
    for again in ([*two, "--resume"], [*options, "name=one"]):
        result = command(*again)
        assert result.exit_code == 0, result.output
    client = mlflow.MlflowClient(f"sqlite:///{here / 'runs' / 'mlflow.db'}")
    history = client.get_metric_history(the_run(here, "two").info.run_id, "val/accuracy")
    assert sorted(m.step for m in history) == list(range(30))
    one, two = (checkpoint.load(here / "runs" / name / "last.pt") for name in ("one", "two"))
    for alone, both in zip(one["history"], two["history"], strict=True):
        timeless = [{k: v for k, v in metrics.items() if k != "seconds"} for metrics in (alone, both)]
        assert timeless[0] == pytest.approx(timeless[1], rel=1e-3, abs=1e-4)
    assert min(min(m["coefficient/left"], m["coefficient/right"]) for m in one["history"]) < 1
    for key, value in one["trainer"]["model"].items():
        assert torch.allclose(value, two["trainer"]["model"][key], rtol=1e-3, atol=1e-4), key
    runs = [the_run(here, name) for name in ("one", "two")]
    assert runs[0].data.metrics["test/accuracy"] == pytest.approx(runs[1].data.metrics["test/accuracy"], abs=0.011)
