"""Transforms of decoded frames: selection, crop, mirroring and normalisation.

All randomness comes in as numbers in [0, 1), so the caller determines the result to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

TRIES = 10  # attempts at a box that fits; then a central box, as in torchvision's RandomResizedCrop
BOX_NUMBERS = 2 * TRIES + 2
AREA = (0.08, 1.0)  # area of a random box, as a share of the image
RATIO = (3 / 4, 4 / 3)  # ratio of its width to its height
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, for colours in [0, 1]
FLOW_MEAN, FLOW_STD = (0.5, 0.5), (0.5, 0.5)


@dataclass(frozen=True, slots=True)
class Box:
    """Part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int


def places(there: int, wanted: int, numbers: Sequence[float] | NDArray[np.float64] | None = None) -> list[int]:
    """Select one of `there` frames in each of `wanted` equal parts: a random frame, or the middle one.

    >>> places(10, 3), places(10, 3, [0.0, 0.5, 0.99])
    ([1, 5, 8], [0, 5, 9])
    """
    within = [0.5] * wanted if numbers is None else numbers
    return [min(int((part + number) * there / wanted), there - 1) for part, number in enumerate(within)]


def random_box(height: int, width: int, numbers: Sequence[float] | NDArray[np.float64]) -> Box:
    """Return a box of random area, shape and position, distributed as in torchvision's RandomResizedCrop.

    Args:
        height, width: size of the image.
        numbers: 22 numbers in [0, 1): for ten areas, ten ratios, and the position from the top and from the left.
    """
    logarithms = math.log(RATIO[0]), math.log(RATIO[1])
    for area_number, ratio_number in zip(numbers[:TRIES], numbers[TRIES : 2 * TRIES], strict=True):
        area = height * width * (AREA[0] + area_number * (AREA[1] - AREA[0]))
        ratio = math.exp(logarithms[0] + ratio_number * (logarithms[1] - logarithms[0]))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return Box(int(numbers[-2] * (height - h + 1)), int(numbers[-1] * (width - w + 1)), h, w)
    h = min(height, round(width / RATIO[0]))
    w = min(width, round(height * RATIO[1]))
    return Box((height - h) // 2, (width - w) // 2, h, w)


def crop_one(image: Tensor, box: Box, size: int, *, mirrored: bool = False) -> Tensor:
    """Resize a box of one image to a square, antialiased as torchvision does for uint8; for CPUs.

    Args:
        image: uint8 [C, H, W] with any strides; a view of [H, W, C] is fastest.
        box: part that the model sees.
        size: pixels per side of the result.
        mirrored: whether to mirror the result left to right.

    Returns:
        uint8 [C, size, size].
    """
    part = image[:, box.top : box.top + box.height, box.left : box.left + box.width]
    square = interpolate(part.unsqueeze(0), (size, size), mode="bilinear", antialias=True)[0]
    return square.flip(-1) if mirrored else square


def crop_batch(images: Tensor, boxes: Tensor, size: int, mirrored: Tensor | None = None) -> Tensor:
    """Apply `crop_one` to many images at once, as two matrix products; for GPUs.

    Args:
        images: uint8 [N, H, W, C], with smaller images in the upper left corner.
        boxes: top, left, height and width of each box, int64 [N, 4].
        size: pixels per side of the result.
        mirrored: whether to mirror each image left to right, bool [N], or None.

    Returns:
        uint8 [N, C, size, size], within one level of the result of `crop_one`.
    """
    n, height, width, channels = images.shape
    down = resize_weights(boxes[:, 0], boxes[:, 2], height, size)
    across = resize_weights(boxes[:, 1], boxes[:, 3], width, size)
    if mirrored is not None:
        across = torch.where(mirrored[:, None, None], across.flip(1), across)
    rows = torch.bmm(down, images.reshape(n, height, width * channels).float())
    squares = torch.einsum("nywc,nxw->ncyx", rows.view(n, size, width, channels), across)
    return squares.round_().clamp_(0, 255).to(torch.uint8)


def resize_weights(begin: Tensor, length: Tensor, there: int, size: int) -> Tensor:
    """Return the weights that resize parts of a line of `there` pixels to `size` pixels: bilinear, antialiased.

    The filter's triangle is as wide as the larger of an input and an output pixel. Pixels outside the part have no
    weight.

    Args:
        begin, length: begin and length of each part, int64 [N].

    Returns:
        [N, size, there]; rows add up to one.
    """
    begin, length = begin.view(-1, 1, 1).float(), length.view(-1, 1, 1).float()
    scale = length / size
    middle = begin + (torch.arange(size, device=begin.device).view(1, -1, 1) + 0.5) * scale
    pixel = torch.arange(there, device=begin.device).view(1, 1, -1) + 0.5
    weight = (1 - (pixel - middle).abs() / scale.clamp_min(1)).clamp_min(0)
    weight = weight * ((pixel > begin) & (pixel < begin + length))
    return weight / weight.sum(dim=2, keepdim=True)


def normalise(images: Tensor, mirrored: Tensor | None, out: Tensor | None = None) -> Tensor:
    """Normalise colours with ImageNet's mean and deviation, and flow to [-1, 1].

    Args:
        images: uint8 [..., C, H, W], already mirrored, with C = 3 (colour) or 2 (flow: horizontal, vertical).
        mirrored: whether each image is mirrored, bool [...], or None; negates the horizontal flow of mirrored images.
        out: tensor to write to, or None.

    Returns:
        float32 [..., C, H, W].
    """
    flow = images.shape[-3] == 2
    mean, std = (FLOW_MEAN, FLOW_STD) if flow else (MEAN, STD)
    scale, shift = _line(mean, std, images.device)
    if flow and mirrored is not None:
        sign = 1 + _constant((-2.0, 0.0), images.device) * mirrored[..., None]
        scale, shift = scale * sign, shift * sign
    floats = images.float() if out is None else out.copy_(images)  # a separate step, which a CPU vectorises
    return floats.mul_(scale[..., None, None]).add_(shift[..., None, None])


def _line(mean: Sequence[float], std: Sequence[float], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return scale and shift of each channel, with scale x level + shift = (level / 255 - mean) / std."""
    scale = _constant(tuple(1 / (255 * s) for s in std), device)
    return scale, _constant(tuple(-m / s for m, s in zip(mean, std, strict=True)), device)


@lru_cache(maxsize=16)
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return a tensor that is made once per device, because the host waits for a GPU when it makes one from values."""
    return torch.tensor(values, device=device)


def part_of_wave(
    wave: NDArray[np.int16], samples: int, *, tile: bool = False, number: float | None = None
) -> NDArray[np.int16]:
    """Return `samples` of a wave, at a random position or from the middle; a short wave is padded with silence.

    With `tile`, a short wave is repeated, and the samples are always taken from the start.

    >>> part_of_wave(np.arange(5, dtype=np.int16), 3).tolist()
    [1, 2, 3]
    >>> part_of_wave(np.arange(1, 3, dtype=np.int16), 5).tolist()
    [1, 2, 0, 0, 0]
    >>> part_of_wave(np.arange(1, 3, dtype=np.int16), 5, tile=True).tolist()
    [1, 2, 1, 2, 1]
    """
    if tile:
        return np.resize(wave, samples) if len(wave) < samples else wave[:samples]
    if len(wave) < samples:
        return np.pad(wave, (0, samples - len(wave)))
    spare = len(wave) - samples
    begin = spare // 2 if number is None else int(number * (spare + 1))
    return wave[begin : begin + samples]
