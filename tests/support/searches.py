"""Small searches, started as users start them: two vectors and an `mlp`, because the search itself is tested."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen

import mlflow
from click.testing import CliRunner, Result

from search.cli.main import main, search_command
from tests.support import ROOT

DEMO = str(ROOT / "experiments" / "demo.yaml")
OWN = """
name: own
dataset: {{name: tests.support.own_data:{kind}}}
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
ONE_WORKER = "search.resources={cpu: 2, gpu: 0}"  # starting a second worker takes seconds and tests nothing more
STOPPING = ["search.trials=6", "trial.epochs=4", "search.scheduler={name: asha, grace_epochs: 1}"]
QUICK = [*STOPPING, "trial.schedule.milestones=[3]", "confirm=null"]  # assignments for the demo
ALIKE = "search.transfer=0"  # else the configurations depend on which of two trials ends first
FINISHED = ["own.yaml", *STOPPING, ALIKE, "search.resources={cpu: 0.5, gpu: 0.5}"]


def own(kind: str, folder: Path) -> str:
    """Write an experiment on a data set of `tests/support/own_data.py` and return its path."""
    path = folder / "own.yaml"
    path.write_text(OWN.format(kind=kind))
    return str(path)


def search(*arguments: str) -> Result:
    return CliRunner().invoke(search_command, list(arguments))


def command(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def said(result: Result) -> str:
    """Return the output of a command on one line."""
    return " ".join(result.output.split())


def journal_in(tune: Path) -> list[dict]:
    """Return the events of a run in their order."""
    return [json.loads(line) for line in (tune / "journal.jsonl").read_text().splitlines()]


def children(folder: Path, name: str) -> tuple[mlflow.entities.Run, list[mlflow.entities.Run], mlflow.MlflowClient]:
    """Return the search's run in MLflow, the runs of its trials by number, and the client."""
    store = (folder / "runs" / "mlflow.db").absolute()  # MLflow caches its stores by address
    client = mlflow.MlflowClient(f"sqlite:///{store}")
    experiment = client.get_experiment_by_name(name)
    runs = client.search_runs([experiment.experiment_id])
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    assert len(parents) == 1
    trials = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert len(trials) == len(runs) - 1
    return parents[0], sorted(trials, key=lambda r: int(r.data.tags["trial"])), client


def start(folder: Path, *arguments: str) -> Popen[str]:
    """Start Python in a folder as a separate process that can import this project."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return Popen([sys.executable, *arguments], cwd=folder, env=environment, text=True, stdout=PIPE, stderr=STDOUT)


def wait_for(process: Popen[str] | None, what: Callable[[], bool]) -> None:
    """Wait until a condition holds; fail if the process ends before, or after five minutes."""
    until = time.monotonic() + 300
    while not what():
        assert process is None or process.poll() is None, process.stdout.read()
        assert time.monotonic() < until, "the condition did not hold within five minutes"
        time.sleep(0.1)
