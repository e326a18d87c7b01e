"""A prepared data set: Arrow files that all processes of a machine read through one page cache, and a manifest.

Nothing in a store is ever rewritten in place: a file that is cut short while it is mapped kills its reader.
"""

from __future__ import annotations

import hashlib
import json
import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

from datasets.registry import DatasetError
from datasets.store import shards
from datasets.store.settings import Settings, stored_settings
from datasets.store.shards import Shard

VERSION = 1
MANIFEST = "manifest.json"
OPTIONS = {"per_clip": "stored_frames"}  # what data sets call a setting of `Frames`
REMEDY = "run `python -m search prepare` again, which makes it anew and keeps what is whole"


class StoreError(DatasetError):
    """A store that is not there, damaged, or not the one that was asked for."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A clip of a store: what the list says of it (`label` is its class id), and where it is."""

    id: str
    label: int
    split: str
    group: str | None
    shard: int
    row: int


@dataclass(frozen=True)
class Manifest:
    """What a store holds.

    Args:
        name: of the data set.
        key: of the list of clips and settings from which it was prepared.
        settings: modality -> how it is stored, as `datasets.store.settings.stored_settings` gives it.
        classes: the full list, by class id.
        shards: in order.
        clips: of each stored clip (id, class id, split, group), shard after shard.
        quarantined: of each clip that is not in the store (id, reason).
        missing: how many clips of the publisher's list had no files.
        notes: what a user should know of the list.
        version: of this format.
    """

    name: str
    key: str
    settings: dict[str, dict[str, object]]
    classes: tuple[str, ...]
    shards: tuple[Shard, ...]
    clips: tuple[tuple[str, int, str, str | None], ...]
    missing: int
    notes: tuple[str, ...]
    version: int = VERSION

    @cached_property
    def splits(self) -> dict[str, str]:
        """Id -> split."""
        return {id: split for id, _, split, _ in self.clips}

    @cached_property
    def quarantine(self) -> tuple[tuple[str, str], ...]:
        """Of each clip that is not in the store (id, reason)."""
        return tuple(pair for shard in self.shards for pair in shard.quarantined)

    def write(self, folder: Path) -> None:
        """Writes `manifest.json` of a store's folder: whole, or as it was before."""
        content = b'"manifest": ' + json.dumps(asdict(self), ensure_ascii=False, sort_keys=True).encode() + b"}\n"
        shards.write(folder / MANIFEST, f'{{"fingerprint": "{_fingerprint(content)}",\n'.encode() + content)

    @classmethod
    def read(cls, folder: Path) -> tuple[Manifest, str]:
        """That of a store's folder, and the fingerprint of all that the store holds, the shards' content included.

        Raises:
            StoreError: there is none, or it is damaged or of another version.
        """
        try:
            return cls.parse((folder / MANIFEST).read_bytes(), str(folder / MANIFEST))
        except FileNotFoundError:
            raise no_store_error(str(folder)) from None

    @classmethod
    def parse(cls, content: bytes, path: str) -> tuple[Manifest, str]:
        """As `read`, of what stands in the file."""
        try:
            whole = json.loads(content)
            values = whole["manifest"]
            if values["version"] != VERSION:
                raise StoreError(
                    f"{path} is of version {values['version']}, and this program reads version {VERSION}: "
                    "prepare the data into another folder"
                )
            found = cls(**{**values, **_tuples(values)})
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(f"{path} is damaged ({type(error).__name__}: {error}): {REMEDY}") from error
        if whole["fingerprint"] != _fingerprint(content.partition(b"\n")[2]):
            raise StoreError(f"{path} is damaged (its fingerprint is not that of its content): {REMEDY}")
        return found, whole["fingerprint"]


def no_store_error(where: str) -> StoreError:
    """That a place holds no store."""
    return StoreError(
        f"{where} holds no {MANIFEST}: not prepared, or not to the end; run `python -m search prepare` with the "
        "experiment's file"
    )


