"""The demo's learning curves in `demo_curves.csv`, trained once by `python -m benchmarks.schedulers record`.

The file has 80 configurations of the demo's own space (all 16 of the baseline, 64 of the modulated arm, drawn at
random) with three seeds each, all trained to the end. A row is one training: its arm, its changes to the demo's trial
by dotted path (empty if unchanged), its seed, and the validation accuracy after each epoch.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ogmge.fit import Data, train
from search.experiment.arms import Arm, arm_of
from search.experiment.dimensions import START, Changes
from search.experiment.load import load
from search.experiment.schema import Experiment
from search.experiment.space import with_changes
from search.run.open_data import open_data
from search.tuner.study import ArmStudy

METRIC = "val/accuracy"
FILE = Path(__file__).with_name("demo_curves.csv")
SEEDS = (0, 1, 2)
CONFIGURATIONS: dict[Arm, int] = {"baseline": 16, "modulated": 64}


@dataclass(frozen=True)
class Curve:
    """One training: the metric after each epoch."""

    arm: Arm
    changes: Changes
    seed: int
    values: tuple[float, ...]

    @property
    def opens(self) -> int | None:
        """First modulated epoch, counted from 0; None if there is none."""
        return None if self.arm == "baseline" else int(self.changes[START])


@cache
def demo() -> Experiment:
    """Load the demo's experiment with the random sampler, which does not learn."""
    return load(Path(__file__).parents[1] / "experiments" / "demo.yaml", ["search.sampler=random"])


# ---- the file ----


def _columns() -> list[str]:
    experiment = demo()
    epochs = [f"epoch {epoch}" for epoch in range(experiment.trial.epochs)]
    return ["arm", *experiment.space, "seed", *epochs]


def _row(curve: Curve) -> list[str]:
    changes = [json.dumps(curve.changes[p]) if p in curve.changes else "" for p in demo().space]
    return [curve.arm, *changes, str(curve.seed), *(f"{value:.6f}" for value in curve.values)]


def _curve(row: dict[str, str]) -> Curve:
    changes = {path: json.loads(row[path]) for path in demo().space if row[path]}
    values = tuple(float(value) for column, value in row.items() if column.startswith("epoch "))
    arm: Arm = "baseline" if row["arm"] == "baseline" else "modulated"
    return Curve(arm, changes, int(row["seed"]), values)


def read(path: Path = FILE) -> list[Curve]:
    """Read the curves of a file; return an empty list if the file does not exist."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [_curve(row) for row in csv.DictReader(file)]


def write(curves: Sequence[Curve], path: Path = FILE) -> None:
    """Write curves to a file, sorted."""
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([_columns(), *sorted(map(_row, curves))])


def _append(curve: Curve, path: Path) -> None:
    with path.open("a", newline="") as file:
        csv.writer(file, lineterminator="\n").writerow(_row(curve))


# ---- the training ----


Job = tuple[Arm, Changes, int]


def jobs() -> Iterator[Job]:
    """Yield the trainings by configuration, the arms in alternation, so that a partial recording is usable too."""
    studies = {arm: ArmStudy(demo(), arm) for arm in CONFIGURATIONS}
    total = sum(CONFIGURATIONS.values())
    for number in range(total):
        arm = arm_of(number, CONFIGURATIONS["baseline"] / total)
        _, changes = studies[arm].suggest(number)
        yield from ((arm, changes, seed) for seed in SEEDS)


@cache
def _data() -> Data:
    return open_data(demo().dataset)


def _train(job: Job) -> Curve:
    """Train in a worker process, on one thread."""
    torch.set_num_threads(1)
    arm, changes, seed = job
    reports: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        config = with_changes(demo().trial, {**changes, "seed": seed})
        train(config, _data(), reports.append, folder=Path(folder))
    return Curve(arm, changes, seed, tuple(metrics[METRIC] for metrics in reports))


def record(processes: int, path: Path = FILE) -> None:
    """Train the missing curves, append each one when it is done, and sort the file at the end."""
    there = {(*_row(curve)[: -len(curve.values)],) for curve in read(path)}
    left = [job for job in jobs() if (*_row(Curve(*job, ())),) not in there]
    if not there:
        write([], path)
    print(f"curves: {len(there)} recorded, {len(left)} to train", flush=True)
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for done, curve in enumerate(pool.imap_unordered(_train, left), 1):
            _append(curve, path)
            print(
                f"{done}/{len(left)} {curve.arm} {curve.changes} seed {curve.seed}: {max(curve.values):.4f}", flush=True
            )
    write(read(path), path)
