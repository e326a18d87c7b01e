"""The fusion heads compute the papers' equations."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ogmge.fusion import FUSIONS, Concat, Film, Gated, Sum

CLASSES = 3
NAMES = ("audio", "visual", "text", "flow")


def make(kind: str, modalities: int, batch: int, seed: int):
    """Return a head and features of different widths, in float64."""
    torch.manual_seed(seed)
    dims = {name: 2 + i for i, name in enumerate(NAMES[:modalities])}
    return FUSIONS[kind](dims, CLASSES).double(), {
        name: torch.randn(batch, dim, dtype=torch.float64) for name, dim in dims.items()
    }


def affine(layer: nn.Linear, x: list[float], first: int = 0, bias: bool = True) -> list[float]:
    """Return W[:, first : first + len(x)] x + b, computed in plain Python."""
    w, b = layer.weight.tolist(), layer.bias.tolist()
    return [sum(row[first + j] * v for j, v in enumerate(x)) + (b[i] if bias else 0.0) for i, row in enumerate(w)]


def plain_film(head: Film, x: list[list[float]]) -> list[float]:
    first, *others = x
    joined = [v for other in others for v in other]
    film = affine(head.film, first)
    return affine(head.linear, [film[i] * v + film[len(joined) + i] for i, v in enumerate(joined)])


def plain_gated(head: Gated, x: list[list[float]]) -> list[float]:
    hidden = [affine(layer, v) for layer, v in zip(head.hidden.values(), x, strict=True)]
    gate = [1 / (1 + math.exp(-v)) for v in hidden[0]]
    return affine(head.linear, [g * v for other in hidden[1:] for g, v in zip(gate, other, strict=True)])


def plain_concat(head: Concat, x: list[list[float]]) -> list[float]:
    return affine(head.linear, [v for part in x for v in part])


def plain_sum(head: Sum, x: list[list[float]]) -> list[float]:
    parts = [affine(layer, v) for layer, v in zip(head.linear.values(), x, strict=True)]
    return [sum(values) for values in zip(*parts, strict=True)]


PLAIN = {"concat": plain_concat, "sum": plain_sum, "film": plain_film, "gated": plain_gated}


@pytest.mark.parametrize("modalities", [2, 3, 4])
@pytest.mark.parametrize("kind", FUSIONS)
def test_a_head_computes_the_papers_equation(kind, modalities):
    head, features = make(kind, modalities, 3, 1)
    logits = head(features)
    for sample in range(3):
        expected = PLAIN[kind](head, [x[sample].tolist() for x in features.values()])
        assert logits[sample].tolist() == pytest.approx(expected, abs=1e-9)
