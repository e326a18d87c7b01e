"""Store of a prepared data set: a manifest and Arrow files, which a machine's processes read through one page cache.

Files are never rewritten in place: truncating a mapped file would kill its readers.
"""

from __future__ import annotations

import hashlib
import json
import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

from datasets.index.json_text import parse_json
from datasets.index.list_files import count
from datasets.index.regular_file import fault_of, read_regular
from datasets.registry import DatasetError
from datasets.store import shards
from datasets.store.settings import Settings, stored_settings
from datasets.store.shards import Shard

VERSION = 1
MANIFEST = "manifest.json"
OPTIONS = {"per_clip": "stored_frames"}  # setting of `Frames` -> the data sets' option
REMEDY = "run `uv run python -m search prepare` again, which replaces it and keeps intact files"


class StoreError(DatasetError):
    """Store that is missing, corrupt, or not the requested one."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Clip of a store: its list entry (`label` is the class id), shard and row."""

    id: str
    label: int
    split: str
    group: str | None
    shard: int
    row: int


@dataclass(frozen=True)
class Manifest:
    """Content of a store.

    Args:
        name: name of the data set.
        key: key of the plan (list of clips and settings) from which the store was prepared.
        settings: modality -> how it is stored, as returned by `datasets.store.settings.stored_settings`.
        classes: full list of classes, by class id.
        shards: shards in order.
        clips: tuples (id, class id, split, group) of the stored clips, shard after shard.
        missing: number of clips in the publisher's list without files.
        notes: notes on the list, and on what was stored with a warning, for the user.
        version: version of this format.
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
        """Split of each clip, by id."""
        return {id: split for id, _, split, _ in self.clips}

    @cached_property
    def quarantine(self) -> tuple[tuple[str, str], ...]:
        """Pairs (id, reason) of the clips that are not in the store."""
        return tuple(pair for shard in self.shards for pair in shard.quarantined)

    def write(self, folder: Path) -> None:
        """Write `manifest.json` in a store's folder, completely or not at all."""
        content = b'"manifest": ' + json.dumps(asdict(self), ensure_ascii=False, sort_keys=True).encode() + b"}\n"
        shards.write(folder / MANIFEST, f'{{"fingerprint": "{_fingerprint(content)}",\n'.encode() + content)

    @classmethod
    def read(cls, folder: Path) -> tuple[Manifest, str]:
        """Return the manifest of a store's folder, and the fingerprint of the store's content, including the shards.

        Raises:
            StoreError: if the manifest is missing or corrupt, or has another format version.
        """
        try:
            return cls.parse(read_regular(folder / MANIFEST), str(folder / MANIFEST))
        except FileNotFoundError:
            raise no_store_error(str(folder)) from None
        except OSError as error:
            raise StoreError(f"{folder / MANIFEST} {fault_of(error)}: {REMEDY}") from error

    @classmethod
    def parse(cls, content: bytes, path: str) -> tuple[Manifest, str]:
        """Parse the content of a manifest; see `read`."""
        try:
            whole = parse_json(content)
            values = whole["manifest"]
            if values["version"] != VERSION:
                raise StoreError(
                    f"{path} has format version {values['version']}, but this program reads version {VERSION}: "
                    "prepare the data into another folder"
                )
            found = cls(**{**values, **_tuples(values)})
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(f"{path} is corrupt ({type(error).__name__}: {error}): {REMEDY}") from error
        if whole["fingerprint"] != _fingerprint(content.partition(b"\n")[2]):
            raise StoreError(f"{path} is corrupt (its fingerprint does not match its content): {REMEDY}")
        return found, whole["fingerprint"]


def no_store_error(where: str) -> StoreError:
    """Return the error for a location without a store."""
    return StoreError(
        f"{where} has no {MANIFEST}: not prepared, or the preparation did not finish; run:\n"
        "  uv run python -m search prepare FILE"
    )