def _fingerprint(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON's lists as the manifest has them."""
    return {
        "classes": tuple(values["classes"]),
        "notes": tuple(values["notes"]),
        "clips": tuple((i, label, split, group) for i, label, split, group in values["clips"]),
        "shards": tuple(
            Shard(**{**shard, "quarantined": tuple((i, reason) for i, reason in shard["quarantined"])})
            for shard in values["shards"]
        ),
    }


@dataclass(frozen=True)
class _Column:
    """One modality of a record batch, as it lies in the map: blobs of row r are ends[lists[r]] … ends[lists[r + 1]]."""

    lists: memoryview
    ends: memoryview
    data: memoryview
    crc32: memoryview


class Store:
    """Reads a store; its files are mapped by each process when it first reads of them.

    Args:
        folder: where `prepare` wrote.
        origin: the URI that it was copied from, or None.

    Raises:
        StoreError: not prepared, of another version, or a shard is missing or cut short.
    """

    def __init__(self, folder: Path, origin: str | None = None) -> None:
        self.folder, self.origin = folder, origin
        self.manifest, self.fingerprint = Manifest.read(folder)
        self.classes = self.manifest.classes
        self._clear()
        wrong = "\n".join(filter(None, map(self._wrong_size, self.manifest.shards)))
        if wrong:
            raise StoreError(wrong)

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("folder", "origin", "manifest", "classes", "fingerprint")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._clear()

    def _clear(self) -> None:
        self._lock = threading.Lock()
        self._maps: dict[int, tuple[Any, list[int]]] = {}
        self._columns: dict[tuple[int, int, str], _Column] = {}

    def entries(self) -> list[Entry]:
        """Of all clips, in the order of the publisher's list."""
        places = ((s, row) for s, shard in enumerate(self.manifest.shards) for row in range(shard.rows))
        return [Entry(*clip, *place) for clip, place in zip(self.manifest.clips, places, strict=True)]

    def count(self, entry: Entry, modality: str) -> int:
        """How many blobs of a modality a clip has."""
        column, row = self._column(entry, modality)
        return int(column.lists[row + 1] - column.lists[row])

    def blobs(self, entry: Entry, modality: str, places: Sequence[int] | None = None) -> list[memoryview]:
        """A clip's JPEGs, or its audio (one blob of int16), without a copy: all of them, or those at `places`.

        Raises:
            StoreError: a blob is not what was written.
        """
        column, row = self._column(entry, modality)
        first, count = column.lists[row], column.lists[row + 1] - column.lists[row]
        if not count:  # nothing is stored that has no blob
            raise self._change(entry, modality)
        found = []
        for place in range(count) if places is None else places:
            if not 0 <= place < count:
                raise IndexError(f"{entry.id} has {count} blobs of {modality}, and none at {place}")
            blob = column.data[column.ends[first + place] : column.ends[first + place + 1]]
            if shards.checksum(blob, entry.id, place, count) != column.crc32[first + place]:
                raise self._change(entry, modality)
            found.append(blob)
        return found

    def verify(self) -> list[str]:
        """Reads all of the store: a sentence for each file that is not what was written."""
        return list(filter(None, map(self._verify_shard, range(len(self.manifest.shards)))))

    def _verify_shard(self, number: int) -> str:
        shard = self.manifest.shards[number]
        line = self._wrong_size(shard)
        if not line and shards.digest(self.folder / shard.file) != shard.sha256:
            line = str(self._damage(number, "its sha256 is not the manifest's"))
        return line

    def check_settings(self, settings: Settings) -> None:
        """Whether the store holds what is asked for.

        Raises:
            StoreError: names each modality and setting that differs.
        """
        wrong = differences(self.manifest.settings, stored_settings(settings), self.folder)
        if wrong:
            raise StoreError("\n".join(wrong))

    @property
    def _remedy(self) -> str:
        copied = f"delete {self.folder}, this machine's copy of {self.origin}, and it is copied again"
        return copied if self.origin else REMEDY

    def _wrong_size(self, shard: Shard) -> str:
        path = self.folder / shard.file
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return f"{path} is missing: {self._remedy}"
        if size != shard.bytes:
            return f"{path} has {size:,} bytes, and {shard.bytes:,} were written: {self._remedy}"
        return ""

    def _damage(self, number: int, what: str) -> StoreError:
        return StoreError(f"{self.folder / self.manifest.shards[number].file} is damaged ({what}): {self._remedy}")

    def _change(self, entry: Entry, modality: str) -> StoreError:
        return self._damage(entry.shard, f"{modality} of {entry.id} is not what was written")

    def _column(self, entry: Entry, modality: str) -> tuple[_Column, int]:
        """A modality of the record batch that holds a clip, and the clip's row in it."""
        if modality not in self.manifest.settings:
            raise StoreError(f"{self.folder} holds {', '.join(self.manifest.settings)}, but no {modality}")
        _, starts = self._maps.get(entry.shard) or self._map_shard(entry.shard)
        number = bisect_right(starts, entry.row) - 1
        key = (entry.shard, number, modality)
        return self._columns.get(key) or self._cut(*key), entry.row - starts[number]

    def _map_shard(self, number: int) -> tuple[Any, list[int]]:
        """A shard's file and the first row of each of its record batches."""
        import pyarrow as pa

        shard = self.manifest.shards[number]
        with self._lock:
            if number in self._maps:
                return self._maps[number]
            try:
                with pa.memory_map(str(self.folder / shard.file)) as mapped:
                    whole = mapped.read_buffer()  # stays mapped when the file is closed: thousands may not stay open
                file = pa.ipc.open_file(pa.BufferReader(whole))
                marks = file.schema.metadata or {}
                counts = [file.get_batch(i).num_rows for i in range(file.num_record_batches)]
            except (pa.ArrowException, OSError) as error:
                raise self._damage(number, str(error)) from error
            starts = list(accumulate(counts, initial=0))
            if (marks.get(b"key"), marks.get(b"shard")) != (self.manifest.key.encode(), str(number).encode()):
                raise self._damage(number, "it is of another store, or another shard of this one")
            if starts.pop() != shard.rows:
                raise self._damage(number, f"it has not {shard.rows} rows")
            self._maps[number] = (file, starts)
            return self._maps[number]

    def _cut(self, number: int, batch: int, modality: str) -> _Column:
        import pyarrow as pa

        file, _ = self._maps[number]
        with self._lock:
            try:
                held = file.get_batch(batch)
                held.validate(full=True)  # all offsets lie inside the data
                values, sums = held.column(modality), held.column(f"{modality}.crc32")
                _, lists = values.buffers()[:2]
                _, ends, data = values.values.buffers()
                column = _Column(
                    memoryview(lists).cast("B").cast("i"),
                    memoryview(ends).cast("B").cast("q"),
                    memoryview(data).cast("B"),
                    memoryview(sums.values.buffers()[1]).cast("B").cast("I"),
                )
            except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
                raise self._damage(number, str(error)) from error
            self._columns[number, batch, modality] = column
            return column


def differences(there: Mapping[str, Mapping[str, object]], wanted: Mapping[str, Any], folder: Path) -> list[str]:
    """A sentence for each modality that is wanted and is not in a store, or is stored in another way."""
    lines: list[str] = []
    for modality, how in wanted.items():
        if modality in there:
            lines += _setting_differences(there[modality], how, modality, folder)
        else:
            lines.append(f"{folder} holds {', '.join(there)}, but no {modality}")
    return [f"{line}: prepare into another folder (`dataset.store`), or set it back" for line in sorted(lines)]


def _setting_differences(
    there: Mapping[str, object], wanted: Mapping[str, object], modality: str, folder: Path
) -> Iterator[str]:
    for name in wanted.keys() | there.keys():
        was, now, option = there.get(name), wanted.get(name), OPTIONS.get(name, name)
        if was != now:
            yield f"{folder} was prepared with `{option}` {was} of {modality}, but the experiment asks for {now}"


def reasons(quarantined: Sequence[tuple[str, str]]) -> list[str]:
    """A table of why clips are quarantined: how often, the reason's first words, and an example."""
    kinds = Counter(reason.partition(":")[0] for _, reason in quarantined)
    example = {reason.partition(":")[0]: (id, reason) for id, reason in reversed(quarantined)}
    return [
        f"{count:>8,}  {kind:<18}  such as {example[kind][0]}: {example[kind][1]}"
        for kind, count in kinds.most_common()
    ]
