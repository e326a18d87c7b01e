"""Gaussian noise of generalization enhancement (GE), with the standard deviation of each gradient.

The paper (eq. 12) writes N(0, Sigma_sgd); one sigma per tensor is what the authors' code uses.

On a GPU, all tensors are treated at once: operator calls are few, and nothing synchronises. A CPU treats one piece of a
tensor after the other, in the order of its memory, so that a piece and its noise stay in the cache. There, the bits do
not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SMALL = 2**15  # numbers that torch never divides among threads
ROW = 2**10  # numbers that are summed by a single thread, in single precision
SQUARES = (1e-30, 1e30)  # mean of the squares that single precision can sum
PIECE = 2**18  # numbers that are drawn at a time


def scale_and_add_noise(groups: Sequence[tuple[list[Tensor], Tensor]], seed: int) -> None:
    """Compute g <- k g + h in place, h ~ N(0, sigma^2), sigma being the standard deviation of g before scaling.

    Args:
        groups: one or more pairs (gradients, their coefficient k as a scalar). All gradients have the same device and
            dtype; no group is empty.
        seed: seed of the noise.
    """
    first = groups[0][0][0]
    dtype = _precision(first)
    generator = torch.Generator(device=first.device).manual_seed(seed)
    if not _is_piecewise(first):
        _edit_at_once(groups, generator, dtype)
        return
    noise = torch.empty(PIECE, device=first.device, dtype=dtype)
    for tensors, coefficient in groups:
        k = coefficient.item()
        for tensor in tensors:
            _edit_piecewise(tensor, k, noise, generator)


def _edit_at_once(
    groups: Sequence[tuple[list[Tensor], Tensor]], generator: torch.Generator, dtype: torch.dtype
) -> None:
    """Compute g <- k g + h for all gradients, with a number of operator calls that does not grow with theirs."""
    gradients = [tensor for tensors, _ in groups for tensor in tensors]
    deviations = standard_deviations_at_once(gradients)
    for tensors, coefficient in groups:
        torch._foreach_mul_(tensors, coefficient)
    sizes = [g.numel() for g in gradients]
    flat = torch.randn(sum(sizes), generator=generator, device=gradients[0].device, dtype=dtype)
    noise = [part.view(g.shape) for part, g in zip(flat.split(sizes), gradients, strict=True)]
    torch._foreach_mul_(noise, deviations)
    torch._foreach_add_(gradients, noise)


def _edit_piecewise(gradient: Tensor, k: float, noise: Tensor, generator: torch.Generator) -> None:
    """Compute g <- k g + h for one gradient on a CPU.

    Args:
        gradient: the gradient g.
        k: its coefficient.
        noise: memory of the length PIECE for the noise.
        generator: source of the noise.
    """
    ordered = _in_memory_order(gradient)
    flat = ordered.reshape(-1)
    sigma = standard_deviation(flat)
    for begin in range(0, flat.numel(), PIECE):
        piece = flat[begin : begin + PIECE]
        if k != 1:
            piece.mul_(k)
        piece.add_(noise[: piece.numel()].normal_(generator=generator), alpha=sigma)
    if not ordered.is_contiguous():  # the gradient has gaps, so that `flat` is a copy
        ordered.copy_(flat.view_as(ordered))


def _is_piecewise(tensor: Tensor) -> bool:
    """Return whether many small operator calls are cheap on a tensor's device, and reading a number does not wait."""
    return tensor.device.type == "cpu"


def _precision(tensor: Tensor) -> torch.dtype:
    """Return the dtype of a tensor's noise: at least single precision."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def _in_memory_order(tensor: Tensor) -> Tensor:
    """Return a view of a tensor whose dimensions are in the order of its memory."""
    return tensor.permute(sorted(range(tensor.ndim), key=tensor.stride, reverse=True))


def standard_deviation(flat: Tensor) -> float:
    """Return the population standard deviation of a 1-D tensor on a CPU."""
    if flat.numel() < SMALL:
        return flat.to(_precision(flat)).std(correction=0).item()
    mean, square = _moments(flat)
    if not SQUARES[0] < square < SQUARES[1]:
        flat = flat.double()
        mean, square = _moments(flat)
    if square < 2 * mean**2:  # the difference below would be inexact
        mean, square = _moments(flat - mean)
    return float(max(square - mean**2, 0.0) ** 0.5)


def _moments(flat: Tensor) -> tuple[float, float]:
    """Return the mean of a 1-D tensor's numbers and that of their squares.

    torch divides a sum among its threads. Here each thread sums whole rows, and one thread sums what they return.
    """
    whole = len(flat) // ROW * ROW
    rows = [flat[:whole].view(-1, ROW), flat[whole:].view(1, -1)]
    dtype = _precision(flat)
    total = sum(torch.cat([part.sum(dim=1, dtype=dtype) for part in rows]).tolist())
    norms = torch.cat([torch.linalg.vector_norm(part, dim=1, dtype=dtype) for part in rows]).tolist()
    return total / max(1, len(flat)), sum(norm * norm for norm in norms) / max(1, len(flat))


def standard_deviations_at_once(tensors: list[Tensor]) -> list[Tensor]:
    """Return the standard deviations with a number of operator calls that does not grow with that of the tensors.

    The sum of a tensor is computed from norms: the 1-norm minus twice the 1-norm of its negative part. A second pass
    measures the deviation from the mean, which avoids cancellation.
    """
    dtype = _precision(tensors[0])
    negative = torch._foreach_clamp_max(tensors, 0.0)
    total = torch.stack(torch._foreach_norm(tensors, 1, dtype=dtype))
    below = torch.stack(torch._foreach_norm(negative, 1, dtype=dtype))
    del negative
    sizes = [t.numel() for t in tensors]
    mean = torch._foreach_div(torch.sub(total, below, alpha=2.0).unbind(), [float(n) for n in sizes])
    centred = torch._foreach_sub(tensors, mean)
    return list(torch._foreach_div(torch._foreach_norm(centred, 2, dtype=dtype), [n**0.5 for n in sizes]))
