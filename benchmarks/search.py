"""The whole product against what its user would do instead: `python -m benchmarks.search [--keep FOLDER] [WAY …]`.

The same question about the demo's data, which alpha, window and fusion, and does it help, is put to
  grid   a loop in the shell over a grid of full trainings, a process each (`benchmarks/user_training.py`): all four
         fusions, two values of all else, and each of their baselines once;
  tune   a user's own script with Ray Tune, OptunaSearch and ASHA and their defaults (`benchmarks/user_script.py`), of
         as many trials as the demo;
  ours   `run_search.py experiments/demo.yaml confirm=null`: the others confirm nothing, either.
One after the other, on two cores, two trainings at a time. CPU-hours, and CPU-seconds an epoch, are of all processes
that a way starts, from its begin to its end, imports and services included (`benchmarks/cpu_time.py`). Then the
configuration that each would take, that of the highest validation accuracy, is trained with the same fresh seeds, each
of which draws the validation split anew. Ends with the goals, and whether they hold.

Each way is one search: another draw of the samplers would choose otherwise. What is in the folder of `--keep` already
is not done again: a way that was interrupted begins anew, the grid and the fresh seeds go on with the trainings that
are left, and what the grid had used counts.
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

AT_ONCE = 2  # trainings, and cores
OF_TUNE, OF_GRID = 1 / 2, 1 / 4  # of the CPU-hours: the goals
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0"}
FUSIONS, RATES, ALPHAS, STARTS, ENDS = ("concat", "sum", "film", "gated"), (0.01, 0.1), (0.1, 1.0), (0, 4), (7, 11)
SEARCHED = 0  # the seed of all three ways; fresh ones begin after it


@dataclass(frozen=True)
class Configuration:
    """What is asked for; of an unmodulated one alpha, start and end are 0."""

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
    """What came of one.

    Args:
        configuration: of it.
        seed: likewise.
        epochs: that were trained for it.
        accuracy: of its best epoch; None where it failed.
    """

    configuration: Configuration
    seed: int
    epochs: int
    accuracy: float | None


@dataclass(frozen=True)
class Sizes:
    """Of a run.

    Args:
        trials: of tune and ours; the grid has three times as many at most.
        epochs: of a training.
    """

    trials: int
    epochs: int


@dataclass(frozen=True)
class Result:
    """Of one way."""

    trainings: Sequence[Training]
    used: Used

    @property
    def epochs(self) -> int:
        return sum(training.epochs for training in self.trainings)


# ---- the ways ----


def grid(most: int) -> list[Configuration]:
    """The coarsest there is; where it is more than that, so many of it, evenly."""
    points = [Configuration(*baseline) for baseline in itertools.product(FUSIONS, RATES)]
    modulated = itertools.product(FUSIONS, RATES, ["ogm_ge"], ALPHAS, STARTS, ENDS)
    points += [Configuration(*point) for point in modulated]
    number = min(most, len(points))
    return [points[place * len(points) // number] for place in range(number)]


Job = tuple[Configuration, int]  # with its seed


def looped(jobs: Iterable[Job], epochs: int, folder: Path) -> list[Training]:
    """Trains what is not yet in the folder, each in a process of its own."""
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
    """Runs it, and leaves beside the folder's other files what it printed and what it used."""
    out = folder / f"{len(list(folder.glob('*.used.json')))}.used.log"
    try:
        measured(command, folder=folder, environment=ENVIRONMENT, out=out)
    except subprocess.CalledProcessError as error:
        printed = out.read_text(encoding="utf-8", errors="replace").splitlines()
        sys.exit("\n".join([*printed[-20:], str(error)]))


def used_in(folder: Path) -> Used:
    """All that ran for it, one after the other."""
    each = [Used(**json.loads(file.read_text(encoding="utf-8"))) for file in sorted(folder.glob("*.used.json"))]
    return sum(each, Used(0.0, 0.0, 0.0))


# ---- what they leave ----


