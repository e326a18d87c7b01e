"""Everything that affects a training besides its configuration: the data, the code and the machine."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from ogmge.config import TrialConfig
from search.backend.code_version import digest
from search.backend.resources import Resources
from search.experiment.program import ROOT
from search.experiment.schema import Experiment
from search.tracking.client import versions

TRAINS = ("ogmge", "datasets")  # our packages that affect the result of a training


def code(own: Iterable[str]) -> str:
    """Return a digest of the code that trains.

    Args:
        own: files or folders of the user's own modules.
    """
    return digest([*(ROOT / name for name in TRAINS), *map(Path, own)])


def context_of(experiment: Experiment, fingerprint: str, resources: Resources, own: Iterable[str]) -> str:
    """Return the context of a training as text.

    On a CPU it includes the number of threads, because it changes the order of sums.

    Args:
        experiment: experiment that is searched.
        fingerprint: fingerprint of the data.
        resources: resources of each trial.
        own: see `code`.
    """
    context = {
        "code": code(own),
        "versions": versions(),
        "dataset": experiment.dataset,
        "fingerprint": fingerprint,
        "objective": asdict(experiment.search.objective),
        "weights": _weights(experiment.trial),
        "device": "cuda" if resources.gpu else f"cpu, {max(1, int(resources.cpu))} threads",
    }
    return json.dumps(context, sort_keys=True)


def _weights(trial: TrialConfig) -> list[list[int]]:
    """Return size and modification time of the files with initial weights."""
    named = trial.weights.values() if isinstance(trial.weights, dict) else [trial.weights]
    files = [path.stat() for path in map(Path, filter(None, named)) if path.is_file()]
    return [[file.st_size, file.st_mtime_ns] for file in files]
