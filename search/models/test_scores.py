"""All models of a confirmation on the test split: one pass over it, each batch through each of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ogmge import inference
from ogmge.trainer import Batch
from search.experiment.arms import ARMS, Arm
from search.verdict.paired import t_interval


def test_scores(files: Mapping[Arm, Sequence[Path]], batches: Iterable[Batch], device: torch.device) -> dict[str, Any]:
    """Accuracy of both arms: mean, standard deviation and each model's, and the paired difference.

    Args:
        files: checkpoints of each arm's models, of the same pair at the same place.
        batches: the test split.
        device: where the models answer.

    Raises:
        CheckpointError: one of the files cannot be read.
    """
    models = {arm: [inference.load(file, device) for file in paths] for arm, paths in files.items()}
    tallies = inference.tally_all([model for arm in models for model in models[arm]], batches, device)
    scores = [tally.result("test") for tally in tallies]
    values = {arm: [scores.pop(0)["test/accuracy"] for _ in models[arm]] for arm in models}
    found = t_interval(values["modulated"], values["baseline"])
    arms: dict[str, Any] = {arm: {**asdict(getattr(found, arm)), "values": values[arm]} for arm in values}
    difference = {"mean": found.mean, "low": found.low, "high": found.high}
    examples = len(tallies[0].answers().targets)
    return {"metric": "test/accuracy", "examples": examples, "seeds": found.n, **arms, "difference": difference}


def same_models(test: Mapping[str, Any] | None, pairs: Sequence[Mapping[str, Any]], before: Sequence[Any]) -> bool:
    """Whether test scores are there, and are of these very pairs: a configuration that has been trained again, or
    another one, has the same seeds."""
    names = ("seed", *ARMS)
    return test is not None and [[p[n] for n in names] for p in pairs] == [[p[n] for n in names] for p in before]
