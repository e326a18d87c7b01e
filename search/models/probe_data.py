"""Data that models are probed on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ogmge.fit import Data
from search.experiment.load import load
from search.models.lookup import Model, ModelError
from search.run.folder import require_unchanged
from search.run.open_data import fingerprint_of, open_data


def data_for(models: Sequence[Model], file: Path | None) -> Data:
    """Open the data that all models are probed on: those of their trainings, or those of an experiment file.

    Raises:
        ModelError: if the models' data differ, are unknown, or do not fit the models.
        FolderError: if the data have changed since the training.
        ExperimentError, DatasetError: if the file is invalid, or the data are missing.
    """
    data = open_data(_section(models) if file is None else load(file).dataset)
    for model in models:
        if file is None:
            _check_same_data(model, data)
        if lack := model.trained.mismatch(data.shapes, data.classes):
            raise ModelError(f"{model.file} does not fit the data: {lack}")
    return data


def _section(models: Sequence[Model]) -> dict[str, Any]:
    for model in models:
        if model.experiment is None:
            raise ModelError(
                f"the data of {model.file} are unknown, as there is no experiment.yaml in its folder or above it: name "
                "them with --data FILE"
            )
    sections = {json.dumps(_of(model), sort_keys=True): model for model in models}
    if len(sections) > 1:
        one, other, *_ = sections.values()
        raise ModelError(
            f"{one.name} and {other.name} were trained on different data or splits, and can only be compared on the "
            "same: name these with --data FILE, but bear in mind that data which a model was trained on do not test it"
        )
    return _of(models[0])


def _of(model: Model) -> dict[str, Any]:
    assert model.experiment is not None
    return model.dataset(model.experiment.dataset)


def _check_same_data(model: Model, data: Data) -> None:
    assert model.experiment is not None
    require_unchanged(
        model.fingerprint(model.experiment.dataset),
        fingerprint_of(data),
        f"the run in {model.folder.path} began",
        "so the validation split may hold samples of the training: put the data back, or name others with --data",
    )
