"""Growth with the number of trials: `python -m benchmarks.memory [--trials 2000] [--without-mlflow]`.

It runs a search of this project whose trials only report five epochs, two at a time, with MLflow and SQLite. Each tenth
of the search prints a line: the resident memory of the process that runs the search, and the wall and CPU time per
trial. Then the search is opened again, as by `--resume`, and its report is written. The last lines compare the figures
with the goals, and show what Optuna's sampler alone takes per trial for as many trials of one arm.

Times of the driver are CPU times, because other load on the machine lengthens wall times. The growth is from the second
tenth to the last: in the first tenth, samplers have little to learn from.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.overhead import EPOCHS, experiment_of, goal, ours

if TYPE_CHECKING:
    from search.experiment.schema import Experiment
    from search.run.trials import TrialRecord
    from search.tuner.tuner import Tuner

KB = 1024
MEMORY_KB, GROWTH, RESUME_S, REPORT_S, REPORT_MB = 10, 1.1, 15, 20, 15  # the goals, of 5,000 trials


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def size(value: Any, seen: set[int]) -> int:
    """Return the size of a value and its contents in bytes; objects in `seen` do not count."""
    if id(value) in seen:
        return 0
    seen.add(id(value))
    parts: list[Any] = list(vars(value).values()) if hasattr(value, "__dict__") else []
    if isinstance(value, dict):
        parts += [*value, *value.values()]
    elif isinstance(value, list | tuple | set):
        parts += value
    return sys.getsizeof(value) + sum(size(part, seen) for part in parts)


class Watch:
    """Callback that measures and prints at each tenth of a search."""

    def __init__(self, tuner: Tuner) -> None:
        self._tuner, self._tenth = tuner, max(1, tuner.policy.total // 10)
        self._ended = 0
        self.points: list[tuple[int, float, float, int]] = []
        print(f"{'trials':>8}{'MB':>8}{'s per trial':>12}{'CPU s':>8}")

    def on_start(self, trial: TrialRecord) -> None:
        """Do nothing."""

    def on_report(self, trial: TrialRecord) -> None:
        self.points = self.points or [(0, time.perf_counter(), time.process_time(), resident())]

    def on_end(self, trial: TrialRecord) -> None:
        self._ended += 1
        if self._ended % self._tenth == 0:
            self.points.append((self._ended, time.perf_counter(), time.process_time(), resident()))
            before, now = self.points[-2:]
            wall, cpu = ((b - a) / (now[0] - before[0]) for a, b in zip(before[1:3], now[1:3], strict=True))
            print(f"{now[0]:8}{now[3] / KB**2:8.0f}{wall:12.3f}{cpu:8.3f}", flush=True)

    def show(self) -> None:
        """Print the growth per trial, of memory and CPU time."""
        record, later = self._tuner.record, self.points[1:]
        (first, _, _, least), (last, _, _, most) = later[0], later[-1]
        records = size([record.trials, record.moments], set()) / len(record.trials)
        print(f"a trial's record: {records / KB:.1f} kB")
        goal("memory per trial in the driver", (most - least) / (last - first) / KB, MEMORY_KB, "kB")
        shares = [(b[2] - a[2]) / (b[0] - a[0]) for a, b in pairwise(later)]
        goal("CPU time of a trial of the last tenth, relative to the second", shares[-1] / shares[0], GROWTH, "")


def resume(experiment: Experiment, folder: Path, *, tracked: bool) -> float:
    """Open a search that has ended, as `--resume` does; return the CPU seconds."""
    from search.run.folder import Identity, RunFolder
    from search.run.journal import Journal
    from search.tracking.tracker import SearchTracker
    from search.tuner.search_policy import SearchPolicy
    from search.tuner.tuner import Tuner

    began, run = time.process_time(), RunFolder(folder / experiment.name)
    tuner = Tuner(experiment, Journal(run.journal), SearchPolicy(experiment))
    if tracked:
        tracker = SearchTracker(experiment, run, Identity("none", "none"), tuner.record, None)
        tracker.wait_until_connected()
        for trial in tuner.record:
            tracker.on_report(trial)
        tracker.close("FINISHED", [])
    return time.process_time() - began


def report(experiment: Experiment, folder: Path) -> tuple[float, int]:
    """Write the report of a search; return the CPU seconds and the size of the page in bytes."""
    from search.experiment.paths import experiment_yaml
    from search.experiment.schema import as_values
    from search.report.page import write_report
    from search.run.folder import RunFolder, write

    run = RunFolder(folder / experiment.name)
    write(run.experiment, experiment_yaml(as_values(experiment), run.experiment))
    began = time.process_time()
    page = write_report(run.path)
    return time.process_time() - began, page.stat().st_size


def optuna_alone(experiment: Experiment, trials: int) -> tuple[float, float]:
    """Return the CPU seconds that Optuna's own TPE takes per trial: in the second tenth of the trials, and the last."""
    import optuna

    from search.experiment.space import dimensions
    from search.tuner.distributions import distributions

    space = {}
    for dimension in dimensions(experiment.space, experiment.trial, modulated=True):
        space |= distributions(dimension)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study, ends = optuna.create_study(direction="maximize"), []
    for number in range(trials):
        study.sampler = optuna.samplers.TPESampler(seed=number, multivariate=True, constant_liar=True)
        study.tell(study.ask(space), random.Random(number).random())
        if (number + 1) % max(1, trials // 10) == 0:
            ends.append(time.process_time())
    tenth = max(1, trials // 10)
    return (ends[1] - ends[0]) / tenth, (ends[-1] - ends[-2]) / tenth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--without-mlflow", action="store_true")
    given = parser.parse_args()
    watches: list[Watch] = []

    def watch(tuner: Tuner) -> Watch:
        watches.append(Watch(tuner))
        return watches[0]

    print(f"{given.trials} trials of {EPOCHS} reports")
    with tempfile.TemporaryDirectory() as folder:
        tracked = not given.without_mlflow
        ours(given.trials, Path(folder), tracked=tracked, watch=watch)
        watches[0].show()
        experiment = experiment_of(given.trials)
        goal("opening it again", resume(experiment, Path(folder), tracked=tracked), RESUME_S, "CPU s")
        seconds, page = report(experiment, Path(folder))
        goal("its report", seconds, REPORT_S, "CPU s")
        goal("the report's size", page / KB**2, REPORT_MB, "MB")
    second, last = optuna_alone(experiment, given.trials // 2)
    print(f"Optuna's TPE alone, {given.trials // 2} trials: {second:.4f} CPU s per trial, then {last:.4f}")


if __name__ == "__main__":
    main()
