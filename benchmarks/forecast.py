"""Whether a dry run's wall time holds: `python -m benchmarks.forecast [FILE] [KEY=VALUE …]`.

It makes the dry run's forecast, runs the search as a command of its own in an empty folder, and prints both times. For
the demo (the default), it then writes what was measured to `benchmarks/forecast.json`. The goal: "at most" holds. Run
it on a machine with nothing else to do.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from search.commands.estimate import forecast
from search.dry_run.forecast import Forecast
from search.experiment.formatting import duration
from search.experiment.load import load
from search.run.open_data import open_data

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "experiments" / "demo.yaml"
RECORD = Path(__file__).with_suffix(".json")


def run(file: Path, assignments: list[str]) -> float:
    """Run a search and its confirmation from the command line; return its wall time in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "run_search.py"), str(file), *assignments]
        began = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began


def record(found: Forecast, seconds: float) -> str:
    """Return what was measured, as JSON."""
    epochs = {name: round(cost.epoch_seconds, 3) for name, cost in found.costs.items()}
    measured = {"epoch_seconds": epochs, "crowding": round(found.crowding, 3)}
    started = {"start_seconds": round(found.start_seconds, 2), "at_once": found.at_once}
    return json.dumps({**measured, **started, "seconds": round(seconds, 1)}, indent=2) + "\n"


def main() -> None:
    file, *assignments = sys.argv[1:] or [str(DEMO)]
    experiment = load(Path(file), assignments)
    found = forecast(experiment, open_data(experiment.dataset))
    seconds = run(Path(file).resolve(), assignments)
    most, expected = found.wall_seconds
    print(f"expected {duration(expected)}, at most {duration(most)}; took {duration(seconds)}")
    print(f"  of the expected time: {seconds / expected:.2f}")
    print(f"goal, at most {duration(most)}: {'met' if seconds <= most else 'missed'}")
    if Path(file).resolve() == DEMO and not assignments:
        RECORD.write_text(record(found, seconds), encoding="utf-8")


if __name__ == "__main__":
    main()
