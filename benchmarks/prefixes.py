"""A search with and without shared prefixes: `python -m benchmarks.prefixes [--epochs 10] [--alphas 8]`.

`run_search.py` searches a grid of 8 alphas x 4 starts x 4 ends with its baseline twice, with and without
`search.share_prefixes`, on the demo's data and model. The epochs are scaled down from 100, and no trial is stopped
early. Three things are compared:
  - the epochs trained with the lower bound, which is counted here over all histories by brute force;
  - the wall time, from the start of the first epoch to the end of the last trial, with that expected from the epochs;
  - the metrics and best weights of each trial, to the bit.
The exit code is 1 if the first or the last comparison fails.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ogmge import checkpoint
from search.run.journal import Journal
from search.run.trials import SearchRecord, TrialRecord

ROOT = Path(__file__).resolve().parent.parent
STARTS, ENDS, WHOLE = (0, 10, 20, 30), (40, 50, 60, 80), 100
WITHIN = 1.1  # times the wall time expected from the epochs


@dataclass(frozen=True)
class Grid:
    """Grid that is searched.

    Args:
        alphas: number of alphas.
        epochs: number of epochs per trial; the windows are scaled accordingly.
    """

    alphas: int
    epochs: int

    @property
    def windows(self) -> tuple[list[int], list[int]]:
        """Starts and ends of the windows."""
        starts, ends = ([place * self.epochs // WHOLE for place in places] for places in (STARTS, ENDS))
        return starts, ends

    @property
    def strengths(self) -> list[float]:
        return [round(0.1 + 0.2 * place, 1) for place in range(self.alphas)]

    @property
    def bound(self) -> int:
        """Smallest number of epochs that a search of the grid has to train: its number of distinct prefixes."""
        modulated = itertools.product(self.strengths, *self.windows)
        runs = [self._steps(*settings) for settings in modulated] + [(None,) * self.epochs]
        return len({run[:length] for run in runs for length in range(1, self.epochs + 1)})

    def _steps(self, strength: float, start: int, end: int) -> tuple[float | None, ...]:
        return tuple(strength if start <= epoch <= end else None for epoch in range(self.epochs))

    @property
    def all_epochs(self) -> int:
        starts, ends = self.windows
        return (self.alphas * len(starts) * len(ends) + 1) * self.epochs


@dataclass(frozen=True)
class SearchSummary:
    """One of the two searches.

    Args:
        record: record of the search.
        folder: folder of its trials.
    """

    record: SearchRecord
    folder: Path

    @property
    def seconds(self) -> float:
        """Wall time from the start of the first epoch, after the workers started, to the end of the last trial."""
        events = map(json.loads, (self.folder / "journal.jsonl").read_text(encoding="utf-8").splitlines())
        first = next(event for event in events if event["event"] == "reported")
        return self.record.spent.wall_seconds - (first["wall_seconds"] - first["metrics"]["seconds"])

    def best_weights(self, trial: TrialRecord) -> dict[str, torch.Tensor]:
        weights: dict[str, torch.Tensor] = checkpoint.load(self.folder / f"{trial.number:04d}" / "best.pt")["model"]
        return weights


def run_search(grid: Grid, folder: Path, *, shared: bool) -> SearchSummary:
    """Run the whole command in its own process."""
    starts, ends = grid.windows
    words = [
        f"name={'shared' if shared else 'alone'}",
        f"trial.epochs={grid.epochs}",
        f"trial.modulation={{method: ogm_ge, alpha: 0.1, start: 0, end: {grid.epochs - 1}}}",
        f"trial.schedule={{name: step, milestones: [{max(1, 7 * grid.epochs // 10)}], gamma: 0.1}}",
        "space={}",
        f"space.modulation.alpha={grid.strengths}",
        f"space.modulation.start={starts}",
        f"space.modulation.end={ends}",
        "search.sampler=grid",
        "search.trials=10000",
        "search.scheduler={name: none}",
        f"search.share_prefixes={str(shared).lower()}",
        "confirm=null",
        "tracking.checkpoints=none",
    ]
    command = [sys.executable, str(ROOT / "run_search.py"), str(ROOT / "experiments" / "demo.yaml"), *words]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    tune = folder / "runs" / words[0].partition("=")[2] / "tune"
    journal = Journal(tune / "journal.jsonl")
    journal.close()
    return SearchSummary(journal.replay(), tune)


def differences(one: SearchSummary, other: SearchSummary) -> list[str]:
    """Describe differences in metrics or best weights between trials of the same configuration."""
    others = {repr(trial.changes): trial for trial in other.record}
    found = []
    for trial in one.record:
        same = others[repr(trial.changes)]
        if _metrics(trial) != _metrics(same):
            found.append(f"metrics of {trial.changes}")
        if not _are_equal(one.best_weights(trial), other.best_weights(same)):
            found.append(f"best weights of {trial.changes}")
    return found


def _metrics(trial: TrialRecord) -> list[dict[str, float]]:
    return [{name: metrics[name] for name in metrics.keys() - {"seconds", "inherited"}} for metrics in trial.epochs]


def _are_equal(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in other)


def _compare(grid: Grid, shared: SearchSummary, alone: SearchSummary) -> None:
    trained, inherited = shared.record.spent.epochs, shared.record.spent.inherited_epochs
    promised = alone.seconds * trained / grid.all_epochs
    print(f"{len(shared.record.trials)} trials of {grid.epochs} epochs, {grid.all_epochs} in total")
    print(f"  trained, shared      {trained} (and {inherited} inherited)")
    print(f"  lower bound          {grid.bound}: {'equal' if trained == grid.bound else 'NOT EQUAL'}")
    print(f"  trained, unshared    {alone.record.spent.epochs}")
    print(f"  wall time, shared    {shared.seconds:.0f} s")
    print(f"  wall time, unshared  {alone.seconds:.0f} s; expected when shared, from the epochs: {promised:.0f} s")
    ratio = shared.seconds / promised
    print(f"  relative to expected {ratio:.2f} (goal: at most {WITHIN}): {'holds' if ratio <= WITHIN else 'MISSED'}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=10, help="epochs per trial, instead of 100")
    parser.add_argument("--alphas", type=int, default=8)
    options = parser.parse_args(arguments)
    grid = Grid(options.alphas, options.epochs)
    with tempfile.TemporaryDirectory() as name:
        shared, alone = (run_search(grid, Path(name), shared=how) for how in (True, False))
        wrong = differences(shared, alone)
        _compare(grid, shared, alone)
    print(f"  results              {'identical to the bit' if not wrong else f'DIFFERENT: {wrong}'}")
    return int(shared.record.spent.epochs != grid.bound or bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
