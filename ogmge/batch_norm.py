"""Batch norm that needs more than one sample to train on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.module import register_module_forward_pre_hook

SAMPLES = 2  # in the passes that are watched


@contextmanager
def watch_batch_norm() -> Iterator[list[nn.Module]]:
    """Yield a list to which layers are added that normalise over one value per sample and channel.

    Such a layer cannot be trained on a single sample, whose mean is its only value and whose variance is 0. A layer
    after a convolution usually sees many values per sample. All passes in the block must be over `SAMPLES` samples.
    """
    found: list[nn.Module] = []

    def look(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        if isinstance(layer, _BatchNorm) and inputs and isinstance(inputs[0], Tensor):
            found.extend([layer] * (inputs[0].numel() == SAMPLES * inputs[0].shape[1]))

    hook = register_module_forward_pre_hook(look)
    try:
        yield found
    finally:
        hook.remove()


def smallest_batch(watched: list[nn.Module]) -> int:
    """Return the smallest number of samples to train on; layers that are frozen in evaluation mode take any number.

    Args:
        watched: layers that `watch_batch_norm` found, in the mode that they are trained in.
    """
    return SAMPLES if any(layer.training for layer in watched) else 1
