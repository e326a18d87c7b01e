"""Batches from a store: threads read and decode samples, and the device does all work that can be batched.

The batches do not depend, to the bit, on the number of threads or on where in an epoch reading starts.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor

from datasets.index.list_files import count
from datasets.index.splits import hold_out
from datasets.loader import transforms
from datasets.loader.decode import Draw, Host, Images, Share, Task, samples
from datasets.loader.in_memory import Batch, order
from datasets.loader.prefetch import prefetch
from datasets.loader.spectrograms import MEL_BINS, log_spectrogram, mel_filter_bank
from datasets.registry import DatasetError
from datasets.store import cache
from datasets.store.remote import RemoteError
from datasets.store.settings import Audio, Frames, Settings
from datasets.store.store import Entry, Store

# torch reads this when it first allocates a large tensor on a CPU. A batch of 100 MB has 28,000 pages of 4 kB, and the
# kernel takes longer to provide them than we take to fill them; with huge pages there are 500 times fewer.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

SHARE = 8  # samples that a thread makes at a time; constant, because it can change low-order bits


def features(wave: Tensor, how: Audio) -> Tensor:
    """Compute the features of audio that a model sees: int16 [B, samples] -> float32 [B, 1, bins, frames]."""
    wave = wave.float() / 32768
    if how.feature == "mel_filter_bank":
        return mel_filter_bank(wave, sample_rate_hz=how.sample_rate_hz, n_fft=how.n_fft, hop=how.hop)
    return log_spectrogram(wave, n_fft=how.n_fft, hop=how.hop)


def shape(how: Audio | Frames, *, flow: bool = False) -> tuple[int, ...]:
    """Return the shape of one sample: [1, bins, frames], [C, H, W] or [T, C, H, W].

    >>> shape(Audio(sample_rate_hz=22050, seconds=3, n_fft=512, hop=353)), shape(Frames(count=3))
    ((1, 257, 188), (3, 3, 224, 224))
    """
    if isinstance(how, Frames):
        image = (2 if flow else 3, how.crop, how.crop)
        return image if how.count == 1 else (how.count, *image)
    if how.feature == "mel_filter_bank":
        return 1, MEL_BINS, max(1, samples(how) // how.hop)
    return 1, how.n_fft // 2 + 1, 1 + samples(how) // how.hop


def make_batch(shares: Sequence[Share], settings: Settings, shapes: Mapping[str, tuple[int, ...]]) -> Batch:
    """Make a batch from shares, on their device."""
    y = torch.cat([share.y for share in shares]) if shares else torch.zeros(0, dtype=torch.int64)
    x = {modality: torch.empty(len(y), *shape, device=y.device) for modality, shape in shapes.items()}
    groups = [shares] if y.is_cuda else [[share] for share in shares]  # a CPU's cache holds one share
    for modality, whole in x.items():
        _write_all(groups, modality, settings[modality], whole)
    return x, y


def _write_all(groups: Sequence[Sequence[Share]], modality: str, how: Audio | Frames, whole: Tensor) -> None:
    """Write what a model sees of a modality, one group of shares at a time."""
    first = 0
    for group in groups:
        samples = sum(len(share.y) for share in group)
        _write([share.x[modality] for share in group], how, whole[first : first + samples])
        first += samples


def _write(parts: Sequence[Any], how: Audio | Frames, out: Tensor) -> None:
    """Write what a model sees of audio (tensors) or frames (`Images`) to `out`."""
    if isinstance(how, Audio):
        out[:] = features(torch.cat([*parts]), how)
    else:
        _write_frames(parts, how, out)


def _write_frames(parts: Sequence[Images], how: Frames, out: Tensor) -> None:
    """Write frames to `out`, [B, C, H, W] or [B, T, C, H, W]."""
    out = out.view(-1, *out.shape[-3:])
    first = 0
    for part in parts:
        squares, mirrored = part.pixels, part.mirrored
        if part.boxes is not None:
            squares = transforms.crop_batch(squares, part.boxes, how.crop, mirrored)
        squares = squares.view(-1, *out.shape[1:])
        frames = None if mirrored is None else mirrored.view(len(squares), -1)[:, 0]
        transforms.normalise(squares, frames, out=out[first : first + len(squares)])
        first += len(squares)


@dataclass(frozen=True)
class Splits:
    """Clips of a store in each split, after validation clips are held out."""

    train: tuple[Entry, ...]
    validation: tuple[Entry, ...]
    test: tuple[Entry, ...]


class StoreData:
    """Data of a store as batches; `open_store` makes it.

    Args:
        host: reader and decoder of samples.
        splits: splits of the store's clips.
        device: device of the batches.
        workers: number of threads that read and decode.
        rank, world: this process's rank among the processes that train together, and their number; each makes its part
            of every batch.
    """

    def __init__(
        self, host: Host, splits: Splits, device: torch.device, workers: int, *, rank: int = 0, world: int = 1
    ) -> None:
        self.host, self.splits, self.device, self.workers = host, splits, device, workers
        self.rank, self.world = rank, world

    def part(self, rank: int, world: int) -> StoreData:
        """Return the data of one of `world` processes, which reads only its part of each batch.

        Batches are cut as by `torch.tensor_split`.
        """
        return StoreData(self.host, self.splits, self.device, self.workers, rank=rank, world=world)

    def on_cpu(self) -> StoreData:
        """Return the same data as batches in main memory, made without touching a GPU."""
        host = replace(self.host, crops=True, pinned=False)
        return StoreData(host, self.splits, torch.device("cpu"), self.workers, rank=self.rank, world=self.world)

    def all_for_training(self) -> StoreData:
        """Return data with the validation clips added to the training split and an empty validation split."""
        splits = Splits((*self.splits.train, *self.splits.validation), (), self.splits.test)
        return StoreData(self.host, splits, self.device, self.workers, rank=self.rank, world=self.world)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one sample, by modality."""
        return {m: shape(how, flow=m in self.host.flow) for m, how in self.host.settings.items()}

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by id."""
        return self.host.store.classes

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the training and validation data: the store, the settings and the held-out clips."""
        digest = hashlib.blake2b(self.host.store.fingerprint.encode(), digest_size=8)
        digest.update(repr(list(self.host.settings.items())).encode())
        for part in (self.splits.train, self.splits.validation):
            digest.update(json.dumps([entry.id for entry in part]).encode())
        return digest.hexdigest()

    @property
    def sizes(self) -> dict[str, int]:
        """Number of samples in the training and validation splits."""
        return {"train": len(self.splits.train), "validation": len(self.splits.validation)}

    def train(self, *, batch_size: int, seed: int, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield shuffled, augmented batches of `batch_size`; an incomplete last batch is skipped.

        Args:
            batch_size: number of samples per batch.
            seed, epoch: numbers that determine the order and all augmentation.
            start: number of batches to skip; the following ones do not change.

        Raises:
            StoreError: if the store is corrupt.
        """
        clips = self.splits.train
        whole = len(clips) - len(clips) % batch_size or len(clips)
        shuffled = [clips[i] for i in order(len(clips), seed, epoch)[:whole].tolist()]
        return self._batches(shuffled[start * batch_size :], batch_size, Draw(seed, epoch))

    def validation(self, *, batch_size: int) -> Iterator[Batch]:
        """Yield each validation clip once, in the list's order: evenly spaced whole frames, the middle of the audio."""
        return self._batches(self.splits.validation, batch_size, None)

    def test(self, *, batch_size: int, reason: str) -> Iterator[Batch]:
        """Yield each test clip once, as in `validation`, and log the read in the store; see `cache.record`.

        Raises:
            ValueError: if the reason is empty.
            DatasetError: if there are no test clips, or the read cannot be logged.
        """
        if not reason.strip():
            raise ValueError("`reason` must say why the test split is read")
        if not self.splits.test:
            raise DatasetError(f"{self.host.store.folder} has no clips of a test split, but they are needed")
        line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "reason": reason}
        try:
            cache.record(self.host.store, line)
        except (OSError, RemoteError) as error:
            where = self.host.store.origin or self.host.store.folder
            raise DatasetError(
                f"{where}/{cache.READINGS}.jsonl cannot be written ({getattr(error, 'strerror', error)}), but every "
                "read of the test split must be logged there: make it writable"
            ) from error
        return self._batches(self.splits.test, batch_size, None)

    def _cut(self, entries: Sequence[Entry], batch_size: int) -> Iterator[Sequence[Entry]]:
        """Yield this process's part of each batch."""
        for first in range(0, len(entries), batch_size):
            batch = entries[first : first + batch_size]
            each, more = divmod(len(batch), self.world)
            begin = self.rank * each + min(self.rank, more)
            yield batch[begin : begin + each + (self.rank < more)]

    def tasks(self, entries: Sequence[Entry], batch_size: int, draw: Draw | None) -> Iterator[Task]:
        """Yield the threads' tasks, batch after batch; no task spans two batches."""
        for batch in self._cut(entries, batch_size):
            for begin in range(0, len(batch), SHARE):
                yield Task(batch[begin : begin + SHARE], draw)

    def _batches(self, entries: Sequence[Entry], batch_size: int, draw: Draw | None) -> Iterator[Batch]:
        """Yield batches; meanwhile the threads make the next batch, plus two shares per thread."""
        tasks, shapes = self.tasks(entries, batch_size, draw), self.shapes
        ahead = -(-batch_size // SHARE) + 2 * self.workers
        made = prefetch(self.host.share, tasks, threads=self.workers, ahead=ahead)
        with closing(made):
            for batch in self._cut(entries, batch_size):
                shares = [next(made).to(self.device, non_blocking=True) for _ in range(0, len(batch), SHARE)]
                yield make_batch(shares, self.host.settings, shapes)


def open_store(
    store: str,
    settings: Settings,
    *,
    held_out_fraction: float | None,
    split_seed: int = 0,
    device: torch.device | None = None,
    workers: int | None = None,
) -> StoreData:
    """Open the data of a store that `prepare` created.

    Args:
        store: folder (`~` is the user's home) or URI of the store.
        settings: modality -> how it is stored and shown, in the order that models follow.
        held_out_fraction: share of the training split to hold out for validation if the store has no validation split;
            None if it must have one.
        split_seed: seed that selects the held-out clips.
        device: device of the batches; by default a GPU if there is one.
        workers: number of threads that read and decode; by default torch's number of threads.

    Raises:
        StoreError: if the store is not prepared, is corrupt, or has other settings.
        DatasetError: if there are no training or validation clips.
    """
    opened = cache.local_store(store)
    opened.check_settings(settings)
    splits = _splits(opened, held_out_fraction, split_seed)
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    flow = _flow_modalities(opened, settings, splits.train[0])
    host = Host(opened, settings, flow, crops=device.type == "cpu", pinned=device.type == "cuda")
    return StoreData(host, splits, device, workers or torch.get_num_threads())


def _flow_modalities(store: Store, settings: Settings, entry: Entry) -> frozenset[str]:
    """Return the modalities with grey JPEGs: only flow is stored in grey."""
    import simplejpeg

    images = {m: store.blobs(entry, m, [0])[0] for m, how in settings.items() if isinstance(how, Frames)}
    return frozenset(m for m, blob in images.items() if simplejpeg.decode_jpeg_header(blob)[2] == "Gray")


def _splits(store: Store, fraction: float | None, seed: int) -> Splits:
    parts: dict[str, list[Entry]] = {"train": [], "validation": [], "test": []}
    for entry in store.entries():
        parts[entry.split].append(entry)
    train, validation = parts["train"], parts["validation"]
    if not validation and fraction is not None:
        held = hold_out(train, fraction, seed)
        train, validation = _divide(train, held)
    mistakes = "\n".join(_split_mistakes(store, train, validation, fraction))
    if mistakes:
        raise DatasetError(mistakes)
    return Splits(tuple(train), tuple(validation), tuple(parts["test"]))


def _divide(entries: Sequence[Entry], held: Collection[str]) -> tuple[list[Entry], list[Entry]]:
    """Return the entries that are not held out, and those that are."""
    return [e for e in entries if e.id not in held], [e for e in entries if e.id in held]


def _split_mistakes(
    store: Store, train: Sequence[Entry], validation: Sequence[Entry], fraction: float | None
) -> Iterator[str]:
    if not train:
        yield f"{store.folder} has no training clips: check the publisher's list and prepare the data again"
    if not validation:
        how = (
            "none of its clips is in the publisher's validation split"
            if fraction is None
            else f"a share of {fraction:g} of its {count(len(train), 'training clip')} is less than one clip"
        )
        yield f"{store.folder} has no validation clips: {how}"
