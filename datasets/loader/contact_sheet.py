"""Contact sheet: what a model sees of a few samples, for a look before an expensive search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Pixels = NDArray[np.uint8]  # [H, W, 3]

TILE, GAP, CAPTION = 160, 8, 16
DARK = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], dtype=float)  # low to high


def _scale(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale values to [0, 1] and clip the lowest and highest 1 %."""
    low, high = np.quantile(values, [0.01, 0.99])
    scaled: NDArray[np.float64] = np.clip((values - low) / max(high - low, 1e-12), 0.0, 1.0)
    return scaled


def _heat(values: NDArray[np.float64]) -> Pixels:
    """Colour values [H, W]; the low frequencies of a spectrogram are at the top."""
    place = _scale(values) * (len(DARK) - 1)
    below = np.minimum(place.astype(int), len(DARK) - 2)
    part = (place - below)[..., None]
    colours: Pixels = (DARK[below] * (1 - part) + DARK[below + 1] * part).astype(np.uint8)
    return colours


def tiles(sample: Tensor) -> list[Pixels]:
    """Return images of one modality of a sample.

    Args:
        sample: [D], [C, H, W] or [T, C, H, W]; three channels are colours, other channels become separate images.
    """
    values = sample.detach().cpu().double().numpy()
    if values.ndim == 1:
        return [_heat(np.repeat(values[None], 8, axis=0))]
    if values.ndim == 4:
        return [*chain.from_iterable(map(tiles, sample))]
    if values.shape[0] == 3:
        return [(_scale(values.transpose(1, 2, 0)) * 255).astype(np.uint8)]
    return [_heat(channel) for channel in values]


def write_sheet(x: Mapping[str, Tensor], y: Tensor, classes: Sequence[str], path: Path, most: int = 8) -> None:
    """Write a PNG with one row for each of a batch's first samples: its class and every modality.

    Args:
        x, y: batch: modality -> [B, *shape], and class ids [B].
        classes: names of the classes, by id.
        path: path of the PNG.
        most: maximum number of rows.
    """
    from PIL import Image, ImageDraw

    rows = [[*chain.from_iterable(tiles(values[i]) for values in x.values())] for i in range(min(most, len(y)))]
    width, height = GAP + max(map(len, rows)) * (TILE + GAP), GAP + len(rows) * (TILE + CAPTION + GAP)
    page = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(page)
    for row, images in enumerate(rows):
        top = GAP + row * (TILE + CAPTION + GAP)
        draw.text((GAP, top), classes[int(y[row])].encode("ascii", "replace").decode(), fill="black")
        for column, image in enumerate(images):
            page.paste(_thumbnail(image), (GAP + column * (TILE + GAP), top + CAPTION))
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path, format="PNG")


def _thumbnail(image: Pixels) -> Any:
    from PIL import Image

    is_large = min(image.shape[:2]) >= TILE
    filter = Image.Resampling.BILINEAR if is_large else Image.Resampling.NEAREST
    return Image.fromarray(image).resize((TILE, TILE), filter)


def choose_samples(x: Mapping[str, Tensor], y: Tensor, rows: int = 8) -> tuple[dict[str, Tensor], Tensor]:
    """Choose `rows` samples from as many classes of a batch as possible: the first of each class, then the second …"""
    counts: Counter[int] = Counter()
    rank = []
    for label in y.tolist():
        rank.append(counts[label])
        counts[label] += 1
    chosen = torch.argsort(torch.tensor(rank), stable=True)[:rows].to(y.device)
    return {name: values[chosen] for name, values in x.items()}, y[chosen]
