"""The whole search against what a user would do instead: `python -m benchmarks.search [--keep FOLDER] [WAY …]`.

Three ways answer the same question about the demo's data: which alpha, window and fusion, and does modulation help?
  grid   a shell loop over a grid of full trainings, one process each (`benchmarks/user_training.py`): all four
         fusions, two values of every other setting, and each baseline once;
  tune   a user's own script with Ray Tune, OptunaSearch and ASHA and their defaults (`benchmarks/user_script.py`),
         with as many trials as the demo;
  ours   `run_search.py experiments/demo.yaml confirm=null`, because the other ways do not confirm either.
They run one after the other on two cores, with two trainings at a time. CPU-hours, and CPU-seconds per epoch, count all
processes that a way starts, including imports and services (`benchmarks/cpu_time.py`). Then the configuration with the
highest validation accuracy of each way is trained with the same fresh seeds; each seed draws its own validation split.
The last lines say whether the goals hold.

Each way is a single search: other random draws would lead to other choices. Completed work in the folder of `--keep` is
reused. After an interruption, `grid` and the fresh seeds continue with the remaining trainings, and the time already
used counts; `tune` and `ours` start again.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.cpu_time import ROOT, Used, measured
from search.verdict.paired import t_interval

AT_ONCE = 2  # number of trainings at the same time, and of cores
OF_TUNE, OF_GRID = 1 / 2, 1 / 4  # goals: our share of their CPU-hours
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0"}
FUSIONS, RATES, ALPHAS, STARTS, ENDS = ("concat", "sum", "film", "gated"), (0.01, 0.1), (0.1, 1.0), (0, 4), (7, 11)
SEARCHED = 0  # seed of all three ways; fresh seeds follow it


@dataclass(frozen=True)
class Configuration:
    """A configuration; without modulation, alpha, start and end are 0."""

    fusion: str
    lr: float
    method: str = "none"
    alpha: float = 0.0
    start: int = 0
    end: int = 0

    def __str__(self) -> str:
        window = "" if self.method == "none" else f", alpha {self.alpha:.3g}, window {self.start}-{self.end}"
        return f"{self.fusion}, lr {self.lr:g}, {self.method}{window}"


@dataclass(frozen=True)
class Training:
    """A training and its result.

    Args:
        configuration: configuration that was trained.
        seed: seed of the training.
        epochs: number of epochs that were trained.
        accuracy: validation accuracy of the best epoch; None if the training failed.
    """

    configuration: Configuration
    seed: int
    epochs: int
    accuracy: float | None


@dataclass(frozen=True)
class Sizes:
    """Sizes of a run.

    Args:
        trials: number of trials of tune and ours; the grid has at most three times as many.
        epochs: number of epochs per training.
    """

    trials: int
    epochs: int


@dataclass(frozen=True)
class Result:
    """Result of one way: its trainings and the time it used."""

    trainings: Sequence[Training]
    used: Used

    @property
    def epochs(self) -> int:
        return sum(training.epochs for training in self.trainings)


# ---- the ways ----


def grid(most: int) -> list[Configuration]:
    """Return the grid's configurations; if there are more than `most`, an evenly spaced selection."""
    points = [Configuration(*baseline) for baseline in itertools.product(FUSIONS, RATES)]
    modulated = itertools.product(FUSIONS, RATES, ["ogm_ge"], ALPHAS, STARTS, ENDS)
    points += [Configuration(*point) for point in modulated]
    number = min(most, len(points))
    return [points[place * len(points) // number] for place in range(number)]


Job = tuple[Configuration, int]  # configuration and seed


def looped(jobs: Iterable[Job], epochs: int, folder: Path) -> list[Training]:
    """Run the trainings that the folder lacks, each in its own process, and return all."""
    folder.mkdir(parents=True, exist_ok=True)
    results, todo = folder / "results.csv", folder / "todo.txt"
    asked = list(dict.fromkeys(jobs))
    there = {(t.configuration, t.seed): t for t in of_loop(results)}
    left = [job for job in asked if job not in there]
    if left:
        lines = [" ".join(map(str, (*astuple(configuration), epochs, seed))) for configuration, seed in left]
        todo.write_text("\n".join(lines) + "\n", encoding="utf-8")
        python = [sys.executable, "-m", "benchmarks.user_training", results.name]
        _measured(["xargs", "-a", todo.name, "-L", "1", "-P", str(AT_ONCE), *python], folder)
        there = {(t.configuration, t.seed): t for t in of_loop(results)}
    return [there[job] for job in asked]


def _grid(sizes: Sizes, folder: Path) -> list[Training]:
    return looped([(point, SEARCHED) for point in grid(3 * sizes.trials)], sizes.epochs, folder)


def _tune(sizes: Sizes, folder: Path) -> list[Training]:
    results = folder / "results.csv"
    if not results.exists():
        _anew(folder)
        words = [results.name, str(sizes.trials), str(sizes.epochs)]
        _measured([sys.executable, "-m", "benchmarks.user_script", *words], folder)
    return of_tune(results)


def _ours(sizes: Sizes, folder: Path) -> list[Training]:
    done, results = folder / "done", folder / "runs" / "demo" / "trials.csv"
    if not done.exists():
        _anew(folder)
        words = [f"search.trials={sizes.trials}", f"trial.epochs={sizes.epochs}", "confirm=null"]
        demo = [str(ROOT / "run_search.py"), str(ROOT / "experiments" / "demo.yaml")]
        _measured([sys.executable, *demo, *words], folder)
        done.touch()
    return of_ours(results)


WAYS: dict[str, Callable[[Sizes, Path], list[Training]]] = {"grid": _grid, "tune": _tune, "ours": _ours}


def _anew(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _measured(command: Sequence[str], folder: Path) -> None:
    """Run a command; write its output and the time it used into the folder."""
    out = folder / f"{len(list(folder.glob('*.used.json')))}.used.log"
    try:
        measured(command, folder=folder, environment=ENVIRONMENT, out=out)
    except subprocess.CalledProcessError as error:
        printed = out.read_text(encoding="utf-8", errors="replace").splitlines()
        sys.exit("\n".join([*printed[-20:], str(error)]))


def used_in(folder: Path) -> Used:
    """Return the total time of the commands that ran in the folder."""
    each = [Used(**json.loads(file.read_text(encoding="utf-8"))) for file in sorted(folder.glob("*.used.json"))]
    return sum(each, Used(0.0, 0.0, 0.0))


# ---- reading the results ----


def _rows(path: Path, columns: Sequence[str] | None = None) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, columns))


def _configuration(row: dict[str, str], names: dict[str, str]) -> Configuration:
    """Return the configuration of a row; `names` maps its keys to the columns."""
    text = {name: row[names.get(name, name)] for name in ("fusion", "lr", "method", "alpha", "start", "end")}
    if text["method"] == "none":
        return Configuration(text["fusion"], float(text["lr"]))
    start, end = int(text["start"]), int(text["end"])
    return Configuration(text["fusion"], float(text["lr"]), text["method"], float(text["alpha"]), start, end)


def of_loop(path: Path) -> list[Training]:
    """Read the lines that `benchmarks.user_training` appends."""
    names = ["fusion", "lr", "method", "alpha", "start", "end", "epochs", "seed", "accuracy"]
    rows = _rows(path, names)
    return [
        Training(_configuration(row, {}), int(row["seed"]), int(row["epochs"]), float(row["accuracy"])) for row in rows
    ]


def of_tune(path: Path) -> list[Training]:
    """Read the table of `benchmarks.user_script`."""
    names = {name: f"config/{name}" for name in ("fusion", "lr", "method", "alpha", "start", "end")}
    found = []
    for row in _rows(path):
        one = _configuration(row, names)
        one = replace(one, end=max(one.start, one.end))  # see `benchmarks.user_script`
        accuracy = float(row["best"]) if row.get("best") else None
        found.append(Training(one, SEARCHED, int(float(row.get("training_iteration") or 0)), accuracy))
    return found


def of_ours(path: Path) -> list[Training]:
    """Read a search's `trials.csv`."""
    names = {"lr": "optimizer.lr"} | {name: f"modulation.{name}" for name in ("method", "alpha", "start", "end")}
    found = []
    for row in _rows(path):
        plain = {"modulation.method": "none"} if row["arm"] == "baseline" else {}
        accuracy = float(row["val/accuracy"]) if row.get("val/accuracy") else None
        found.append(Training(_configuration(row | plain, names), SEARCHED, int(row["epochs_trained"]), accuracy))
    return found


def best_of(trainings: Iterable[Training]) -> Training:
    """Return the training with the highest accuracy; of equal ones an unmodulated one, as it is simpler."""
    done = [training for training in trainings if training.accuracy is not None]
    return max(done, key=lambda t: (t.accuracy, t.configuration.method == "none"))


# ---- printing the results ----


def table(results: dict[str, Result]) -> str:
    """Return the cost of each way, and its best result with and without modulation, as a table."""
    lines = [f"{'':6}{'trainings':>10}{'epochs':>8}{'CPU-hours':>11}{'s per epoch':>13}{'wall time':>11}"]
    for name, result in results.items():
        hours, each = f"{result.used.cpu / 3600:.3f}", f"{result.used.cpu / max(1, result.epochs):.1f}"
        minutes = f"{result.used.wall / 60:.1f} min"
        lines.append(f"{name:6}{len(result.trainings):10}{result.epochs:8}{hours:>11}{each:>13}{minutes:>11}")
    lines.append("\nBest validation accuracy, one training each")
    for name, result in results.items():
        for plain in (False, True):
            arm = [t for t in result.trainings if (t.configuration.method == "none") == plain]
            if any(t.accuracy is not None for t in arm):
                best = best_of(arm)
                lines.append(f"{name:6}{best.accuracy:.1%}  {best.configuration}")
    return "\n".join(lines)


def quality(fresh: dict[str, Sequence[float]]) -> str:
    """Return the accuracy of each way's choice with fresh seeds, as a table.

    Args:
        fresh: way -> accuracy with each seed, in the same order.
    """
    lines = ["The best configuration of each way with fresh seeds: mean and standard deviation"]
    for name, values in fresh.items():
        alone = t_interval(values, [0.0] * len(values)).modulated
        spread = "" if alone.sd is None else f" ± {100 * alone.sd:.1f}"
        lines.append(f"{name:6}{100 * alone.mean:.1f}{spread} %, n = {len(values)}")
    return "\n".join(lines)


def goals(results: dict[str, Result], fresh: dict[str, Sequence[float]]) -> str:
    """Return the goals that can be evaluated from the ways that ran."""
    lines = []
    for other, most in (("tune", OF_TUNE), ("grid", OF_GRID)):
        if other in results and "ours" in results:
            share = results["ours"].used.cpu / results[other].used.cpu
            word = "holds" if share <= most else "MISSED"
            lines.append(f"CPU-hours, ours / {other}: {share:.2f} (goal: at most {most}): {word}")
            lines.append(_no_worse(other, fresh["ours"], fresh[other]))
    return "\n".join(lines)


def _no_worse(other: str, ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Return the line on quality: missed only if the 95 % interval of the paired difference is below 0."""
    found = t_interval([100 * value for value in ours], [100 * value for value in theirs])
    error = "" if found.sd is None else f" ± {found.sd / math.sqrt(found.n):.2f}"
    if found.mean >= 0:
        word = "holds"
    elif found.high is None or found.high >= 0:
        word = f"{found.n} seeds cannot tell"
    else:
        word = "MISSED"
    return f"quality, ours - {other}: {found.mean:+.2f}{error} points, mean and standard error (goal: no worse): {word}"


def _fresh(results: dict[str, Result], sizes: Sizes, seeds: int, folder: Path) -> dict[str, Sequence[float]]:
    """Train each way's choice with fresh seeds, equal choices only once; return the accuracies per way."""
    chosen = {name: best_of(result.trainings).configuration for name, result in results.items()}
    every = range(SEARCHED + 1, SEARCHED + 1 + seeds)
    done = looped(((one, seed) for seed in every for one in chosen.values()), sizes.epochs, folder)
    accuracy = {(t.configuration, t.seed): t.accuracy or 0.0 for t in done}
    return {name: [accuracy[one, seed] for seed in every] for name, one in chosen.items()}


def claim(folder: Path, sizes: Sizes) -> None:
    """Reserve the folder for a run of these sizes; refuse one that holds a run of other sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    settings, text = folder / "sizes.json", json.dumps(vars(sizes))
    if settings.exists() and settings.read_text(encoding="utf-8") != text:
        sys.exit(f"{folder} holds a run with {settings.read_text(encoding='utf-8')}, not {text}: use another folder")
    settings.write_text(text, encoding="utf-8")


def compare(ways: Sequence[str], sizes: Sizes, seeds: int, folder: Path) -> None:
    """Run the ways and print the results."""
    claim(folder, sizes)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:AT_ONCE])  # inherited by all child processes
    results = {}
    for name in ways:
        print(f"{name} …", flush=True)
        trainings = WAYS[name](sizes, folder / name)
        results[name] = Result(trainings, used_in(folder / name))
    print(f"\n{table(results)}\n\nfresh seeds …", flush=True)
    fresh = _fresh(results, sizes, seeds, folder / "fresh")
    print(f"\n{quality(fresh)}\n\n{goals(results, fresh)}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="*", metavar="WAY", help=f"ways to run: {', '.join(WAYS)} (all)")
    parser.add_argument("--trials", type=int, default=24, help="trials of tune and ours (grid: up to 3 times)")
    parser.add_argument("--epochs", type=int, default=12, help="epochs per training")
    parser.add_argument("--seeds", type=int, default=5, help="fresh seeds for each way's choice")
    parser.add_argument("--keep", type=Path, help="folder for the results, so that an interrupted run can be resumed")
    asked = parser.parse_args(arguments)
    ways = asked.ways or list(WAYS)
    if unknown := set(ways) - set(WAYS):
        parser.error(f"{', '.join(sorted(unknown))} is not one of {', '.join(WAYS)}")
    for number in (signal.SIGINT, signal.SIGTERM):  # also in the background of a shell: child processes are ended first
        signal.signal(number, signal.default_int_handler)
    with TemporaryDirectory() as folder:
        keep = (asked.keep or Path(folder)).absolute()
        try:
            compare([way for way in WAYS if way in ways], Sizes(asked.trials, asked.epochs), asked.seeds, keep)
        except KeyboardInterrupt:
            sys.exit("interrupted" + ("; run the same command to resume" if asked.keep else ""))


if __name__ == "__main__":
    main()
