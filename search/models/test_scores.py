"""Evaluation of all models of a confirmation on the test split, in a single pass over it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path

import torch

from ogmge import inference
from ogmge.batches import Batch
from search.experiment.arms import Arm
from search.verdict.evidence import ArmScores, Difference, TestScores
from search.verdict.paired import t_interval


def test_scores(
    files: Mapping[Arm, Sequence[Path]],
    batches: Iterable[Batch],
    device: torch.device,
    read: dict[str, str],
    trusted: Collection[str],
) -> TestScores:
    """Return the accuracy of both arms, and the paired difference.

    Args:
        files: checkpoints of each arm's models, in the order of the pairs.
        batches: batches of the test split.
        device: device that the models run on.
        read: line of test_readings.jsonl that logs this reading.
        trusted: custom encoders and fusions that may be imported.

    Raises:
        CheckpointError: if one of the files cannot be read.
    """
    load = partial(inference.load, device=device, trusted=trusted)
    models = {arm: list(map(load, paths)) for arm, paths in files.items()}
    tallies = inference.tally_all([*chain.from_iterable(models.values())], batches, device)
    scores = iter([tally.result("test")["test/accuracy"] for tally in tallies])
    values = {arm: tuple(islice(scores, len(own))) for arm, own in models.items()}
    found = t_interval(values["modulated"], values["baseline"])
    return TestScores(
        metric="test/accuracy",
        examples=len(tallies[0].answers().targets),
        seeds=found.n,
        modulated=ArmScores(found.modulated.mean, found.modulated.sd, values["modulated"]),
        baseline=ArmScores(found.baseline.mean, found.baseline.sd, values["baseline"]),
        difference=Difference(found.mean, found.low, found.high),
        read=read,
    )
