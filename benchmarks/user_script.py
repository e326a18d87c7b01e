"""A search of the demo as a user writes it with Ray Tune: OptunaSearch and ASHA with their defaults, see
`benchmarks.search`.

`python -m benchmarks.user_script RESULTS TRIALS EPOCHS` searches what `experiments/demo.yaml` does, method `none` among
it, and writes a line for each trial to RESULTS.
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
    """One trial. A window that would end before it begins is an epoch long."""
    epochs = config["epochs"]
    values = {**config, "end": max(config["start"], config["end"])}
    run(
        trial(values, epochs),
        lambda metrics: tune.report({"accuracy": metrics["val/accuracy"], "best": metrics["best"]}),
        Path("checkpoints").absolute(),
    )


def main() -> None:
    results, trials, epochs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    ray.init(address="local", num_cpus=len(os.sched_getaffinity(0)))  # not one that somebody else has running
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
