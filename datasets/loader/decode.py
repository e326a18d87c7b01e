"""The host's part of loading: some samples of a batch, read from the store and decoded by one thread.

What is random about a sample depends on the seed, the epoch and the sample's id alone.
"""

from __future__ import annotations

import hashlib
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
class Pictures:
    """Frames of some samples; of flow, u and v are a picture each.

    Args:
        pixels: uint8 [N, H, W, C] before the crop, where a smaller picture lies in the upper left corner; or
            [N, C, size, size] after it.
        boxes: int64 [N, 4], what is to be cropped; None after it.
        mirrored: which are to be mirrored, or are, bool [N]; None in evaluation.
    """

    pixels: Tensor
    boxes: Tensor | None
    mirrored: Tensor | None


@dataclass(frozen=True)
class Share:
    """Some samples of a batch, for the device: modality -> int16 [B, samples] or `Pictures`, and class ids [B]."""

    x: dict[str, Tensor | Pictures]
    y: Tensor


@dataclass(frozen=True)
class Jpeg:
    """A picture that is to be decoded, and what is to be seen of it."""

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
        x: dict[str, Tensor | Pictures] = {}
        for modality, how in self.settings.items():
            drawn = [n[modality] for n in numbers] if task.draw else [None] * len(numbers)
            if isinstance(how, Audio):
                x[modality] = self._sounds(task.entries, modality, how, drawn)
            else:
                x[modality] = self._pictures(task.entries, modality, how, drawn)
        return Share(x, self._kept(torch.tensor([entry.label for entry in task.entries])))

    def _kept(self, tensor: Tensor) -> Tensor:
        return tensor.pin_memory() if self.pinned else tensor

    def _numbers(self, sample: str, draw: Draw | None) -> dict[str, Numbers]:
        """Modality -> [1] for a sound, [T, FRAME_NUMBERS] for frames."""
        if draw is None:
            return {}
        rows = {m: 1 if isinstance(how, Audio) else how.count * FRAME_NUMBERS for m, how in self.settings.items()}
        drawn, first, found = draw.numbers(sample, sum(rows.values())), 0, {}
        for modality, count in rows.items():
            part = drawn[first : first + count]
            found[modality] = part if count == 1 else part.reshape(-1, FRAME_NUMBERS)
            first += count
        return found

    def _sounds(self, entries: Sequence[Entry], modality: str, how: Audio, drawn: Sequence[Numbers | None]) -> Tensor:
        length = samples(how)
        waves = torch.empty(len(entries), length, dtype=torch.int16, pin_memory=self.pinned)
        for into, entry, numbers in zip(waves.numpy(), entries, drawn, strict=True):
            wave = np.frombuffer(self.store.blobs(entry, modality)[0], "<i2")
            number = None if numbers is None else float(numbers[0])
            into[:] = transforms.part_of_wave(wave, length, tile=how.tile, number=number)
        return waves

    def _pictures(
        self, entries: Sequence[Entry], modality: str, how: Frames, drawn: Sequence[Numbers | None]
    ) -> Pictures:
        jpegs = [
            jpeg
            for entry, numbers in zip(entries, drawn, strict=True)
            for jpeg in self._jpegs(entry, modality, how, numbers)
        ]
        colour = "GRAY" if modality in self.flow else "RGB"
        mirrored = None if drawn[0] is None else self._kept(torch.tensor([jpeg.mirrored for jpeg in jpegs]))
        if self.crops:
            return Pictures(decode_crops(jpegs, colour, how.crop), None, mirrored)
        boxes = torch.from_numpy(np.array([(j.box.top, j.box.left, j.box.height, j.box.width) for j in jpegs]))
        return Pictures(decode_whole(jpegs, colour, pinned=self.pinned), self._kept(boxes), mirrored)

    def _jpegs(self, entry: Entry, modality: str, how: Frames, numbers: Numbers | None) -> list[Jpeg]:
        """Those of a sample that are seen: T, of flow 2 T."""
        each = 2 if modality in self.flow else 1
        there = self.store.count(entry, modality) // each
        seen = transforms.places(there, how.count, None if numbers is None else numbers[:, 0])
        blobs = self.store.blobs(entry, modality, [each * place + part for place in seen for part in range(each)])
        found = []
        for number, blob in enumerate(blobs):
            height, width = size(blob, entry.id)
            box, mirrored = Box(0, 0, height, width), False
            if numbers is not None:
                mine = numbers[number // each].tolist()
                box, mirrored = transforms.random_box(height, width, mine[1:-1]), mine[-1] < 0.5
            found.append(Jpeg(entry.id, blob, height, width, box, mirrored))
        return found


def samples(how: Audio) -> int:
    """Length of the sound that a model sees."""
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
    """A picture [H, W, C], in `buffer` where there is one, which must be as large and in one piece."""
    import simplejpeg

    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(jpeg.blob, colour, buffer=buffer)
    except ValueError as error:
        raise StoreError(
            f"a frame of {jpeg.sample} cannot be decoded ({error}): prepare the data into another folder"
        ) from error
    return pixels


def decode_whole(jpegs: Sequence[Jpeg], colour: str, *, pinned: bool) -> Tensor:
    """Whole pictures, straight into one tensor: uint8 [N, largest H, largest W, C]."""
    height, width = max(j.height for j in jpegs), max(j.width for j in jpegs)
    shape = (len(jpegs), height, width, 1 if colour == "GRAY" else 3)
    canvas = torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
    for into, jpeg in zip(canvas.numpy(), jpegs, strict=True):
        if (jpeg.height, jpeg.width) == (height, width):
            decode(jpeg, colour, into)
        else:
            into[: jpeg.height, : jpeg.width] = decode(jpeg, colour, None)
    return canvas


def decode_crops(jpegs: Sequence[Jpeg], colour: str, side: int) -> Tensor:
    """What is seen of each picture: uint8 [N, C, side, side]."""
    squares = torch.empty(len(jpegs), 1 if colour == "GRAY" else 3, side, side, dtype=torch.uint8)
    scratch = np.empty(max(j.height * j.width for j in jpegs) * squares.shape[1], np.uint8)
    for into, jpeg in zip(squares, jpegs, strict=True):
        shape = (jpeg.height, jpeg.width, len(into))
        picture = decode(jpeg, colour, scratch[: np.prod(shape)].reshape(shape))
        seen = torch.from_numpy(picture).permute(2, 0, 1)
        into.copy_(transforms.crop_one(seen, jpeg.box, side, mirrored=jpeg.mirrored))
    return squares
