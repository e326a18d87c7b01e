"""What a search costs beside the training: `python -m benchmarks.overhead [--trials 60]`.

Trials that do nothing but report five epochs, two at a time, through
  ours      this project's search: journal, studies, ASHA, a run for each trial in MLflow;
  tune      Ray Tune with its defaults and Optuna (its loggers on, a new worker for each trial);
  mlflow    the same with `MLflowLoggerCallback`, into SQLite.
Each in a process of its own, one after the other; the seconds are from Ray being up to the last record being written.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

EPOCHS = 5
VARIANTS = ("ours", "tune", "mlflow")


def metrics(epoch: int) -> dict[str, float]:
    """As many as a trial of two modalities reports."""
    names = [f"{part}/{what}" for part in ("train", "val") for what in ("loss", "accuracy", "accuracy/a", "accuracy/b")]
    names += ["ratio/a", "ratio/b", "coefficient/a", "coefficient/b", "learning_rate", "seconds", "best"]
    return {"epoch": float(epoch), **dict.fromkeys(names, 0.5)}


def report_only(config: dict[str, Any], setup: object = None) -> None:
    """A trial that trains nothing."""
    from ray import tune

    for epoch in range(EPOCHS):
        tune.report({"metrics": metrics(epoch)})


def ours(trials: int, folder: Path) -> float:
    from ogmge.trainable import Objective
    from search.cluster import local_ray
    from search.folder import RunFolder
    from search.policy import Tuning
    from search.ray_tune import run
    from search.record import Journal
    from search.session import Session
    from search.tracking import Tracker
    from search.validation import load
    from search.worker import Setup

    overrides = [f"search.trials={trials}", f"trial.epochs={EPOCHS}", "search.scheduler={name: none}"]
    experiment = load(
        Path("experiments/demo.yaml"), [*overrides, "space.optimizer.lr={low: 1e-4, high: 1e-1, log: true}"]
    )
    run_folder = RunFolder(folder / experiment.name)
    with local_ray(cpus=2):
        began = time.perf_counter()
        session = Session(experiment, Journal(run_folder.journal), Tuning(experiment))
        tracker = Tracker(experiment, folder, "none", lambda number: run_folder.trial(number) / "best.pt")
        tracker.connected()
        session.observers.append(tracker)
        setup = Setup(experiment.dataset, Objective(), run_folder.tune, 1, 0, folder)
        run(session, setup, report_only)
        lack = tracker.close("FINISHED", {}, [])
        seconds = time.perf_counter() - began
    if lack or not session.complete:
        raise RuntimeError(f"the search did not end: {lack}")
    return seconds


def defaults(trials: int, folder: Path, *, mlflow: bool) -> float:
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search import ConcurrencyLimiter
    from ray.tune.search.optuna import OptunaSearch

    callbacks = (
        [MLflowLoggerCallback(f"sqlite:///{folder / 'mlflow.db'}", experiment_name="overhead")] if mlflow else []
    )
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    began = time.perf_counter()
    searcher = ConcurrencyLimiter(OptunaSearch(metric="metrics/val/accuracy", mode="max"), max_concurrent=2)
    tune.Tuner(
        tune.with_resources(report_only, {"cpu": 1}),
        param_space={"lr": tune.loguniform(1e-4, 1e-1), "alpha": tune.loguniform(0.05, 1.5)},
        tune_config=tune.TuneConfig(num_samples=trials, search_alg=searcher),
        run_config=tune.RunConfig(storage_path=str(folder), callbacks=callbacks),
    ).fit()
    seconds = time.perf_counter() - began
    ray.shutdown()
    return seconds


def one(variant: str, trials: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        seconds = ours(trials, path) if variant == "ours" else defaults(trials, path, mlflow=variant == "mlflow")
    print(f"seconds {seconds}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--only", choices=VARIANTS, help="this one, in this process")
    given = parser.parse_args()
    if given.only:
        one(given.only, given.trials)
        return
    print(f"{given.trials} trials of {EPOCHS} reports, two at a time")
    print(f"{'':10}{'seconds':>9}{'a trial':>9}{'over ours':>11}")
    first = 0.0
    for variant in VARIANTS:
        command = [sys.executable, "-m", "benchmarks.overhead", "--only", variant, "--trials", str(given.trials)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        seconds = float(done.stdout.rpartition("seconds ")[2])
        first = first or seconds
        print(f"{variant:10}{seconds:9.1f}{seconds / given.trials:9.2f}{seconds / first:11.1f}", flush=True)


if __name__ == "__main__":
    main()
