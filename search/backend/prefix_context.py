"""All that affects a training besides its configuration: the data, the code, the machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from ogmge.config import TrialConfig
from search.backend.resources import Resources
from search.experiment.schema import Experiment
from search.tracking.client import versions

ROOT = Path(__file__).resolve().parents[2]
TRAINS = ("ogmge", "datasets")  # our packages that a training's result depends on


def code(own: Iterable[str]) -> str:
    """A digest of the code that trains.

    Args:
        own: files or folders of modules of the user's.
    """
    digest = hashlib.blake2b(digest_size=16)
    for place in [*(ROOT / name for name in TRAINS), *map(Path, own)]:
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(f"{file.relative_to(place.parent)}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def context_of(experiment: Experiment, fingerprint: str, resources: Resources, own: Iterable[str]) -> str:
    """All of it, as text. On a CPU the number of threads is part of it: sums are made in another order.

    Args:
        experiment: what is searched.
        fingerprint: of the data.
        resources: what a trial is given.
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
    """Size and time of the files with the first weights."""
    named = trial.weights.values() if isinstance(trial.weights, dict) else [trial.weights]
    files = [path.stat() for path in map(Path, filter(None, named)) if path.is_file()]
    return [[file.st_size, file.st_mtime_ns] for file in files]
