"""One training of the demo, as a user of the method would script it, see `benchmarks.search`.

`python -m benchmarks.user_training RESULTS FUSION LR METHOD ALPHA START END EPOCHS SEED` trains once and appends a line
to RESULTS: these arguments and the best epoch's validation accuracy. The seed also draws the validation split.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from datasets.publishers.digits import Digits
from ogmge.config import Modulation, Optimizer, Schedule, TrialConfig
from ogmge.fit import train


def trial(values: dict[str, Any], epochs: int, seed: int = 0) -> TrialConfig:
    """Return the demo's recipe with these values: fusion, lr, method, alpha, start, end."""
    window = {name: values[name] for name in ("method", "alpha", "start", "end")}
    return TrialConfig(
        epochs=epochs,
        batch_size=32,
        encoder="small_conv",
        fusion=values["fusion"],
        modulation=Modulation(**window),
        optimizer=Optimizer("sgd", lr=values["lr"], momentum=0.9, weight_decay=1e-4),
        schedule=Schedule("step", milestones=(9,), gamma=0.1),
        seed=seed,
    )


def run(config: TrialConfig, report: Callable[[dict[str, float]], None], folder: Path) -> None:
    """Run a whole training on one core."""
    torch.set_num_threads(1)
    train(config, Digits(snr_db=(-18.0, -10.0), split_seed=config.seed).open(), report, folder=folder)


def main() -> None:
    results, fusion, lr, method, alpha, start, end, epochs, seed = sys.argv[1:]
    values = {"fusion": fusion, "lr": float(lr), "method": method, "alpha": float(alpha)}
    config = trial({**values, "start": int(start), "end": int(end)}, int(epochs), int(seed))
    reports: list[dict[str, float]] = []
    with TemporaryDirectory() as folder:
        run(config, reports.append, Path(folder))
    with Path(results).open("a", encoding="utf-8") as file:
        file.write(",".join([*sys.argv[2:], f"{reports[-1]['best']:.6f}"]) + "\n")


if __name__ == "__main__":
    main()
