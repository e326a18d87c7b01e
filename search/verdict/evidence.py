"""Evidence of a confirmation, `verdict.json`: the verdict, and every number that it rests on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from datasets.index.regular_file import fault_of
from search.experiment.arms import ARMS, Arm
from search.experiment.mistakes import UserError
from search.run.folder import write
from search.run.version import VERSION, read_values
from search.verdict.decide import Verdict
from search.verdict.paired import Paired, Range
from search.verdict.pairs import PAIR, Role


class EvidenceError(UserError):
    """Unreadable `verdict.json`; the message says how to restore it."""


@dataclass(frozen=True)
class ConfirmedArm:
    """Results of an arm's best configuration, trained again.

    Args:
        trial: number of the search's trial with this configuration.
        changes: changes to the experiment's trial.
        prediction: 95 % prediction interval for one more training; None if the seeds do not allow one.
        median_epochs: median number of epochs until its trainings' best epoch.
        seeds: number of these trainings.
    """

    trial: int
    changes: dict[str, Any]
    prediction: Range | None
    median_epochs: int
    seeds: int


@dataclass(frozen=True)
class Pair:
    """Results of one seed's trainings, as far as they are done: role -> objective."""

    seed: int
    values: Mapping[Role, float]

    @property
    def is_whole(self) -> bool:
        """Whether both trainings of the pair are done."""
        return {*PAIR} <= set(self.values)


@dataclass(frozen=True)
class ClassDifference:
    """Difference in the accuracy of one class, modulated - baseline, as a share of 1; p is adjusted for the number of
    classes."""

    name: str
    paired: Paired
    holm_p: float | None


@dataclass(frozen=True)
class ArmScores:
    """Accuracies of an arm's models on the test split: mean, standard deviation, and each model's value."""

    mean: float
    sd: float | None
    values: tuple[float, ...]


@dataclass(frozen=True)
class Difference:
    """Mean difference and its interval, if there is one."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class TestScores:
    """Scores of a confirmation's models on the test split, `seeds` models per arm, in the order of the pairs.

    `read` is the line in test_readings.jsonl that logs this reading.
    """

    __test__ = False  # for pytest

    metric: str
    examples: int
    seeds: int
    modulated: ArmScores
    baseline: ArmScores
    difference: Difference
    read: dict[str, str]


@dataclass(frozen=True)
class Evidence:
    """Result of a confirmation.

    Args:
        experiment: name of the experiment.
        metric: metric that the search optimised.
        verdict: verdict of the confirmation; its fields are top-level keys in the file.
        best: arm whose configuration is exported: the better one, the baseline on ties.
        arms: results of each arm's configuration.
        ablation_of: arm whose ablation was trained or required; None if none was required.
        split_redrawn: whether each pair had its own validation split.
        pairs: pairs that count.
        classes: differences by class, in the order of class ids; empty if a model's predictions are lost.
        looks_before: numbers of seeds that had a verdict before more seeds were requested.
        test: scores on the test split; None if it was not read.
    """

    experiment: str
    metric: str
    verdict: Verdict
    best: Arm
    arms: dict[Arm, ConfirmedArm]
    ablation_of: Arm | None
    split_redrawn: bool
    pairs: tuple[Pair, ...]
    classes: tuple[ClassDifference, ...] = ()
    looks_before: tuple[int, ...] = ()
    test: TestScores | None = None

    @property
    def arm_results(self) -> list[tuple[int, list[float | None]]]:
        """Seed of each pair, with the results of both arms."""
        return [(pair.seed, list(map(pair.values.get, PAIR))) for pair in self.pairs]

    def mean(self, arm: Arm) -> float:
        """Return the mean of the metric over an arm's seeds."""
        return (self.verdict.paired.modulated if arm == "modulated" else self.verdict.paired.baseline).mean


_EVIDENCE = TypeAdapter(Evidence)


def read_evidence(path: Path) -> Evidence | None:
    """Return the evidence in a file, or None if the file does not exist.

    Raises:
        EvidenceError: if the file is corrupt.
        VersionError: if a newer program wrote the file.
    """
    if not path.exists():
        return None
    try:
        return _EVIDENCE.validate_python(_nest(read_values(path)))
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise EvidenceError(
            f"{path} {fault_of(error)}; write it again with:\n  uv run python -m search confirm {path.parent.name}"
        ) from error


def _nest(values: dict[str, Any]) -> dict[str, Any]:
    """Return the file's values in the structure of `Evidence`."""
    arms = {arm: values["arms"][arm] for arm in ARMS}
    pairs = [{"seed": row.pop("seed"), "values": row} for row in values["pairs"]]
    classes = [{**row, "name": row["class"], "paired": row} for row in values.get("classes", [])]
    return {**values, "verdict": values, "arms": arms, "pairs": pairs, "classes": classes}


def write_evidence(path: Path, evidence: Evidence) -> None:
    """Write the evidence as JSON that `read_evidence` reads."""
    values = asdict(evidence)
    values["pairs"] = [{"seed": row["seed"], **row["values"]} for row in values["pairs"]]
    values["classes"] = [{"class": row["name"], **row["paired"], "holm_p": row["holm_p"]} for row in values["classes"]]
    first = {"version": VERSION, "experiment": values.pop("experiment"), "metric": values.pop("metric")}
    write(path, json.dumps({**first, **values.pop("verdict"), **values}, indent=2) + "\n")


def measures(evidence: Evidence) -> dict[str, float]:
    """Return the verdict's numbers by name, for the search's run in MLflow. Numbers that do not exist are omitted."""
    found, pairs = evidence.verdict, evidence.verdict.paired
    low, high = found.interval or (None, None)
    values = {
        "verdict/difference": pairs.mean,
        "verdict/low": low,
        "verdict/high": high,
        "verdict/seeds": float(pairs.n),
        "verdict/sign_flip_p": found.sign_flip_p,
        "verdict/modulated": pairs.modulated.mean,
        "verdict/modulated_sd": pairs.modulated.sd,
        "verdict/baseline": pairs.baseline.mean,
        "verdict/baseline_sd": pairs.baseline.sd,
        "verdict/ablation_difference": found.ablation.mean if found.ablation else None,
        **_test_measures(evidence.test),
    }
    return {name: value for name, value in values.items() if value is not None}


def _test_measures(test: TestScores | None) -> dict[str, float]:
    return {} if test is None else {"test/baseline": test.baseline.mean, "test/modulated": test.modulated.mean}
