"""What is known of a model once it is evaluated."""

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
    """A model and what it reaches."""

    model: Model
    found: Evaluation


@dataclass(frozen=True)
class Result:
    """A model on a split, and another beside it.

    Args:
        of: the model.
        against: the other, on the same examples.
        split: which.
        classes: names, by id.
        dataset: the section that the data came from.
        fingerprint: of the data.
        read: the line that puts the reading of the test split on record.
        notes: what to bear in mind.
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
        """The classes without an example."""
        return [name for name, count in zip(self.classes, self.of.found.counts.tolist(), strict=True) if not count]

    def changes(self) -> tuple[Tensor, dict[str, Tensor]]:
        """How much more of each class the model gets right than the other: fused [K], and of each modality that both
        have, [K]. NaN where a class has no example."""
        assert self.against is not None
        one, other = self.of.found, self.against.found
        unimodal = {
            name: scores.class_accuracy - other.unimodal[name].class_accuracy
            for name, scores in one.unimodal.items()
            if name in other.unimodal
        }
        return one.fused.class_accuracy - other.fused.class_accuracy, unimodal
