"""Overhead of a search besides training: `python -m benchmarks.overhead [--trials 200] [--rounds 1] [VARIANT …]`.

The trials only report five epochs, two at a time, without checkpoints. The variants are
  none      this project's complete search, without MLflow;
  ours      the same with MLflow and SQLite: one run for the search, one for each trial;
  bare      Ray Tune with Optuna, with reused workers as in our search, without loggers;
  callback  the same with Ray's `MLflowLoggerCallback` and SQLite;
  tune      Ray Tune with Optuna and its defaults: with loggers, a new worker for each trial. It runs a fifth of the
            trials, because it is slow.
In each round every variant runs in its own process, one after the other. The time is measured from the first report,
when the workers have started, until the last record is written. The minimum over the rounds is shown, because other
load on the machine can only add time. `driver` is the CPU time of the process that runs the search; `above none` is in
seconds per trial. Then the CPU seconds of a worker process are shown, from its start to the end of a trial's first
epoch, and those of its two largest imports. The last lines say whether the goals hold.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.cpu_time import measured

if TYPE_CHECKING:
    from search.experiment.schema import Experiment
    from search.tuner.tuner import Callback, Tuner

EPOCHS = 5
VARIANTS = ("none", "ours", "bare", "callback", "tune")
ABOVE_NONE_S, OF_CALLBACK, START_S = 0.1, 0.5, 6.0  # the goals


@dataclass(frozen=True)
class Cost:
    """Cost of a search per trial, in seconds."""

    seconds: float
    driver: float


def metrics(epoch: int) -> dict[str, float]:
    """Return as many metrics as a trial with two modalities reports."""
    names = [f"{part}/{what}" for part in ("train", "val") for what in ("loss", "accuracy", "accuracy/a", "accuracy/b")]
    names += ["ratio/a", "ratio/b", "coefficient/a", "coefficient/b", "learning_rate", "seconds", "best"]
    return {"epoch": float(epoch), **dict.fromkeys(names, 0.5)}


def report_only(config: dict[str, Any], setup: object = None) -> None:
    """Report epochs without training, as a trial of our search (with a `setup`) or of Tune's."""
    from ray import tune

    for epoch in range(EPOCHS):
        tune.report({"metrics": metrics(epoch) if setup is None else [metrics(epoch)]})


def experiment_of(trials: int) -> Experiment:
    """Return the experiment of our search."""
    from search.experiment.load import load

    overrides = [f"search.trials={trials}", f"trial.epochs={EPOCHS}", "search.scheduler={name: none}"]
    return load(Path("experiments/demo.yaml"), [*overrides, "space.optimizer.lr={low: 1e-4, high: 1e-1, log: true}"])


def ours(trials: int, folder: Path, *, tracked: bool, watch: Callable[[Tuner], Callback] | None = None) -> Cost:
    """Run a search of this project.

    Args:
        trials: number of trials of both arms.
        folder: folder for all of its files.
        tracked: whether MLflow records it.
        watch: function that creates an additional callback for the tuner.
    """
    from ogmge.fit import Objective
    from search.backend.cluster import local_ray
    from search.backend.resources import Resources
    from search.backend.tune import run
    from search.backend.worker import Setup
    from search.run.checkpoints import Storage
    from search.run.folder import Identity, RunFolder
    from search.run.journal import Journal
    from search.tracking.tracker import SearchTracker
    from search.tuner.search_policy import SearchPolicy
    from search.tuner.tuner import Tuner

    experiment = experiment_of(trials)
    run_folder = RunFolder(folder / experiment.name)
    with local_ray(cpus=2):
        clock = Clock()
        tuner = Tuner(experiment, Journal(run_folder.journal), SearchPolicy(experiment))
        tuner.callbacks += [clock, watch(tuner)] if watch else [clock]
        tracker = None
        if tracked:
            tracker = SearchTracker(experiment, run_folder, Identity("none", "none"), tuner.record, run_folder.trial)
            tracker.wait_until_connected()
            tuner.callbacks.append(tracker)
        setup = Setup(experiment.dataset, Objective(), run_folder.tune, folder, Storage(str(run_folder.tune)))
        run(tuner, setup, [Resources(1, 0)], 2, report_only)
        lack = tracker.close("FINISHED", []) if tracker else None
        cost = clock.cost(trials)
    if lack or not tuner.complete:
        raise RuntimeError(f"the search did not end: {lack}")
    return cost


def tunes(trials: int, folder: Path, *, defaults: bool, mlflow: bool) -> Cost:
    if not defaults:
        os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
        os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] = "30"
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search import ConcurrencyLimiter
    from ray.tune.search.optuna import OptunaSearch

    callbacks = (
        [MLflowLoggerCallback(f"sqlite:///{folder / 'mlflow.db'}", experiment_name="overhead")] if mlflow else []
    )
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    clock = Clock()

    class Begins(tune.Callback):
        def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
            clock.on_report(trial)

    searcher = ConcurrencyLimiter(OptunaSearch(metric="metrics/val/accuracy", mode="max"), max_concurrent=2)
    tune.Tuner(
        tune.with_resources(report_only, {"cpu": 1}),
        param_space={"lr": tune.loguniform(1e-4, 1e-1), "alpha": tune.loguniform(0.05, 1.5)},
        tune_config=tune.TuneConfig(num_samples=trials, search_alg=searcher, reuse_actors=not defaults),
        run_config=tune.RunConfig(storage_path=str(folder), callbacks=[Begins(), *callbacks], verbose=int(defaults)),
    ).fit()
    cost = clock.cost(trials)
    ray.shutdown()
    return cost