def _rows(path: Path, columns: Sequence[str] | None = None) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, columns))


def _configuration(row: dict[str, str], names: dict[str, str]) -> Configuration:
    """Of a row, with the names that its columns have."""
    text = {name: row[names.get(name, name)] for name in ("fusion", "lr", "method", "alpha", "start", "end")}
    if text["method"] == "none":
        return Configuration(text["fusion"], float(text["lr"]))
    start, end = int(text["start"]), int(text["end"])
    return Configuration(text["fusion"], float(text["lr"]), text["method"], float(text["alpha"]), start, end)


def of_loop(path: Path) -> list[Training]:
    """The lines that `benchmarks.user_training` appends."""
    names = ["fusion", "lr", "method", "alpha", "start", "end", "epochs", "seed", "accuracy"]
    rows = _rows(path, names)
    return [
        Training(_configuration(row, {}), int(row["seed"]), int(row["epochs"]), float(row["accuracy"])) for row in rows
    ]


def of_tune(path: Path) -> list[Training]:
    """The table of `benchmarks.user_script`."""
    names = {name: f"config/{name}" for name in ("fusion", "lr", "method", "alpha", "start", "end")}
    found = []
    for row in _rows(path):
        one = _configuration(row, names)
        one = replace(one, end=max(one.start, one.end))  # see `benchmarks.user_script`
        accuracy = float(row["best"]) if row.get("best") else None
        found.append(Training(one, SEARCHED, int(float(row.get("training_iteration") or 0)), accuracy))
    return found


def of_ours(path: Path) -> list[Training]:
    """A search's `trials.csv`."""
    names = {"lr": "optimizer.lr"} | {name: f"modulation.{name}" for name in ("method", "alpha", "start", "end")}
    found = []
    for row in _rows(path):
        plain = {"modulation.method": "none"} if row["arm"] == "baseline" else {}
        accuracy = float(row["val/accuracy"]) if row.get("val/accuracy") else None
        found.append(Training(_configuration(row | plain, names), SEARCHED, int(row["epochs_trained"]), accuracy))
    return found


def best_of(trainings: Iterable[Training]) -> Training:
    """That of the highest accuracy; of equal ones an unmodulated one, which is simpler, then the first."""
    done = [training for training in trainings if training.accuracy is not None]
    return max(done, key=lambda t: (t.accuracy, t.configuration.method == "none"))


# ---- what came out ----


def table(results: dict[str, Result]) -> str:
    """What each way took, and the best that it found with and without modulation."""
    lines = [f"{'':6}{'trainings':>10}{'epochs':>8}{'CPU-hours':>11}{'s an epoch':>12}{'wall time':>11}"]
    for name, result in results.items():
        hours, each = f"{result.used.cpu / 3600:.3f}", f"{result.used.cpu / max(1, result.epochs):.1f}"
        minutes = f"{result.used.wall / 60:.1f} min"
        lines.append(f"{name:6}{len(result.trainings):10}{result.epochs:8}{hours:>11}{each:>12}{minutes:>11}")
    lines.append("\nThe best validation accuracy, of one training each")
    for name, result in results.items():
        for plain in (False, True):
            arm = [t for t in result.trainings if (t.configuration.method == "none") == plain]
            if any(t.accuracy is not None for t in arm):
                best = best_of(arm)
                lines.append(f"{name:6}{best.accuracy:.1%}  {best.configuration}")
    return "\n".join(lines)


def quality(fresh: dict[str, Sequence[float]]) -> str:
    """Of what each way chose, with seeds that none of them saw.

    Args:
        fresh: way -> accuracy with each seed, in the same order.
    """
    lines = ["Of these the best, with fresh seeds: mean and standard deviation"]
    for name, values in fresh.items():
        alone = t_interval(values, [0.0] * len(values)).modulated
        spread = "" if alone.sd is None else f" ± {100 * alone.sd:.1f}"
        lines.append(f"{name:6}{100 * alone.mean:.1f}{spread} %, n = {len(values)}")
    return "\n".join(lines)