def _fingerprint(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return JSON's lists as the tuples of a manifest."""
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
    """One modality of a mapped record batch: row r has blobs data[ends[i]:ends[i + 1]], lists[r] ≤ i < lists[r + 1]."""

    lists: memoryview
    ends: memoryview
    data: memoryview
    crc32: memoryview


class Store:
    """Reader of a store. Each process maps a file when it first reads from it.

    Args:
        folder: folder written by `prepare`.
        origin: URI from which the folder was copied, or None.

    Raises:
        StoreError: if the data are not prepared, the format version differs, or a shard is missing or truncated.
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
        """Return the entries of all clips, in the order of the publisher's list."""
        places = ((s, row) for s, shard in enumerate(self.manifest.shards) for row in range(shard.rows))
        return [Entry(*clip, *place) for clip, place in zip(self.manifest.clips, places, strict=True)]

    def count(self, entry: Entry, modality: str) -> int:
        """Return the number of blobs that a clip has for a modality."""
        column, row = self._column(entry, modality)
        return int(column.lists[row + 1] - column.lists[row])

    def blobs(self, entry: Entry, modality: str, places: Sequence[int] | None = None) -> list[memoryview]:
        """Return a clip's JPEGs, or its audio (one blob of int16), without copying: all of them, or those at `places`.

        Raises:
            StoreError: if a blob differs from what was written.
        """
        column, row = self._column(entry, modality)
        first, count = column.lists[row], column.lists[row + 1] - column.lists[row]
        if not count:  # every stored clip has a blob
            raise self._change(entry, modality)
        found = []
        for place in range(count) if places is None else places:
            if not 0 <= place < count:
                raise IndexError(f"{entry.id} has {count} blobs of {modality}, but none at {place}")
            blob = column.data[column.ends[first + place] : column.ends[first + place + 1]]
            if shards.checksum(blob, entry.id, place, count) != column.crc32[first + place]:
                raise self._change(entry, modality)
            found.append(blob)
        return found

    def verify(self, progress: Callable[[int], None] = lambda done: None) -> list[str]:
        """Read the whole store and return a sentence for each file that differs from what was written.

        Args:
            progress: function called with the number of shards read, after each of them.
        """
        wrong: list[str] = []
        for number in range(len(self.manifest.shards)):
            wrong += filter(None, [self._verify_shard(number)])
            progress(number + 1)
        return wrong

    def _verify_shard(self, number: int) -> str:
        shard = self.manifest.shards[number]
        line = self._wrong_size(shard)
        if not line and shards.digest(self.folder / shard.file) != shard.sha256:
            line = str(self._damage(number, "its sha256 differs from the manifest"))
        return line

    def check_settings(self, settings: Settings) -> None:
        """Check that the store has the requested settings.

        Raises:
            StoreError: if it does not; the message names each modality and setting that differs.
        """
        wrong = differences(self.manifest.settings, stored_settings(settings), self.folder)
        if wrong:
            raise StoreError("\n".join(wrong))

    @property
    def _remedy(self) -> str:
        copied = f"delete {self.folder}, this machine's copy of {self.origin}; it will be copied again"
        return copied if self.origin else REMEDY

    def _wrong_size(self, shard: Shard) -> str:
        path = self.folder / shard.file
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return f"{path} is missing: {self._remedy}"
        if size != shard.bytes:
            return f"{path} has {size:,} bytes instead of {shard.bytes:,}: {self._remedy}"
        return ""

    def _damage(self, number: int, what: str) -> StoreError:
        return StoreError(f"{self.folder / self.manifest.shards[number].file} is corrupt ({what}): {self._remedy}")

    def _change(self, entry: Entry, modality: str) -> StoreError:
        return self._damage(entry.shard, f"{modality} of {entry.id} differs from what was written")

    def _column(self, entry: Entry, modality: str) -> tuple[_Column, int]:
        """Return a modality of the record batch that holds a clip, and the clip's row in the batch."""
        if modality not in self.manifest.settings:
            raise StoreError(f"{self.folder} has {', '.join(self.manifest.settings)}, but no {modality}")
        _, starts = self._maps.get(entry.shard) or self._map_shard(entry.shard)
        number = bisect_right(starts, entry.row) - 1
        key = (entry.shard, number, modality)
        return self._columns.get(key) or self._cut(*key), entry.row - starts[number]

    def _map_shard(self, number: int) -> tuple[Any, list[int]]:
        """Map a shard; return its file and the first row of each record batch."""
        import pyarrow as pa

        shard = self.manifest.shards[number]
        with self._lock:
            if number in self._maps:
                return self._maps[number]
            try:
                with pa.memory_map(str(self.folder / shard.file)) as mapped:
                    whole = mapped.read_buffer()  # stays mapped after close: thousands of files cannot stay open
                file = pa.ipc.open_file(pa.BufferReader(whole))
                marks = file.schema.metadata or {}
                counts = [file.get_batch(i).num_rows for i in range(file.num_record_batches)]
            except (pa.ArrowException, OSError) as error:
                raise self._damage(number, str(error)) from error
            starts = list(accumulate(counts, initial=0))
            if (marks.get(b"key"), marks.get(b"shard")) != (self.manifest.key.encode(), str(number).encode()):
                raise self._damage(number, "it belongs to another store, or is another shard of this one")
            if starts.pop() != shard.rows:
                raise self._damage(number, f"its number of rows is not {shard.rows}")
            self._maps[number] = (file, starts)
            return self._maps[number]

    def _cut(self, number: int, batch: int, modality: str) -> _Column:
        import pyarrow as pa

        file, _ = self._maps[number]
        with self._lock:
            try:
                held = file.get_batch(batch)
                held.validate(full=True)  # checks that all offsets lie inside the data
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
    """Return a sentence for each requested modality that a store lacks or stores with other settings."""
    lines: list[str] = []
    for modality, how in wanted.items():
        if modality in there:
            lines += _setting_differences(there[modality], how, modality, folder)
        else:
            lines.append(f"{folder} has {', '.join(there)}, but no {modality}")
    return [f"{line}: prepare into another folder (`dataset.store`), or change it back" for line in sorted(lines)]


def _setting_differences(
    there: Mapping[str, object], wanted: Mapping[str, object], modality: str, folder: Path
) -> Iterator[str]:
    for name in wanted.keys() | there.keys():
        was, now, option = there.get(name), wanted.get(name), OPTIONS.get(name, name)
        if was != now:
            yield f"{folder} was prepared with `{option}` = {was} for {modality}, but the experiment asks for {now}"


def warning_notes(warned: Sequence[tuple[str, str]]) -> list[str]:
    """Return a note for each kind of warning, from pairs (id, warning): what, in how many clips, an example.

    >>> warning_notes([("a", "hidden files are skipped: 2 files"), ("b", "hidden files are skipped: 3 files")])
    ['hidden files are skipped in 2 clips, e.g. a: 2 files']
    """
    kinds: dict[str, dict[str, str]] = {}
    for id, text in warned:
        kind, _, details = text.partition(": ")
        kinds.setdefault(kind, {}).setdefault(id, details)
    return [
        f"{kind} in {count(len(clips), 'clip')}, e.g. {': '.join(next(iter(clips.items())))}"
        for kind, clips in kinds.items()
    ]


def reasons(quarantined: Sequence[tuple[str, str]]) -> list[str]:
    """Return a table of the reasons for quarantine: how often, the first words of the reason, an example."""
    kinds = Counter(reason.partition(":")[0] for _, reason in quarantined)
    example = {reason.partition(":")[0]: (id, reason) for id, reason in reversed(quarantined)}
    return [
        f"{times:>8,}  {kind:<18}  e.g. {example[kind][0]}: {example[kind][1]}" for kind, times in kinds.most_common()
    ]
