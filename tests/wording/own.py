"""Custom data sets, encoders and heads as users write them, some of them with an error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

Batch = tuple[dict[str, Tensor], Tensor]


@dataclass(frozen=True)
class Vectors:
    """Data set with two modalities and three equally frequent classes."""

    samples: int = 60

    shapes: ClassVar[Mapping[str, tuple[int, ...]]] = {"audio": (6,), "visual": (4,)}
    classes: ClassVar[Sequence[str]] = ("cat", "dog", "horse")

    @property
    def fingerprint(self) -> str:
        return f"vectors-{self.samples}"

    def open(self) -> Vectors:
        return self

    def train(self, *, batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
        return self.validation(batch_size=batch_size)

    def validation(self, *, batch_size: int) -> Iterator[Batch]:
        for y in (torch.arange(self.samples) % 3).split(batch_size):
            yield {name: torch.zeros(len(y), *shape) for name, shape in self.shapes.items()}, y


@dataclass(frozen=True)
class Tested(Vectors):
    """Vectors with a test split."""

    def test(self, *, batch_size: int, reason: str) -> Iterator[Batch]:
        return self.validation(batch_size=batch_size)


@dataclass(frozen=True)
class Whole(Tested):
    """Vectors that can also train on the validation samples."""

    def all_for_training(self) -> Whole:
        return self


@dataclass(frozen=True)
class Renamed(Tested):
    """Vectors with a different name for one class."""

    classes: ClassVar[Sequence[str]] = ("cat", "dog", "pony")


@dataclass(frozen=True)
class Wider(Tested):
    """Vectors with one wider modality."""

    shapes: ClassVar[Mapping[str, tuple[int, ...]]] = {"audio": (8,), "visual": (4,)}


@dataclass(frozen=True)
class Broken(Tested):
    """Vectors with a NaN in one sample."""

    def validation(self, *, batch_size: int) -> Iterator[Batch]:
        for x, y in super().validation(batch_size=batch_size):
            x["audio"][5] = torch.nan
            yield x, y


@dataclass(frozen=True)
class Pictures(Vectors):
    """Data set with spectrograms and images."""

    shapes: ClassVar[Mapping[str, tuple[int, ...]]] = {"audio": (1, 8, 8), "visual": (3, 8, 8)}


def fails(shape: tuple[int, ...]) -> nn.Module:
    raise RuntimeError("no licence for this encoder")


def no_module(shape: tuple[int, ...]) -> str:
    return "resnet18"


def not_flat(shape: tuple[int, ...]) -> nn.Module:
    return nn.Identity()


def wide(shape: tuple[int, ...], width: int = 32, *, act: Literal["relu", "gelu"] = "relu") -> nn.Module:
    return nn.Flatten()


def deep_head(dims: Mapping[str, int], classes: int, hidden: int) -> nn.Module:
    return Narrow()


def narrow_head(dims: Mapping[str, int], classes: int) -> nn.Module:
    return Narrow()


class Narrow(nn.Module):
    """Head that always has two logits."""

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        return next(iter(features.values()))[:, :2]
