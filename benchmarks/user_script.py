"""A search of the demo as a user would write it with Ray Tune, OptunaSearch and ASHA, with their defaults.

`python -m benchmarks.user_script RESULTS TRIALS EPOCHS` searches the space of `experiments/demo.yaml`, with `none` as
one more method, and writes one line per trial to RESULTS. See `benchmarks.search`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from benchmarks.user_training import run, trial

SPACE = {
    "fusion": tune.choice(["concat", "sum", "film", "gated"]),
    "lr": tune.choice([3e-3, 1e-2, 3e-2, 1e-1]),
    "method": tune.choice(["none", "ogm", "ogm_ge"]),
    "alpha": tune.loguniform(0.05, 1.5),
    "start": tune.choice([0, 2, 4, 6]),
    "end": tune.choice([3, 5, 7, 9, 11]),
}


def objective(config: dict[str, Any]) -> None:
    """Run one trial. A window that would end before its start is one epoch long."""
    epochs = config["epochs"]
    values = {**config, "end": max(config["start"], config["end"])}
    run(
        trial(values, epochs),
        lambda metrics: tune.report({"accuracy": metrics["val/accuracy"], "best": metrics["best"]}),
        Path("checkpoints").absolute(),
    )


def main() -> None:
    results, trials, epochs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    ray.init(address="local", num_cpus=len(os.sched_getaffinity(0)))  # not a cluster that is already running
    tuner = tune.Tuner(
        tune.with_resources(objective, {"cpu": 1}),
        param_space={**SPACE, "epochs": epochs},
        tune_config=tune.TuneConfig(
            metric="accuracy",
            mode="max",
            num_samples=trials,
            search_alg=OptunaSearch(),
            scheduler=ASHAScheduler(max_t=epochs),
        ),
        run_config=tune.RunConfig(name="user", storage_path=str(Path(results).absolute().parent)),
    )
    grid = tuner.fit()
    print(grid.get_best_result(scope="all").config)
    grid.get_dataframe().to_csv(results, index=False)


if __name__ == "__main__":
    main()
