"""`verdict.json`: a confirmation's verdict, and every number that it rests on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from search.experiment.arms import ARMS, Arm
from search.experiment.mistakes import UserError
from search.run.folder import write
from search.run.version import VERSION, read_values
from search.verdict.decide import Verdict
from search.verdict.paired import Paired, Range
from search.verdict.pairs import PAIR, Role


class EvidenceError(UserError):
    """A `verdict.json` that cannot be read: a sentence that says how to get it back."""


@dataclass(frozen=True)
class ConfirmedArm:
    """What is known of an arm's best configuration, once it was trained again.

    Args:
        trial: of the search, that had it.
        changes: of the experiment's trial.
        prediction: where one more training of it would come out, in 95 %; None where the seeds do not say.
        median_epochs: that its trainings took to their best.
        seeds: of these trainings.
    """

    trial: int
    changes: dict[str, Any]
    prediction: Range | None
    median_epochs: int
    seeds: int


@dataclass(frozen=True)
class Pair:
    """Trainings of one seed, as far as they are done: role -> the objective."""

    seed: int
    values: Mapping[Role, float]

    @property
    def is_whole(self) -> bool:
        """Whether both of the pair are done."""
        return {*PAIR} <= set(self.values)


@dataclass(frozen=True)
class ClassDifference:
    """How much more of a class the modulated models get right than the unmodulated, as shares of 1; p is adjusted for
    the number of classes."""

    name: str
    paired: Paired
    holm_p: float | None


@dataclass(frozen=True)
class ArmScores:
    """Accuracies of an arm's models on the test split: mean, standard deviation, and each model's."""

    mean: float
    sd: float | None
    values: tuple[float, ...]


@dataclass(frozen=True)
class Difference:
    """A mean difference and its interval, where it has one."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class TestScores:
    """All models of a confirmation on the test split, so many of each arm as there are `seeds`; values of the same pair
    stand at the same place. `read` is the line that has this reading on record."""

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
    """What a confirmation found.

    Args:
        experiment: its name.
        metric: that was searched for.
        verdict: on it. In the file its fields stand among these.
        best: the arm whose configuration is exported: the better one, of equal ones the baseline's.
        arms: what follows for the configuration of each.
        ablation_of: the arm whose ablation was trained, or was to be.
        split_redrawn: whether each pair had a validation split of its own.
        pairs: that count.
        classes: by class id; none where a model's answers are lost.
        looks_before: seeds at which there was a verdict before more of them were asked for.
        test: scores on the test split, once it was read.
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
        """Of each pair: its seed, and the results of both arms."""
        return [(pair.seed, list(map(pair.values.get, PAIR))) for pair in self.pairs]

    def mean(self, arm: Arm) -> float:
        """Of the metric, over an arm's seeds."""
        return (self.verdict.paired.modulated if arm == "modulated" else self.verdict.paired.baseline).mean


_EVIDENCE = TypeAdapter(Evidence)


def read_evidence(path: Path) -> Evidence | None:
    """The evidence in a file; None where there is none.

    Raises:
        EvidenceError: it is damaged.
        VersionError: a newer program wrote it.
    """
    if not path.exists():
        return None
    try:
        return _EVIDENCE.validate_python(_nest(read_values(path)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvidenceError(
            f"{path} is damaged: `python -m search confirm {path.parent.name}` writes it again"
        ) from error


def _nest(values: dict[str, Any]) -> dict[str, Any]:
    """The file's values as those of `Evidence`."""
    arms = {arm: values["arms"][arm] for arm in ARMS}
    pairs = [{"seed": row.pop("seed"), "values": row} for row in values["pairs"]]
    classes = [{**row, "name": row["class"], "paired": row} for row in values.get("classes", [])]
    return {**values, "verdict": values, "arms": arms, "pairs": pairs, "classes": classes}


def write_evidence(path: Path, evidence: Evidence) -> None:
    """Writes it, as JSON that `read_evidence` reads."""
    values = asdict(evidence)
    values["pairs"] = [{"seed": row["seed"], **row["values"]} for row in values["pairs"]]
    values["classes"] = [{"class": row["name"], **row["paired"], "holm_p": row["holm_p"]} for row in values["classes"]]
    first = {"version": VERSION, "experiment": values.pop("experiment"), "metric": values.pop("metric")}
    write(path, json.dumps({**first, **values.pop("verdict"), **values}, indent=2) + "\n")


def measures(evidence: Evidence) -> dict[str, float]:
    """The verdict's numbers by name, for the search's run in MLflow; what there is not is omitted."""
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
