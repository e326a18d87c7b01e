"""The host's part of loading: some samples of a batch, read from the store and decoded by one thread.

What is random about a sample depends on the seed, the epoch and the sample's id alone.
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

FRAME_NUMBERS = 1 + transforms.BOX_NUMBERS + 1  # which frame, which box of it, whether mirrored

CHANNELS = {"GRAY": 1, "RGB": 3}

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Draw:
    """Where an epoch's chance comes from."""

    seed: int
    epoch: int

    def numbers(self, sample: str, count: int) -> Numbers:
        """`count` numbers in [0, 1) for a sample, by its id: 53 bits each of a hash as long as they need."""
        digest = hashlib.shake_128(f"{self.seed}/{self.epoch}/{sample}".encode()).digest(8 * count)
        return np.asarray((np.frombuffer(digest, "<u8") >> 11) * 2.0**-53, np.float64)


@dataclass(frozen=True)
class Task:
    """Samples that one thread is to make; `draw` None is the evaluation's view of them."""

    entries: Sequence[Entry]
    draw: Draw | None


@dataclass(frozen=True)
class Images:
    """Frames of some samples; of flow, u and v are an image each.

    Args:
        pixels: uint8 [N, H, W, C] before the crop, where a smaller image lies in the upper left corner; or
            [N, C, size, size] after it.
        boxes: int64 [N, 4], what is to be cropped; None after it.
        mirrored: which are to be mirrored, or are, bool [N]; None in evaluation.
    """

    pixels: Tensor
    boxes: Tensor | None
    mirrored: Tensor | None

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Images:
        """The same on a device."""
        boxes = None if self.boxes is None else self.boxes.to(device, non_blocking=non_blocking)
        mirrored = None if self.mirrored is None else self.mirrored.to(device, non_blocking=non_blocking)
        return Images(self.pixels.to(device, non_blocking=non_blocking), boxes, mirrored)


@dataclass(frozen=True)
class Share:
    """Some samples of a batch, for the device: modality -> int16 [B, samples] or `Images`, and class ids [B]."""

    x: dict[str, Tensor | Images]
    y: Tensor

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Share:
        """The same on a device; from pinned memory, and `non_blocking`, the host does not wait for it."""
        x = {modality: part.to(device, non_blocking=non_blocking) for modality, part in self.x.items()}
        return Share(x, self.y.to(device, non_blocking=non_blocking))


@dataclass(frozen=True)
class Jpeg:
    """An image that is to be decoded, and what is to be seen of it."""

    sample: str
    blob: memoryview
    height: int
    width: int
    box: Box
    mirrored: bool


@dataclass(frozen=True)
class Host:
    """Reads and decodes samples.

    Args:
        store: where from.
        settings: modality -> what is shown of it.
        flow: modalities that are optical flow.
        crops: whether frames are cropped here, one by one: best where the device is this CPU.
        pinned: whether to write to memory that a GPU fetches from while the program goes on.
    """

    store: Store
    settings: Settings
    flow: frozenset[str]
    crops: bool
    pinned: bool

    def share(self, task: Task) -> Share:
        """Makes some samples.

        Raises:
            StoreError: a blob is not what was written.
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
        """Modality -> [1] for audio, [T, FRAME_NUMBERS] for frames; nothing where nothing is drawn."""
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
        """Those of a sample that are seen: T, of flow 2 T."""
        each = 2 if modality in self.flow else 1
        there = self.store.count(entry, modality) // each
        seen = transforms.places(there, how.count, None if numbers is None else numbers[:, 0])
        blobs = self.store.blobs(entry, modality, [each * place + part for place in seen for part in range(each)])
        drawn = [None] * len(blobs) if numbers is None else numbers.repeat(each, axis=0)
        return [_jpeg(entry.id, blob, own) for blob, own in zip(blobs, drawn, strict=True)]


def _jpeg(sample: str, blob: memoryview, numbers: Numbers | None) -> Jpeg:
    """An image that is seen whole, or as its FRAME_NUMBERS say."""
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
    """Length of the audio that a model sees."""
    return round(how.seconds * how.sample_rate_hz)


def size(blob: memoryview, sample: str) -> tuple[int, int]:
    """Height and width of a JPEG."""
    import simplejpeg

    try:
        height, width = simplejpeg.decode_jpeg_header(blob)[:2]
    except ValueError as error:
        raise StoreError(f"a frame of {sample} is no JPEG ({error}): prepare the data into another folder") from error
    return height, width


def decode(jpeg: Jpeg, colour: str, buffer: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """An image [H, W, C], in `buffer` where there is one, which must be as large and in one piece."""
    import simplejpeg

    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(jpeg.blob, colour, buffer=buffer)
    except ValueError as error:
        raise StoreError(
            f"a frame of {jpeg.sample} cannot be decoded ({error}): prepare the data into another folder"
        ) from error
    return pixels


def decode_whole(jpegs: Sequence[Jpeg], colour: str, *, pinned: bool) -> Tensor:
    """Whole images, straight into one tensor: uint8 [N, largest H, largest W, C]."""
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
    """What is seen of each image: uint8 [N, C, side, side]."""
    squares = torch.empty(len(jpegs), CHANNELS[colour], side, side, dtype=torch.uint8)
    scratch = np.empty(max(j.height * j.width for j in jpegs) * squares.shape[1], np.uint8)
    for into, jpeg in zip(squares, jpegs, strict=True):
        shape = (jpeg.height, jpeg.width, len(into))
        image = decode(jpeg, colour, scratch[: np.prod(shape)].reshape(shape))
        seen = torch.from_numpy(image).permute(2, 0, 1)
        into.copy_(transforms.crop_one(seen, jpeg.box, side, mirrored=jpeg.mirrored))
    return squares