def goals(results: dict[str, Result], fresh: dict[str, Sequence[float]]) -> str:
    """Those that can be told of the ways that ran."""
    lines = []
    for other, most in (("tune", OF_TUNE), ("grid", OF_GRID)):
        if other in results and "ours" in results:
            share = results["ours"].used.cpu / results[other].used.cpu
            word = "holds" if share <= most else "MISSED"
            lines.append(f"CPU-hours, ours / {other}: {share:.2f} (goal {most} at most): {word}")
            lines.append(_no_worse(other, fresh["ours"], fresh[other]))
    return "\n".join(lines)


def _no_worse(other: str, ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Missed only where the seeds show it: where the 95 % interval of the paired difference is below 0."""
    found = t_interval([100 * value for value in ours], [100 * value for value in theirs])
    error = "" if found.sd is None else f" ± {found.sd / math.sqrt(found.n):.2f}"
    if found.mean >= 0:
        word = "holds"
    elif found.high is None or found.high >= 0:
        word = f"{found.n} seeds cannot tell"
    else:
        word = "MISSED"
    return f"quality, ours - {other}: {found.mean:+.2f}{error} points, mean and standard error (goal no worse): {word}"


def _fresh(results: dict[str, Result], sizes: Sizes, seeds: int, folder: Path) -> dict[str, Sequence[float]]:
    """What each way chose, trained with seeds that none of them saw; the same choice of two ways once."""
    chosen = {name: best_of(result.trainings).configuration for name, result in results.items()}
    every = range(SEARCHED + 1, SEARCHED + 1 + seeds)
    done = looped(((one, seed) for seed in every for one in chosen.values()), sizes.epochs, folder)
    accuracy = {(t.configuration, t.seed): t.accuracy or 0.0 for t in done}
    return {name: [accuracy[one, seed] for seed in every] for name, one in chosen.items()}


def claim(folder: Path, sizes: Sizes) -> None:
    """The folder for a run of these sizes: what is kept of another is not taken for one of it."""
    folder.mkdir(parents=True, exist_ok=True)
    settings, text = folder / "sizes.json", json.dumps(vars(sizes))
    if settings.exists() and settings.read_text(encoding="utf-8") != text:
        sys.exit(f"{folder} has a run of {settings.read_text(encoding='utf-8')}, not of {text}: take another folder")
    settings.write_text(text, encoding="utf-8")


def compare(ways: Sequence[str], sizes: Sizes, seeds: int, folder: Path) -> None:
    """Runs them and prints what came out."""
    claim(folder, sizes)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:AT_ONCE])  # of whatever is started, too
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
    parser.add_argument("ways", nargs="*", metavar="WAY", help=f"{', '.join(WAYS)}; all by default")
    parser.add_argument("--trials", type=int, default=24, help="of tune and ours; of the grid three times as many")
    parser.add_argument("--epochs", type=int, default=12, help="of a training")
    parser.add_argument("--seeds", type=int, default=5, help="fresh ones, of each way's choice")
    parser.add_argument("--keep", type=Path, help="a folder for what comes out, so that an interrupted run goes on")
    asked = parser.parse_args(arguments)
    ways = asked.ways or list(WAYS)
    if unknown := set(ways) - set(WAYS):
        parser.error(f"{', '.join(sorted(unknown))} is none of {', '.join(WAYS)}")
    for number in (signal.SIGINT, signal.SIGTERM):  # also in the background of a shell: what runs is ended first
        signal.signal(number, signal.default_int_handler)
    with TemporaryDirectory() as folder:
        keep = (asked.keep or Path(folder)).absolute()
        try:
            compare([way for way in WAYS if way in ways], Sizes(asked.trials, asked.epochs), asked.seeds, keep)
        except KeyboardInterrupt:
            sys.exit("interrupted" + ("; the same command goes on" if asked.keep else ""))


if __name__ == "__main__":
    main()
