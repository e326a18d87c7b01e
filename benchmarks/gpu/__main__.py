"""All figures about a GPU: `python -m benchmarks.gpu [--output FILE] [--seconds 450] [--only NAME …]`.

Each measurement runs in its own process. One that fails has a row that says why, and the others go on. The rows are
written to a JSON file after each measurement. Needs only torch and torchvision; the rows of a store need the project's
other dependencies too, and are skipped without them.

Without a GPU it runs on the CPU, with small models and inputs, in at most a minute. This shows that the command works,
and says nothing about GPUs.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from benchmarks.gpu.distributed import measure_distributed
from benchmarks.gpu.features import measure_features
from benchmarks.gpu.memory_limit import measure_memory_limit
from benchmarks.gpu.noise_error import measure_noise_error
from benchmarks.gpu.precisions import measure_compile, measure_precisions
from benchmarks.gpu.process import NO_ROW, Measure, rows_of
from benchmarks.gpu.reading import measure_reading
from benchmarks.gpu.rows import Load, Row, Value, load_of
from benchmarks.gpu.same_bits import measure_same_bits
from benchmarks.gpu.sharing import measure_sharing
from benchmarks.gpu.step_cost import measure_step

OUTPUT = Path(__file__).resolve().parents[1] / "gpu.json"
SECONDS = {"cuda": 450.0, "cpu": 55.0}  # for all measurements
LEAST_S = 3.0  # a measurement does not start with less time
MEASUREMENTS: dict[str, tuple[Measure, float]] = {  # name -> function, and its longest time in seconds
    "step": (measure_step, 60),
    "precision": (measure_precisions, 60),
    "deterministic": (measure_same_bits, 90),
    "sigma": (measure_noise_error, 20),
    "memory": (measure_memory_limit, 60),
    "transforms": (measure_features, 30),
    "distributed": (measure_distributed, 45),
    "reading": (measure_reading, 110),
    "sharing": (measure_sharing, 150),
    "compile": (measure_compile, 200),
}


@dataclass
class Result:
    """Rows of all measurements so far.

    Args:
        load: device and sizes.
        began: when the command began, in seconds of `time.monotonic`.
        rows: name of the measurement, and its row.
    """

    load: Load
    began: float = field(default_factory=time.monotonic)
    rows: list[tuple[str, Row]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def write(self, path: Path) -> None:
        """Write the machine and all rows as JSON."""
        values = {
            "date": time.strftime("%Y-%m-%d"),
            "torch": torch.__version__,
            "device": device_name(self.load),
            "is_gpu": self.load.on_gpu,
            "cores": len(os.sched_getaffinity(0)),
            "seconds": round(self.seconds, 1),
            "load": {**asdict(self.load), "device": str(self.load.device)},
            "rows": [
                {
                    "measurement": name,
                    **asdict(row),
                    "values": {key: _plain(value) for key, value in row.values.items()},
                }
                for name, row in self.rows
            ],
        }
        path.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _plain(value: Value) -> Value:
    """Return a number with four significant digits; one that is not finite as text, which JSON lacks.

    >>> _plain(1.23456), _plain(3), _plain(True), _plain(float("inf"))
    (1.235, 3, True, 'inf')
    """
    if not isinstance(value, float):
        return value
    return float(f"{value:.4g}") if math.isfinite(value) else str(value)


def device_name(load: Load) -> str:
    return torch.cuda.get_device_name() if load.on_gpu else "CPU"


def has_figures(path: Path) -> bool:
    """Return whether a file has the result of a GPU."""
    return path.is_file() and bool(json.loads(path.read_text(encoding="utf-8"))["is_gpu"])


def format_row(name: str, row: Row) -> str:
    """Return a line of the table."""
    text = ", ".join(f"{key} {_format_value(value)}" for key, value in row.values.items())
    if row.status != "measured":
        text = f"{row.status}: {row.reason}"
    if row.is_met is not None:
        text += f"; goal ({row.goal}) {'met' if row.is_met else 'MISSED'}"
    return f"{name:14}{row.case:42}{text}"


def _format_value(value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def run(names: Sequence[str], load: Load, seconds: float) -> Iterator[tuple[str, Row]]:
    """Run measurements one after the other, as far as the time allows, and yield their rows as they come."""
    until = time.monotonic() + seconds
    for name in names:
        measure, limit_s = MEASUREMENTS[name]
        left = until - time.monotonic()
        if left < LEAST_S:
            yield (
                name,
                Row(NO_ROW, status="skipped", reason=f"no time left of {seconds:g} s: run it with --only {name}"),
            )
            continue
        for row in rows_of(measure, load, min(limit_s, left)):
            yield name, row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    most = SECONDS[device.type]
    parser.add_argument("--output", type=Path, default=OUTPUT, help="JSON file (benchmarks/gpu.json)")
    parser.add_argument("--seconds", type=float, default=most, help=f"time for all measurements ({most:g})")
    parser.add_argument("--only", nargs="+", choices=list(MEASUREMENTS), metavar="NAME", help=", ".join(MEASUREMENTS))
    given = parser.parse_args()
    load = load_of(device)
    result = Result(load)
    if not load.on_gpu and has_figures(given.output):
        parser.error(
            f"{given.output} has the figures of a GPU, and this machine has none: name another file (--output)"
        )
    try:
        result.write(given.output)
    except OSError as error:
        parser.error(f"--output {given.output} cannot be written ({error.strerror}): name a file in an existing folder")
    print(f"torch {torch.__version__}, {device_name(load)}, {len(os.sched_getaffinity(0))} cores")
    try:
        for name, row in run(given.only or list(MEASUREMENTS), load, given.seconds):
            result.rows.append((name, row))
            result.write(given.output)
            print(format_row(name, row), flush=True)
    except KeyboardInterrupt:
        parser.exit(130, f"interrupted; the rows so far are in {given.output}\n")
    print(f"{result.seconds:.0f} s, written to {given.output}")
    if not load.on_gpu:
        print("NO GPU: small models and inputs on the CPU, which says nothing about GPUs")


if __name__ == "__main__":
    main()
