"""Loading on the host: one thread reads some samples of a batch from the store and decodes them.

A sample's randomness depends only on the seed, the epoch and the sample's id.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datasets.loader import transforms
from datasets.loader.transforms import Box
from datasets.store.settings import Audio, Frames, Settings
from datasets.store.store import Entry, Store, StoreError

FRAME_NUMBERS = 1 + transforms.BOX_NUMBERS + 1  # frame, box and mirroring

CHANNELS = {"GRAY": 1, "RGB": 3}

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Draw:
    """Source of an epoch's random numbers."""

    seed: int
    epoch: int

    def numbers(self, sample: str, count: int) -> Numbers:
        """Return `count` numbers in [0, 1) for a sample, each from 53 bits of a hash of its id."""
        digest = hashlib.shake_128(f"{self.seed}/{self.epoch}/{sample}".encode()).digest(8 * count)
        return np.asarray((np.frombuffer(digest, "<u8") >> 11) * 2.0**-53, np.float64)


@dataclass(frozen=True)
class Task:
    """Samples for one thread to make. Without a `draw` they are those of an evaluation, without augmentation."""

    entries: Sequence[Entry]
    draw: Draw | None


@dataclass(frozen=True)
class Images:
    """Frames of some samples. For flow, u and v are separate images.

    Args:
        pixels: uint8 [N, H, W, C] before the crop, with smaller images in the upper left corner; [N, C, size, size]
            after it.
        boxes: parts to crop, int64 [N, 4]; None after the crop.
        mirrored: whether each image is mirrored (before the crop: to be mirrored), bool [N]; None in evaluation.
    """

    pixels: Tensor
    boxes: Tensor | None
    mirrored: Tensor | None

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Images:
        """Copy the images to a device."""
        boxes = None if self.boxes is None else self.boxes.to(device, non_blocking=non_blocking)
        mirrored = None if self.mirrored is None else self.mirrored.to(device, non_blocking=non_blocking)
        return Images(self.pixels.to(device, non_blocking=non_blocking), boxes, mirrored)


@dataclass(frozen=True)
class Share:
    """Some samples of a batch for the device: modality -> int16 [B, samples] or `Images`, and class ids [B]."""

    x: dict[str, Tensor | Images]
    y: Tensor

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Share:
        """Copy the share to a device; with `non_blocking`, the host does not wait for copies from pinned memory."""
        x = {modality: part.to(device, non_blocking=non_blocking) for modality, part in self.x.items()}
        return Share(x, self.y.to(device, non_blocking=non_blocking))


@dataclass(frozen=True)
class Jpeg:
    """Image to decode, and the part that the model sees."""

    sample: str
    blob: memoryview
    height: int
    width: int
    box: Box
    mirrored: bool


@dataclass(frozen=True)
class Host:
    """Reader and decoder of samples.

    Args:
        store: store to read from.
        settings: modality -> settings of its storage and of what is shown.
        flow: modalities that are optical flow.
        crops: whether to crop frames here one by one, which is best if the device is the CPU.
        pinned: whether to write to pinned memory, which a GPU reads asynchronously.
    """

    store: Store
    settings: Settings
    flow: frozenset[str]
    crops: bool
    pinned: bool

    def share(self, task: Task) -> Share:
        """Make the samples of a task.

        Raises:
            StoreError: if a blob differs from what was written.
        """
        numbers = [self._numbers(entry.id, task.draw) for entry in task.entries]
        x = {
            modality: self._part(task.entries, modality, [drawn.get(modality) for drawn in numbers])
            for modality in self.settings
        }
        return Share(x, self._pin(torch.tensor([entry.label for entry in task.entries])))

    def _pin(self, tensor: Tensor) -> Tensor:
        return tensor.pin_memory() if self.pinned else tensor

    def _numbers(self, sample: str, draw: Draw | None) -> dict[str, Numbers]:
        """Return random numbers by modality: [1] for audio, [T, FRAME_NUMBERS] for frames; empty without a draw."""
        if draw is None:
            return {}
        shapes = [(1,) if isinstance(how, Audio) else (how.count, FRAME_NUMBERS) for how in self.settings.values()]
        ends = np.cumsum([math.prod(shape) for shape in shapes])
        parts = np.split(draw.numbers(sample, int(ends[-1])), ends[:-1])
        return dict(zip(self.settings, map(np.reshape, parts, shapes), strict=True))

    def _part(self, entries: Sequence[Entry], modality: str, drawn: Sequence[Numbers | None]) -> Tensor | Images:
        how = self.settings[modality]
        if isinstance(how, Audio):
            return self._waves(entries, modality, how, drawn)
        return self._images(entries, modality, how, drawn)

    def _waves(self, entries: Sequence[Entry], modality: str, how: Audio, drawn: Sequence[Numbers | None]) -> Tensor:
        length = samples(how)
        waves = torch.empty(len(entries), length, dtype=torch.int16, pin_memory=self.pinned)
        for into, entry, numbers in zip(waves.numpy(), entries, drawn, strict=True):
            wave = np.frombuffer(self.store.blobs(entry, modality)[0], "<i2")
            number = None if numbers is None else float(numbers[0])
            into[:] = transforms.part_of_wave(wave, length, tile=how.tile, number=number)
        return waves

    def _images(self, entries: Sequence[Entry], modality: str, how: Frames, drawn: Sequence[Numbers | None]) -> Images:
        jpegs = [
            jpeg
            for entry, numbers in zip(entries, drawn, strict=True)
            for jpeg in self._jpegs(entry, modality, how, numbers)
        ]
        colour = "GRAY" if modality in self.flow else "RGB"
        mirrored = None if drawn[0] is None else self._pin(_mirror(jpegs))
        if self.crops:
            return Images(decode_crops(jpegs, colour, how.crop), None, mirrored)
        return Images(decode_whole(jpegs, colour, pinned=self.pinned), self._pin(_boxes(jpegs)), mirrored)

    def _jpegs(self, entry: Entry, modality: str, how: Frames, numbers: Numbers | None) -> list[Jpeg]:
        """Return the images of a sample that the model sees: T, or 2 T for flow."""
        each = 2 if modality in self.flow else 1
        there = self.store.count(entry, modality) // each
        seen = transforms.places(there, how.count, None if numbers is None else numbers[:, 0])
        blobs = self.store.blobs(entry, modality, [each * place + part for place in seen for part in range(each)])
        drawn = [None] * len(blobs) if numbers is None else numbers.repeat(each, axis=0)
        return [_jpeg(entry.id, blob, own) for blob, own in zip(blobs, drawn, strict=True)]


