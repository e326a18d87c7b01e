"""From decoded frames to what a model sees: which frames, which part of each, mirrored or not, and normalised.

All chance comes in as numbers in [0, 1): who draws them decides what is seen, to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

TRIES = 10  # for a box that fits; then the largest in the middle, as torchvision's RandomResizedCrop does
BOX_NUMBERS = 2 * TRIES + 2
AREA = (0.08, 1.0)  # of a random box, as a share of the image
RATIO = (3 / 4, 4 / 3)  # of its width to its height
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of colours in [0, 1]
FLOW_MEAN, FLOW_STD = (0.5, 0.5), (0.5, 0.5)


@dataclass(frozen=True, slots=True)
class Box:
    """A part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int


def places(there: int, wanted: int, numbers: Sequence[float] | NDArray[np.float64] | None = None) -> list[int]:
    """Which of `there` frames are seen: one of each of `wanted` equal parts, by chance, or the one in its middle.

    >>> places(10, 3), places(10, 3, [0.0, 0.5, 0.99])
    ([1, 5, 8], [0, 5, 9])
    """
    within = [0.5] * wanted if numbers is None else numbers
    return [min(int((part + number) * there / wanted), there - 1) for part, number in enumerate(within)]


def random_box(height: int, width: int, numbers: Sequence[float] | NDArray[np.float64]) -> Box:
    """A box of a random area and shape at a random place, distributed as torchvision's RandomResizedCrop.

    Args:
        height, width: of the image.
        numbers: 22, in [0, 1): ten areas, ten ratios, and the place from the top and from the left.
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
    """A box of one image resized to a square, antialiased as torchvision's uint8, and mirrored or not; for CPUs.

    Args:
        image: uint8 [C, H, W], of any strides; [H, W, C] seen as [C, H, W] is quickest.
        box: the part that is seen.
        size: pixels a side of the result.

    Returns:
        uint8 [C, size, size].
    """
    part = image[:, box.top : box.top + box.height, box.left : box.left + box.width]
    square = interpolate(part.unsqueeze(0), (size, size), mode="bilinear", antialias=True)[0]
    return square.flip(-1) if mirrored else square


def crop_batch(images: Tensor, boxes: Tensor, size: int, mirrored: Tensor | None = None) -> Tensor:
    """`crop_one` of many images at once, as two products of matrices; for GPUs.

    Args:
        images: uint8 [N, H, W, C]; a smaller image lies in the upper left corner.
        boxes: int64 [N, 4]: top, left, height, width.
        size: pixels a side of the result.
        mirrored: which to mirror left to right, bool [N], or None.

    Returns:
        uint8 [N, C, size, size], within one level of `crop_one`'s.
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
    """How much of each of `there` pixels is in each of `size`, for parts of a line: bilinear, antialiased.

    The triangle of the filter is as wide as the larger of the two pixels; pixels outside the part count for nothing.

    Args:
        begin, length: int64 [N], of the parts.

    Returns:
        [N, size, there], whose rows add up to one.
    """
    begin, length = begin.view(-1, 1, 1).float(), length.view(-1, 1, 1).float()
    scale = length / size
    middle = begin + (torch.arange(size, device=begin.device).view(1, -1, 1) + 0.5) * scale
    pixel = torch.arange(there, device=begin.device).view(1, 1, -1) + 0.5
    weight = (1 - (pixel - middle).abs() / scale.clamp_min(1)).clamp_min(0)
    weight = weight * ((pixel > begin) & (pixel < begin + length))
    return weight / weight.sum(dim=2, keepdim=True)


def normalise(images: Tensor, mirrored: Tensor | None, out: Tensor | None = None) -> Tensor:
    """Colours minus ImageNet's mean over its deviation; flow from -1 to 1, across negated where it was mirrored.

    Args:
        images: uint8 [..., C, H, W], C = 3 (colour) or 2 (flow: across, down), mirrored already.
        mirrored: which are, bool [...], or None.
        out: where to write, or None.

    Returns:
        float32 [..., C, H, W].
    """
    flow = images.shape[-3] == 2
    mean, std = (FLOW_MEAN, FLOW_STD) if flow else (MEAN, STD)
    scale, shift = _line(mean, std, images.device)
    if flow and mirrored is not None:
        across = torch.tensor([-2.0, 0.0], device=images.device)
        sign = 1 + across * mirrored[..., None]
        scale, shift = scale * sign, shift * sign
    floats = images.float() if out is None else out.copy_(images)  # by itself, which a CPU does with all its lanes
    return floats.mul_(scale[..., None, None]).add_(shift[..., None, None])


def _line(mean: Sequence[float], std: Sequence[float], device: torch.device) -> tuple[Tensor, Tensor]:
    """scale x level + shift = (level / 255 - mean) / std, of each channel."""
    scale = torch.tensor([1 / (255 * s) for s in std], device=device)
    return scale, torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=device)


def part_of_wave(
    wave: NDArray[np.int16], samples: int, *, tile: bool = False, number: float | None = None
) -> NDArray[np.int16]:
    """`samples` of a wave: a part at a random place, or the middle; a short wave is followed by silence.

    With `tile`, a short wave is repeated, and the first of it is taken, always.

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