class Clock:
    """Wall and CPU time of this process since the first report; a callback of a tuner."""

    def __init__(self) -> None:
        self._began: tuple[float, float] | None = None

    def on_start(self, trial: object) -> None:
        """Do nothing."""

    def on_report(self, trial: object) -> None:
        self._began = self._began or (time.perf_counter(), time.process_time())

    def on_end(self, trial: object) -> None:
        """Do nothing."""

    def cost(self, trials: int) -> Cost:
        assert self._began is not None
        wall, driver = self._began
        return Cost((time.perf_counter() - wall) / trials, (time.process_time() - driver) / trials)


def one(variant: str, trials: int) -> Cost:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        if variant in ("none", "ours"):
            return ours(trials, path, tracked=variant == "ours")
        return tunes(trials, path, defaults=variant == "tune", mlflow=variant == "callback")


def apart(variant: str, trials: int) -> Cost:
    """Run a variant in its own process and return its cost."""
    command = [sys.executable, "-m", "benchmarks.overhead", "--only", variant, "--trials", str(trials)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


STARTS = {
    "import torch": "import torch",
    "import ray.tune": "from ray import tune",
    "to the first epoch": "from benchmarks.overhead import first_epoch; first_epoch()",
}


def first_epoch() -> None:
    """Import what a worker imports, and train an epoch of a tiny trial as it does."""
    import torch

    import search.backend.worker  # noqa: F401, with Ray Tune
    from datasets.loader.in_memory import InMemory, Split
    from ogmge import fit
    from ogmge.config import Modulation, TrialConfig

    split = Split({name: torch.zeros(8, 4) for name in ("a", "b")}, torch.arange(8) % 2)
    config = TrialConfig(epochs=1, batch_size=4, encoder="mlp", modulation=Modulation(parameters="all"))
    with tempfile.TemporaryDirectory() as folder:
        fit.train(config, InMemory(["0", "1"], split, split, ""), lambda metrics: None, folder=Path(folder))


def show_starts(rounds: int) -> None:
    """Print the CPU seconds of fresh processes, the minimum over the rounds."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for _ in range(max(3, rounds)):
            for start, code in STARTS.items():
                used = measured([sys.executable, "-c", code], folder=folder, environment={}, out=folder / "out")
                found[start] = min(found.get(start, used.cpu), used.cpu)
    print(f"\n{'a worker process':22}{'CPU s':>6}")
    for name, seconds in found.items():
        print(f"{name:22}{seconds:6.2f}")
    goal("start of a worker", found["to the first epoch"], START_S, "CPU s")


def show(costs: dict[str, Cost], trials: int) -> None:
    """Print the figures, and the goals for which the needed variants ran."""
    print(f"\n{'':10}{'seconds':>9}{'per trial':>11}{'driver':>9}{'above none':>12}")
    none, ours, callback = (costs.get(name) for name in ("none", "ours", "callback"))
    for variant, cost in costs.items():
        above = f"{cost.seconds - none.seconds:12.3f}" if none else ""
        print(f"{variant:10}{cost.seconds * trials:9.1f}{cost.seconds:11.3f}{cost.driver:9.3f}{above}")
    if none and ours:
        goal("cost of MLflow per trial", ours.seconds - none.seconds, ABOVE_NONE_S, "s")
    if callback and ours:
        goal("time relative to the callback", ours.seconds / callback.seconds, OF_CALLBACK, "")


def goal(what: str, value: float, most: float, unit: str) -> None:
    """Print a figure, its limit, and whether it holds."""
    print(f"{what}: {value:.3f} {unit} (goal: ≤ {most}): {'holds' if value <= most else 'MISSED'}".replace("  ", " "))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*", choices=[*VARIANTS, []], help="variants to run (all)")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", choices=VARIANTS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        print(json.dumps(asdict(one(given.only, given.trials))))
        return
    print(f"{given.trials} trials of {EPOCHS} reports, two at a time, rounds: {given.rounds}")
    costs: dict[str, Cost] = {}
    for _ in range(given.rounds):
        for variant in given.variants or VARIANTS:
            cost = apart(variant, max(1, given.trials // 5) if variant == "tune" else given.trials)
            print(f"  {variant} {cost.seconds:.3f}", flush=True)
            before = costs.get(variant, cost)
            costs[variant] = Cost(min(cost.seconds, before.seconds), min(cost.driver, before.driver))
    show(costs, given.trials)
    show_starts(given.rounds)


if __name__ == "__main__":
    main()
