"""Result of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from ogmge.evaluation import Evaluation
from search.models.lookup import Model

Split = Literal["validation", "test"]


@dataclass(frozen=True)
class ModelEvaluation:
    """Model and its scores."""

    model: Model
    found: Evaluation


@dataclass(frozen=True)
class Result:
    """Evaluation of a model, and of another one that it is compared with.

    Args:
        of: evaluated model with its scores.
        against: other model with its scores on the same examples; None without a comparison.
        split: split that both were evaluated on.
        classes: names of the classes, by class id.
        dataset: section of the experiment that describes the data.
        fingerprint: fingerprint of the data.
        read: line of test_readings.jsonl that logs this reading; None for the validation split.
        notes: caveats, as sentences.
    """

    of: ModelEvaluation
    against: ModelEvaluation | None
    split: Split
    classes: Sequence[str]
    dataset: Mapping[str, Any]
    fingerprint: str
    read: Mapping[str, str] | None
    notes: Sequence[str]

    @property
    def empty(self) -> list[str]:
        """Names of the classes without examples."""
        return [name for name, count in zip(self.classes, self.of.found.counts.tolist(), strict=True) if not count]

    def changes(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the accuracy of each class minus the other model's: fused [K], and by modality [K].

        Only modalities of both models are compared. NaN for a class without examples.
        """
        assert self.against is not None
        one, other = self.of.found, self.against.found
        unimodal = {
            name: scores.class_accuracy - other.unimodal[name].class_accuracy
            for name, scores in one.unimodal.items()
            if name in other.unimodal
        }
        return one.fused.class_accuracy - other.fused.class_accuracy, unimodal