def _jpeg(sample: str, blob: memoryview, numbers: Numbers | None) -> Jpeg:
    """Return an image that is seen whole, or as its FRAME_NUMBERS determine."""
    height, width = size(blob, sample)
    if numbers is None:
        return Jpeg(sample, blob, height, width, Box(0, 0, height, width), mirrored=False)
    _, *box, mirrored = numbers.tolist()
    return Jpeg(sample, blob, height, width, transforms.random_box(height, width, box), mirrored < 0.5)


def _mirror(jpegs: Sequence[Jpeg]) -> Tensor:
    return torch.tensor([jpeg.mirrored for jpeg in jpegs])


def _boxes(jpegs: Sequence[Jpeg]) -> Tensor:
    return torch.from_numpy(np.array([(j.box.top, j.box.left, j.box.height, j.box.width) for j in jpegs]))


def samples(how: Audio) -> int:
    """Return the number of audio samples that a model sees."""
    return round(how.seconds * how.sample_rate_hz)


def size(blob: memoryview, sample: str) -> tuple[int, int]:
    """Return the height and width of a JPEG."""
    import simplejpeg

    try:
        height, width = simplejpeg.decode_jpeg_header(blob)[:2]
    except ValueError as error:
        raise StoreError(
            f"a frame of {sample} is not a JPEG ({error}): prepare the data into another folder"
        ) from error
    return height, width


def decode(jpeg: Jpeg, colour: str, buffer: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Decode an image [H, W, C], into `buffer` if given, which must be contiguous and of the same size."""
    import simplejpeg

    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(jpeg.blob, colour, buffer=buffer)
    except ValueError as error:
        raise StoreError(
            f"a frame of {jpeg.sample} cannot be decoded ({error}): prepare the data into another folder"
        ) from error
    return pixels


def decode_whole(jpegs: Sequence[Jpeg], colour: str, *, pinned: bool) -> Tensor:
    """Decode whole images directly into one tensor: uint8 [N, largest H, largest W, C]."""
    height, width = max(j.height for j in jpegs), max(j.width for j in jpegs)
    shape = (len(jpegs), height, width, CHANNELS[colour])
    canvas = torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
    for into, jpeg in zip(canvas.numpy(), jpegs, strict=True):
        if (jpeg.height, jpeg.width) == (height, width):
            decode(jpeg, colour, into)
        else:
            into[: jpeg.height, : jpeg.width] = decode(jpeg, colour, None)
    return canvas


def decode_crops(jpegs: Sequence[Jpeg], colour: str, side: int) -> Tensor:
    """Decode and crop images to what the model sees: uint8 [N, C, side, side]."""
    squares = torch.empty(len(jpegs), CHANNELS[colour], side, side, dtype=torch.uint8)
    scratch = np.empty(max(j.height * j.width for j in jpegs) * squares.shape[1], np.uint8)
    for into, jpeg in zip(squares, jpegs, strict=True):
        shape = (jpeg.height, jpeg.width, len(into))
        image = decode(jpeg, colour, scratch[: np.prod(shape)].reshape(shape))
        seen = torch.from_numpy(image).permute(2, 0, 1)
        into.copy_(transforms.crop_one(seen, jpeg.box, side, mirrored=jpeg.mirrored))
    return squares
