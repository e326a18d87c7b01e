"""Files of an evaluation: `evaluation.json`, `classes.csv`, `confusions.csv`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from ogmge.evaluation import BINS, Scores, rank_classes
from search.experiment.escaping import csv_table
from search.models.evaluation import ModelEvaluation, Result
from search.run.folder import write

FILES = ("evaluation.json", "classes.csv", "confusions.csv")
METRICS = ("accuracy", "macro_accuracy", "mean_average_precision", "calibration_error")


def _scores(scores: Scores) -> dict[str, float]:
    return {metric: getattr(scores, metric) for metric in METRICS}


def _class_scores(scores: Scores, k: int) -> dict[str, float | None]:
    values = {"accuracy": scores.class_accuracy, "average_precision": scores.average_precision}
    return {name: None if value[k].isnan() else float(value[k]) for name, value in values.items()}


def _model_values(which: ModelEvaluation) -> dict[str, Any]:
    return {
        "checkpoint": str(which.model.file),
        "epoch": which.model.epoch,
        "modulation": asdict(which.model.trained.config.modulation),
        "fused": _scores(which.found.fused),
        "unimodal": {name: _scores(scores) for name, scores in which.found.unimodal.items()},
    }


def _classes(result: Result) -> list[dict[str, Any]]:
    found = result.of.found
    return [
        {
            "id": k,
            "name": name,
            "examples": int(found.counts[k]),
            **_class_scores(found.fused, k),
            "unimodal": {modality: _class_scores(scores, k) for modality, scores in found.unimodal.items()},
        }
        for k, name in enumerate(result.classes)
    ]


def _changes(values: Tensor, result: Result) -> list[dict[str, Any]]:
    """Return the changes by class, sorted by size regardless of sign, the largest first."""
    counts = result.of.found.counts.tolist()
    return [
        {"class": result.classes[k], "examples": counts[k], "change": float(values[k])}
        for k, _ in rank_classes(values.abs())
    ]


def _against(result: Result) -> dict[str, Any] | None:
    if result.against is None:
        return None
    fused, unimodal = result.changes()
    changes = {
        "fused": _changes(fused, result),
        "unimodal": {k: _changes(change, result) for k, change in unimodal.items()},
    }
    return {**_model_values(result.against), "changes": changes}


def _confusions(result: Result) -> list[dict[str, Any]]:
    names = result.classes
    return [{"true": names[i], "predicted": names[j], "count": n} for i, j, n in result.of.found.confusions]


def document(result: Result) -> dict[str, Any]:
    """Return the content of `evaluation.json`: shares of 1, null for a class without examples."""
    found = result.of.found
    return {
        **_model_values(result.of),
        "split": result.split,
        "examples": found.examples,
        "calibration_bins": BINS,
        "dataset": dict(result.dataset),
        "fingerprint": result.fingerprint,
        "read": result.read,
        "notes": list(result.notes),
        "classes": _classes(result),
        "without_examples": result.empty,
        "leads": {
            name: [{"class": result.classes[k], "ahead": margin} for k, margin in led]
            for name, led in found.leaders().items()
        },
        "confusions": _confusions(result),
        "against": _against(result),
    }


def _table(columns: Mapping[str, Iterable[Any]]) -> str:
    return csv_table([*columns], zip(*columns.values(), strict=True))


def _columns(name: str, fused: Tensor, unimodal: Mapping[str, Tensor]) -> dict[str, list[float | str]]:
    """Return a column for the fused output and one for each modality alone; NaN is an empty cell."""
    values = {name: fused, **{f"{name}/{modality}": value for modality, value in unimodal.items()}}
    return {key: ["" if math.isnan(v) else v for v in value.tolist()] for key, value in values.items()}


def _leads(result: Result) -> list[str]:
    """Return the modality that leads in each class, or an empty text."""
    names = {k: name for name, led in result.of.found.leaders().items() for k, _ in led}
    return [names.get(k, "") for k in range(len(result.classes))]


def classes_table(result: Result) -> str:
    """Return `classes.csv`: a row for each class.

    `accuracy/NAME` is the accuracy of a modality alone, `leads` the modality that leads in the class, `change/…` the
    accuracy minus that of the model that it is compared with.
    """
    found = result.of.found
    unimodal = found.unimodal.items()
    return _table(
        {
            "id": range(len(result.classes)),
            "class": result.classes,
            "examples": found.counts.tolist(),
            **_columns("accuracy", found.fused.class_accuracy, {name: s.class_accuracy for name, s in unimodal}),
            **_columns(
                "average_precision", found.fused.average_precision, {n: s.average_precision for n, s in unimodal}
            ),
            "leads": _leads(result),
            **({} if result.against is None else _columns("change/accuracy", *result.changes())),
        }
    )


def confusions_table(result: Result) -> str:
    """Return `confusions.csv`: a row for each pair of classes that was confused, the most frequent first."""
    rows = _confusions(result)
    return _table({name: [row[name] for row in rows] for name in ("true", "predicted", "count")})


def write_files(result: Result, folder: Path) -> None:
    """Write the three files to a folder.

    Raises:
        OSError: if one of them cannot be written.
    """
    whole = json.dumps(document(result), indent=2, ensure_ascii=False) + "\n"
    for name, text in zip(FILES, (whole, classes_table(result), confusions_table(result)), strict=True):
        write(folder / name, text)
