"""The data that models are probed on."""

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
    """What all models are probed on: the data that they were trained on, or those of an experiment file.

    Raises:
        ModelError: they are of different data, or of none that are known; the data are none that the models take.
        FolderError: the data are not what they were.
        ExperimentError, DatasetError: the file is wrong, or the data are not there.
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
                f"{model.file} is in no run's folder (there is no experiment.yaml beside it or above it), so that "
                "nobody knows its data: name them with --data FILE"
            )
    sections = {json.dumps(_of(model), sort_keys=True): model for model in models}
    if len(sections) > 1:
        one, other, *_ = sections.values()
        raise ModelError(
            f"{one.name} and {other.name} were trained on different data, or on other splits of them, and can only be "
            "compared on the same: name them with --data FILE, knowing that what one was trained on is no test of it"
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
        "so that the validation split may hold what it was trained on: put the data back, or name others with --data",
    )
