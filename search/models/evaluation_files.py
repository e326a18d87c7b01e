"""All of an evaluation, in files: `evaluation.json`, `classes.csv`, `confusions.csv`."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from ogmge.evaluation import BINS, Scores, rank_classes
from search.models.evaluation import ModelEvaluation, Result
from search.run.folder import write


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _scores(scores: Scores) -> dict[str, float]:
    return {
        "accuracy": scores.accuracy,
        "macro_accuracy": scores.macro_accuracy,
        "mean_average_precision": scores.mean_average_precision,
        "calibration_error": scores.calibration_error,
    }


def _model_values(which: ModelEvaluation) -> dict[str, Any]:
    return {
        "checkpoint": str(which.model.file),
        "epoch": which.model.epoch,
        "modulation": asdict(which.model.trained.config.modulation),
        "fused": _scores(which.found.fused),
        "alone": {name: _scores(scores) for name, scores in which.found.alone.items()},
    }


def _classes(result: Result) -> list[dict[str, Any]]:
    found = result.of.found
    rows = []
    for k, (name, count) in enumerate(zip(result.classes, found.counts.tolist(), strict=True)):

        def of(scores: Scores, k: int = k) -> dict[str, float | None]:
            return {
                "accuracy": _known(float(scores.class_accuracy[k])),
                "average_precision": _known(float(scores.average_precision[k])),
            }

        rows.append(
            {
                "id": k,
                "name": name,
                "examples": count,
                **of(found.fused),
                "alone": {modality: of(scores) for modality, scores in found.alone.items()},
            }
        )
    return rows


def _changes(values: Tensor, result: Result) -> list[dict[str, Any]]:
    """The largest first, whichever its sign."""
    counts = result.of.found.counts.tolist()
    return [
        {"class": result.classes[k], "examples": counts[k], "change": float(values[k])}
        for k, _ in rank_classes(values.abs())
    ]


def document(result: Result) -> dict[str, Any]:
    """`evaluation.json`. Accuracies and precisions are shares of 1; null where a class has no example."""
    found = result.of.found
    values: dict[str, Any] = {
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
        "confusions": [
            {"true": result.classes[i], "predicted": result.classes[j], "count": count}
            for i, j, count in found.confusions()
        ],
        "against": None,
    }
    if result.against is not None:
        fused, alone = result.changes()
        changed = {name: _changes(change, result) for name, change in alone.items()}
        values["against"] = {
            **_model_values(result.against),
            "changes": {"fused": _changes(fused, result), "alone": changed},
        }
    return values


def _table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def classes_table(result: Result) -> str:
    """`classes.csv`: a row a class. Of a modality alone it is `accuracy/NAME`; `leads` is the modality that leads it;
    `change/…` is how much more of it is right than with the model that it is compared with."""
    found = result.of.found
    leads = {k: name for name, led in found.leaders().items() for k, _ in led}
    columns: dict[str, Sequence[Any]] = {
        "id": range(len(result.classes)),
        "class": result.classes,
        "examples": found.counts.tolist(),
        "accuracy": found.fused.class_accuracy.tolist(),
        **{f"accuracy/{name}": scores.class_accuracy.tolist() for name, scores in found.alone.items()},
        "average_precision": found.fused.average_precision.tolist(),
        **{f"average_precision/{name}": scores.average_precision.tolist() for name, scores in found.alone.items()},
        "leads": [leads.get(k, "") for k in range(len(result.classes))],
    }
    if result.against is not None:
        fused, alone = result.changes()
        columns["change/accuracy"] = fused.tolist()
        columns |= {f"change/accuracy/{name}": change.tolist() for name, change in alone.items()}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return _table(
        list(columns),
        [{c: "" if isinstance(v, float) and math.isnan(v) else v for c, v in row.items()} for row in rows],
    )


def confusions_table(result: Result) -> str:
    """`confusions.csv`: a row a pair of classes that the fused answer confused, the most frequent first."""
    names = result.classes
    rows = [{"true": names[i], "predicted": names[j], "count": count} for i, j, count in result.of.found.confusions()]
    return _table(["true", "predicted", "count"], rows)


def write_files(result: Result, folder: Path) -> None:
    """Writes all three.

    Raises:
        OSError: one cannot be written.
    """
    write(folder / "evaluation.json", json.dumps(document(result), indent=2, ensure_ascii=False) + "\n")
    write(folder / "classes.csv", classes_table(result))
    write(folder / "confusions.csv", confusions_table(result))
