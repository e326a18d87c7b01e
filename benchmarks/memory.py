"""Growth with the number of trials: `python -m benchmarks.memory [--trials 2000] [--without-mlflow]`.

It runs a search of this project whose trials only report five epochs, two at a time, with MLflow and SQLite. Each tenth
of the search prints a line: the resident memory of the process that runs the search, and the wall and CPU time per
trial. The last line is the memory per thousand trials, after the first tenth, and how much of it their records take.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.overhead import EPOCHS, ours

if TYPE_CHECKING:
    from search.run.trials import TrialRecord
    from search.tuner.tuner import Tuner

KB = 1024


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

    def summary(self) -> str:
        (first, _, _, least), (last, _, _, most) = self.points[1], self.points[-1]
        record = self._tuner.record
        records = size([record.trials, record.moments], set()) / len(record.trials)
        growth = (most - least) / (last - first)
        return (
            f"a thousand trials take {1000 * growth / KB**2:.1f} MB, {growth / KB:.1f} kB each; "
            f"a trial's record is {records / KB:.1f} kB of it"
        )


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
        ours(given.trials, Path(folder), tracked=not given.without_mlflow, watch=watch)
    print(watches[0].summary())


if __name__ == "__main__":
    main()
