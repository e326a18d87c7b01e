"""Lookup of a checkpoint by the name that a user gives, and of its run."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from ogmge import inference as trained
from ogmge.fit import BEST
from ogmge.inference import TrainedModel
from search.experiment.load import load as load_experiment
from search.experiment.messages import hint
from search.experiment.mistakes import UserError
from search.experiment.own_code import is_own, named_factories
from search.experiment.program import ENDINGS
from search.experiment.schema import Experiment, ExperimentError
from search.models.registry import find_model_file
from search.run.best import bests, winner
from search.run.folder import UNKNOWN, RunFolder, fingerprint_in
from search.run.journal import read
from search.verdict.seeds import split_options

DEEPEST = 5  # largest number of folders between a run's folder and a checkpoint: confirm/tune/0003/probe/audio


class ModelError(UserError):
    """Model that is missing or cannot be used as asked; the message says why."""


@dataclass(frozen=True)
class Model:
    """Trained model and its files.

    Args:
        name: name that the user gave.
        file: file of the checkpoint.
        run: run that the checkpoint belongs to; None if it belongs to none.
        trained: trained model.
    """

    name: str
    file: Path
    run: RunFolder | None
    trained: TrainedModel

    @property
    def folder(self) -> RunFolder:
        """Folder in which readings of the test split are logged: the run's, else that of the checkpoint."""
        return self.run or RunFolder(self.file.parent)

    @property
    def epoch(self) -> int | None:
        """Epoch of the weights, counted from 0."""
        found = self.trained.metrics.get("epoch")
        return None if found is None else int(found)

    @cached_property
    def experiment(self) -> Experiment | None:
        """Experiment of its run; None without a run.

        Raises:
            ExperimentError: if the file is corrupt.
        """
        return None if self.run is None else load_experiment(self.run.experiment)

    @property
    def confirmation(self) -> bool:
        """Whether it was trained with a fresh seed: for a confirmation, also an earlier one, or for probes."""
        if self.run is None:
            return False
        inside = _absolute(self.file).relative_to(_absolute(self.run.path)).parts[0]
        return re.fullmatch(r"confirm(\.\d+)?|probe_curve", inside) is not None

    def dataset(self, section: Mapping[str, Any]) -> dict[str, Any]:
        """Return the `dataset` section of its run with the split that the model was trained on. Each pair of a
        confirmation draws its own split, so that one validates on samples that another trains on."""
        own = split_options(section, self.trained.config.seed) if self.confirmation else {}
        return {**section, **own}

    def fingerprint(self, section: Mapping[str, Any]) -> str:
        """Return the fingerprint of the data that it was trained on; unknown for a model with its own split."""
        own = self.dataset(section) != dict(section)
        return UNKNOWN if self.run is None or own else fingerprint_in(self.run)


def checkpoint_of(model: str, runs: Path) -> Path:
    """Return the checkpoint of a model.

    Args:
        model: name or folder of a training, file, or URI of a registered model in MLflow: `models:/NAME@champion`.
        runs: folder of the runs.

    Raises:
        ModelError: if there is none; the message lists the models that exist.
    """
    if model.startswith("models:/"):
        return find_model_file(model, runs)
    places = (runs / model, Path(model))
    files = chain.from_iterable((place, place / BEST) for place in places)
    file = next(filter(Path.is_file, files), None)
    if file is None:
        raise ModelError(_explain_missing(model, places, runs))
    if file.suffix in ENDINGS:
        raise ModelError(
            f"expected a model, but {file} is an experiment file: train it, then give the name of that training, "
            f"which is the `name` in the file\n  uv run python -m search train {file}"
        )
    return file


def _explain_missing(model: str, places: Iterable[Path], runs: Path) -> str:
    """Return why none of these places holds a model, and which models exist."""
    for place in places:
        if RunFolder(place).journal.exists():
            example = _example_in(RunFolder(place))
            return f"{place} is a search and holds a model for each trial: name the file of one{example}"
        if place.is_dir():
            return f"{place} holds no best.pt: name the folder of a training, or the file of a checkpoint"
    there = sorted(p.parent.name for p in runs.glob("*/best.pt"))
    known = f"which has {', '.join(there)}" if there else "which has none yet"
    return f"there is no file {model!r} and no training of that name in {runs}/, {known}{hint(model, there)}"


def _example_in(folder: RunFolder) -> str:
    """Return ", for example …" with the model of a search's best trial, or where such models are."""
    elsewhere = f": {folder.tune / 'NUMBER' / BEST}"
    try:
        objective = load_experiment(folder.experiment).search.objective
        best = winner(bests(read(folder.journal), objective), objective.mode)
    except (UserError, ValueError):  # the run is corrupt, or no trial has a result
        return elsewhere
    file = folder.trial(best.trial.number) / BEST
    return f", for example {file}, the best trial" if file.is_file() else elsewhere


def _absolute(path: Path) -> Path:
    """Return an absolute path without `..`, which would count as a folder."""
    return Path(os.path.abspath(path))


def run_of(file: Path) -> RunFolder | None:
    """Return the run that a checkpoint belongs to; None if it is in no run's folder."""
    for folder in _absolute(file).parents[: DEEPEST + 1]:
        if (folder / "experiment.yaml").is_file():
            here = Path.cwd()
            return RunFolder(folder.relative_to(here) if here in folder.parents else folder)
    return None


def default_device() -> torch.device:
    """Return the GPU, or the CPU if there is no GPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load(name: str, file: Path, device: torch.device, trusted: Collection[str] = ()) -> Model:
    """Load a model from a checkpoint.

    Custom encoders and fusions are imported if the user trusts them, or if the experiment of the checkpoint's run names
    them and belongs to the user.

    Args:
        name: name that the user gave.
        file: file of the checkpoint, see `checkpoint_of`.
        device: device that the model runs on.
        trusted: custom encoders and fusions that may be imported.

    Raises:
        CheckpointError: if the file cannot be read or holds no trained model.
    """
    run = run_of(file)
    named = set() if run is None else _factories_of(run)
    return Model(name, file, run, trained.load(file, device, trusted={*trusted, *named}))


def _factories_of(run: RunFolder) -> set[str]:
    """Return the custom encoders and fusions that a run's experiment names, if that is readable and the user's."""
    if not is_own(run.experiment):
        return set()
    with suppress(ExperimentError):
        return named_factories(load_experiment(run.experiment))
    return set()
