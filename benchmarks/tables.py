"""Cost of `check` on a table of a million clips: `python -m benchmarks.tables [--rows 1000000] [--rounds 3]`.

A CSV and a Parquet file list one video per row, in a thousand folders, with 309 classes and 20,000 groups. A tenth of
the videos exist, as empty files; `--all` creates all of them. Each is checked by `python -m search check` in a process
of its own, with its imports. The store is not prepared. The result is the least CPU time and memory of all rounds.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow
from pyarrow import parquet

ROOT = Path(__file__).resolve().parent.parent
GOAL_S, GOAL_MB = 30, 1024  # CPU seconds and MB (2^20 bytes) for a million rows
COLUMNS = ("film", "label", "split", "speaker")
SPLITS = ("train", "train", "train", "val", "test")
FOLDERS = 1000


def rows(count: int) -> Iterator[tuple[str, str, str, str]]:
    for i in range(count):
        split = SPLITS[i // FOLDERS % len(SPLITS)]
        yield f"clips/{i % FOLDERS:03d}/{i:07d}_clip.mp4", f"class {i // 10 % 309}", split, f"speaker {i % 20_000}"


def generate(folder: Path, count: int, every: int) -> None:
    """Write the two tables, and every `every`th video."""
    for number in range(FOLDERS):
        (folder / f"clips/{number:03d}").mkdir(parents=True)
    listed = list(rows(count))
    for film, *_ in listed[::every]:
        (folder / film).touch()
    with (folder / "clips.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *listed])
    columns = zip(*listed, strict=True)
    parquet.write_table(pyarrow.table(dict(zip(COLUMNS, columns, strict=True))), folder / "clips.parquet")


def check(folder: Path, table: str) -> tuple[float, float]:
    """Return the CPU seconds and the largest resident memory, in MB, of a check."""
    section = f"name: table, source: {table}, store: store, video: film, group: speaker"
    (folder / "mine.yaml").write_text(f"name: mine\ndataset: {{{section}}}\n", encoding="utf-8")
    command = [sys.executable, "-m", "search", "check", "mine.yaml"]
    paths = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=folder, env=paths, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 1, printed  # there is no store
    assert "clips found" in printed, printed
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the table (1,000,000)")
    parser.add_argument("--rounds", type=int, default=3, help="checks of each table (3)")
    parser.add_argument("--all", action="store_true", help="create all videos, not a tenth of them")
    given = parser.parse_args()
    print(f"{given.rows:,} rows; the goals are for 1,000,000")
    print(f"{'table':16}{'CPU s':>8}{'goal':>6}{'MB':>8}{'goal':>6}")
    with tempfile.TemporaryDirectory() as name:
        generate(Path(name), given.rows, 1 if given.all else 10)
        for table in ("clips.csv", "clips.parquet"):
            seconds, megabytes = zip(*(check(Path(name), table) for _ in range(given.rounds)), strict=True)
            print(f"{table:16}{min(seconds):8.1f}{GOAL_S:6}{min(megabytes):8.0f}{GOAL_MB:6}", flush=True)


if __name__ == "__main__":
    main()
