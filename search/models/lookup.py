"""Which checkpoint a user means, and the run that it is of."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
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
from search.experiment.schema import Experiment
from search.models.registry import find_model_file
from search.run.folder import UNKNOWN, RunFolder, fingerprint_in
from search.verdict.seeds import split_options

DEEPEST = 5  # folders between a run's and a checkpoint: confirm/tune/0003/probe/audio


class ModelError(UserError):
    """A model that is not there, or cannot be used as asked: a sentence that says why."""


@dataclass(frozen=True)
class Model:
    """A trained model and where it is.

    Args:
        name: as its user calls it.
        file: its checkpoint.
        run: the run that it is of; None where it is in none.
        trained: the model.
    """

    name: str
    file: Path
    run: RunFolder | None
    trained: TrainedModel

    @property
    def folder(self) -> RunFolder:
        """Where it is put on record what the model was evaluated on: its run's, else that of the checkpoint."""
        return self.run or RunFolder(self.file.parent)

    @property
    def epoch(self) -> int | None:
        """That the weights are of, from 0."""
        found = self.trained.metrics.get("epoch")
        return None if found is None else int(found)

    @cached_property
    def experiment(self) -> Experiment | None:
        """Of its run, where it is in one.

        Raises:
            ExperimentError: it is damaged.
        """
        return None if self.run is None else load_experiment(self.run.experiment)

    @property
    def confirmation(self) -> bool:
        """Whether it was trained with a fresh seed: in a confirmation, in one that was put aside, or to be probed."""
        if self.run is None:
            return False
        inside = _absolute(self.file).relative_to(_absolute(self.run.path)).parts[0]
        return re.fullmatch(r"confirm(\.\d+)?|probe_curve", inside) is not None

    def dataset(self, section: Mapping[str, Any]) -> dict[str, Any]:
        """The `dataset` section of its run as the model knew it: trainings of a confirmation draw splits of their own,
        and what one of them was validated on, another was trained on."""
        own = split_options(section, self.trained.config.seed) if self.confirmation else {}
        return {**section, **own}

    def fingerprint(self, section: Mapping[str, Any]) -> str:
        """Of the data that it was trained on, as far as its run knows it: not that of a split of its own."""
        own = self.dataset(section) != dict(section)
        return UNKNOWN if self.run is None or own else fingerprint_in(self.run)


def checkpoint_of(model: str, runs: Path) -> Path:
    """Return the checkpoint file that a user means by a training's name or folder, by the file itself, or by a
    registered model's URI in MLflow, `models:/NAME@champion`.

    Raises:
        ModelError: there is none; says what there is.
    """
    if model.startswith("models:/"):
        return find_model_file(model, runs)
    places = (runs / model, Path(model))
    files = chain.from_iterable((place, place / BEST) for place in places)
    file = next(filter(Path.is_file, files), None)
    if file is None:
        raise ModelError(_explain_missing(model, places, runs))
    return file


def _explain_missing(model: str, places: Iterable[Path], runs: Path) -> str:
    """Return why none of these places holds a model, and what there is."""
    for place in places:
        if RunFolder(place).journal.exists():
            return (
                f"{place} holds many models, one of each trial: name the file of one, "
                f"{RunFolder(place).trial(3) / 'best.pt'} for that of trial 3"
            )
        if place.is_dir():
            return f"{place} holds no best.pt: name the folder of a training, or a checkpoint's file"
    there = sorted(p.parent.name for p in runs.glob("*/best.pt"))
    known = f"there is {', '.join(there)}" if there else "there is none yet"
    return f"no file {model!r}, and no training of that name under {runs}/: {known}{hint(model, there)}"


def _absolute(path: Path) -> Path:
    """Without `..`, which would pass for a folder on the way."""
    return Path(os.path.abspath(path))


def run_of(file: Path) -> RunFolder | None:
    """The run whose training, trial or confirmation a checkpoint is of; None where it is in no run's folder."""
    for folder in _absolute(file).parents[: DEEPEST + 1]:
        if (folder / "experiment.yaml").is_file():
            here = Path.cwd()
            return RunFolder(folder.relative_to(here) if here in folder.parents else folder)
    return None


def default_device() -> torch.device:
    """Return the GPU, or the CPU where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load(name: str, file: Path, device: torch.device) -> Model:
    """The model of a checkpoint, on a device.

    Args:
        name: as its user calls it.
        file: the checkpoint: see `checkpoint_of`.
        device: where it is to answer.

    Raises:
        CheckpointError: it cannot be read, or is none of a trained model.
    """
    return Model(name, file, run_of(file), trained.load(file, device))
