"""Error of the noise's standard deviations, which are computed in single precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.gpu.rows import Load, Row, Values
from ogmge.noise import standard_deviation, standard_deviations_at_once

SHAPES = ((64, 3, 7, 7), (128, 128, 3, 3), (512, 512, 3, 3))  # of convolutions in a ResNet-18
SCALES = (1e-22, 1e-12, 1e-6, 1.0, 1e6, 1e15)
OFFSET = 100.0  # mean of the gradients in the second row, in standard deviations


def measure_noise_error(load: Load) -> Iterator[Row]:
    """Yield the largest relative error of sigma for gradients around 0 and far from it, by scale."""
    ways: dict[str, Callable[[list[Tensor]], list[Tensor]]] = {"at once": standard_deviations_at_once}
    if not load.on_gpu:
        ways["in pieces"] = lambda tensors: [torch.tensor(standard_deviation(t.view(-1))) for t in tensors]
    for name, way in ways.items():
        yield Row(f"{name}, around 0", _errors(load, way, 0.0))
        yield Row(f"{name}, mean of {OFFSET:g} sigma", _errors(load, way, OFFSET))


def _errors(load: Load, way: Callable[[list[Tensor]], list[Tensor]], offset: float) -> Values:
    generator = torch.Generator(load.device).manual_seed(0)
    unit = [torch.randn(shape, generator=generator, device=load.device).add_(offset) for shape in SHAPES]
    found: Values = {}
    for scale in SCALES:
        tensors = [tensor * scale for tensor in unit]
        exact = [tensor.double().std(correction=0).item() for tensor in tensors]
        errors = [abs(sigma.item() / true - 1) for sigma, true in zip(way(tensors), exact, strict=True)]
        found[f"error_at_{scale:g}"] = max(errors)
    return found
