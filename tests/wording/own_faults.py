"""Data sets and encoders of users that no model can be trained on, or with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from datasets import InMemory, Split
from tests.wording.own import Vectors

CLASSES = ("cat", "dog")
Y = torch.tensor([0, 1, 1, 0])
X = {"audio": torch.zeros(4, 6), "visual": torch.zeros(4, 5)}


class Labels:
    def open(self) -> InMemory:
        return InMemory(CLASSES, Split(X, Y / 1), Split(X, Y + 1), "1")


class Samples:
    def open(self) -> InMemory:
        numbers = {**X, "visual": X["visual"].to(torch.complex64)}
        return InMemory(CLASSES, Split(numbers, torch.eye(2)[Y]), Split({"audio": X["audio"]}, Y[:, None]), "1")


class TooLarge:
    def open(self) -> InMemory:
        large = {"audio": torch.full((4, 6), 2**40), "visual": torch.full((4, 5), 1e300, dtype=torch.float64)}
        return InMemory(CLASSES, Split(large, Y), Split(X, Y), "1")


class NoSplits:
    def open(self) -> InMemory:
        lists: Any = {"audio": [[0.0]], "visual": torch.zeros(4)}
        pair: Any = (X, Y)
        return InMemory(CLASSES, Split(lists, Y), pair, "1")


@dataclass(frozen=True)
class Unreadable(Vectors):
    def train(self, *, batch_size: int, seed: int, epoch: int) -> Iterator[Any]:
        raise OSError("clip 17 is damaged")

    def validation(self, *, batch_size: int) -> Iterator[Any]:
        return iter(())


@dataclass(frozen=True)
class Members(Vectors):
    shapes: ClassVar[Mapping[str, Any]] = {"audio": 6, "visual": (4,)}
    classes: ClassVar[Sequence[str]] = "catdog"


class NoMethod:
    shapes: ClassVar[Mapping[str, Any]] = {"audio": (6,), "visual": (4,)}
    classes, train, validation = CLASSES, [(X, Y)], [(X, Y)]

    def open(self) -> NoMethod:
        return self


class Fussy(nn.Linear):
    """Encoder that can be evaluated but not trained."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape[0], 8)

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            raise ValueError("this kernel has no gradient")
        return super().forward(x)


class Undefined(nn.Linear):
    """Encoder whose features are NaN if it is trained."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape[0], 8)

    def forward(self, x: Tensor) -> Tensor:
        features = super().forward(x)
        return features * torch.nan if self.training else features


class Normed(nn.Sequential):
    """Encoder with batch norm over one value per sample."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(nn.Linear(shape[0], 8), nn.BatchNorm1d(8))
