"""Shards: Arrow files of decoded clips, each written completely or not at all.

Next to `shard-00003.arrow`, `shard-00003.json` holds its size, its sha256, which clips were unusable and why, and the
state of their files. This module imports neither torch nor the registry, because the worker processes need neither.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

from datasets.index.clips import Clip
from datasets.index.json_text import parse_json
from datasets.index.regular_file import read_regular
from datasets.store.decoder import OUT_OF_MEMORY, UNREADABLE, decode_clip
from datasets.store.file_state import state_of
from datasets.store.settings import DEFAULT_LIMITS, Audio, Frames, Limits
from datasets.store.source_file import Unusable

BATCH_BYTES = 32 * 2**20  # blobs per record batch; a process holds this in memory twice
TEMPORARY = ".part"
TRIED = "tried"  # key of the states of the quarantined clips' files
WARNED = "warned"  # key of the warnings, if there are any
BESIDES = {TRIED, WARNED}  # keys that are not of a `Shard`
TRY_AGAIN = (UNREADABLE, OUT_OF_MEMORY)  # starts of reasons that do not lie in the file


@dataclass(frozen=True)
class Shard:
    """Description of a shard.

    Args:
        file: name of its file in the store's folder.
        key: key of the store's plan (its list of clips and its settings).
        bytes, sha256: size and checksum of the file.
        rows: number of clips in it.
        quarantined: pairs (id, reason) of the clips that are not in it.
    """

    file: str
    key: str
    bytes: int
    sha256: str
    rows: int
    quarantined: tuple[tuple[str, str], ...] = ()

    @property
    def is_to_try_again(self) -> bool:
        """True if a file could not be read or memory was short: a disk was not mounted, for example."""
        return any(reason.startswith(TRY_AGAIN) for _, reason in self.quarantined)

    def __post_init__(self) -> None:
        if Path(self.file).name != self.file:
            raise ValueError(f"the file {self.file!r} of a shard is not in the store's folder")


@dataclass(frozen=True)
class Task:
    """Task to make a shard.

    Args:
        folder: folder of the store.
        number: number of the shard.
        key: key of the store's plan, which is written into the shard.
        clips: clips of the shard, in the order of the list.
        labels: class ids of the clips.
        settings: modality -> how it is stored.
        limits: limits on what decoding a clip may take.
    """

    folder: Path
    number: int
    key: str
    clips: tuple[Clip, ...]
    labels: tuple[int, ...]
    settings: Mapping[str, Frames | Audio]
    limits: Limits = DEFAULT_LIMITS


@dataclass(frozen=True)
class ShardResult:
    """Result of a task: a shard, or a sentence that says why there is none.

    Args:
        number: number of the shard.
        clips: number of clips in the task.
        shard: the shard, or None.
        skipped: whether the shard already existed.
        error: reason why there is no shard, or None.
        warned: pairs (id, warning) of the stored clips.
    """

    number: int
    clips: int
    shard: Shard | None
    skipped: bool = False
    error: str = ""
    warned: tuple[tuple[str, str], ...] = ()


def make_shard(task: Task) -> ShardResult:
    """Make a shard, unless it exists, is intact, and none of its quarantined clips is worth another try.

    Errors of the disk are part of the result.
    """
    done = task.folder / f"shard-{task.number:05d}.json"
    try:
        known = _read(done)
        shard = _shard(known, done)
        skipped = shard is not None and shard.key == task.key and not _is_to_try_again(task, shard, known)
        if not skipped:
            shard, warned = _write(task, done.with_suffix(".arrow"))
            known = {**asdict(shard), TRIED: _states(task, shard), **({WARNED: warned} if warned else {})}
            write(done, json.dumps(known, indent=1, ensure_ascii=False).encode())
    except OSError as error:
        reason = f"{_reason(error)} ({error.filename})" if error.filename else _reason(error)
        return ShardResult(task.number, len(task.clips), None, error=f"{done.stem}: {reason}")
    told = tuple((id, text) for id, text in known.get(WARNED, ()))
    return ShardResult(task.number, len(task.clips), shard, skipped, warned=told)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _is_to_try_again(task: Task, shard: Shard, known: Mapping[str, Any]) -> bool:
    """Return whether a quarantined clip may be usable now, because its files or the limits have changed."""
    tried = known.get(TRIED, {})
    changed = (state is not None and state != tried.get(id, state) for id, state in _states(task, shard).items())
    return shard.is_to_try_again or any(changed)


def _states(task: Task, shard: Shard) -> dict[str, str | None]:
    """Return the state of the files of each quarantined clip, by id."""
    clips = {clip.id: clip for clip in task.clips}
    return {id: state_of(clips[id], task.limits, reason) for id, reason in shard.quarantined}


def read_shard(done: Path) -> Shard | None:
    """Return the shard that a JSON file describes, or None if one of the two files is missing or corrupt."""
    return _shard(_read(done), done)


def _read(done: Path) -> dict[str, Any]:
    """Return the content of a shard's JSON file; an empty one if it is missing or corrupt."""
    try:
        content = parse_json(read_regular(done))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _shard(known: Mapping[str, Any], done: Path) -> Shard | None:
    """Return the shard of a JSON file with this content, or None if it or the shard's own file is corrupt."""
    try:
        values = {key: value for key, value in known.items() if key not in BESIDES}
        shard = Shard(**{**values, "quarantined": tuple((i, reason) for i, reason in values["quarantined"])})
        arrow = done.with_name(shard.file)
        whole = arrow.stat().st_size == shard.bytes and digest(arrow) == shard.sha256
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return shard if whole else None


def checksum(blob: bytes | memoryview, id: str, place: int, count: int) -> int:
    """Return the crc32 of a blob, its clip's id, its position and the count: this also detects corrupt offsets."""
    from zlib_ng import zlib_ng

    return zlib_ng.crc32(blob, zlib_ng.crc32(f"{place}/{count}/{id}".encode()))


def digest(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(path: Path, content: bytes) -> None:
    """Write a file completely, synced to disk, or leave it as it was."""
    replace(path, lambda file: file.write(content))


def replace(path: Path, fill: Callable[[IO[bytes]], object]) -> None:
    """Let `fill` write a temporary file next to `path`, then rename it to `path`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY}")
    try:
        with temporary.open("wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sync(folder: Path) -> None:
    """Sync a folder's names to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write(task: Task, path: Path) -> tuple[Shard, list[tuple[str, str]]]:
    """Write a shard's file; return its description, and the warnings on its clips."""
    quarantined: list[tuple[str, str]] = []
    warned: list[tuple[str, str]] = []
    rows = 0

    def fill(file: IO[bytes]) -> None:
        nonlocal rows
        import pyarrow as pa

        schema = _schema(task)
        with pa.ipc.new_file(file, schema, options=pa.ipc.IpcWriteOptions(use_threads=False)) as out:
            for batch in _batches(task, quarantined, warned):
                rows += len(batch)
                columns = [pa.array([row[field.name] for row in batch], field.type) for field in schema]
                out.write_batch(pa.record_batch(columns, schema=schema))

    replace(path, fill)
    return Shard(path.name, task.key, path.stat().st_size, digest(path), rows, tuple(quarantined)), warned


def _schema(task: Task) -> Any:
    import pyarrow as pa

    columns = [("id", pa.string()), ("label", pa.int32()), ("split", pa.string()), ("group", pa.string())]
    for modality in task.settings:
        columns += [(modality, pa.list_(pa.large_binary())), (f"{modality}.crc32", pa.list_(pa.uint32()))]
    return pa.schema(columns, metadata={"key": task.key, "shard": str(task.number)})


def _batches(
    task: Task, quarantined: list[tuple[str, str]], warned: list[tuple[str, str]]
) -> Iterator[list[dict[str, Any]]]:
    """Yield batches of rows (column -> value); add unusable clips to `quarantined`, and warnings to `warned`."""
    batch: list[dict[str, Any]] = []
    held = 0
    for clip, label in zip(task.clips, task.labels, strict=True):
        try:
            decoded = decode_clip(clip, task.settings, task.limits)
        except Unusable as reason:
            quarantined.append((clip.id, str(reason)))
            continue
        warned += [(clip.id, text) for text in decoded.warnings]
        batch.append(_row(clip, label, decoded.blobs))
        held += sum(map(len, chain.from_iterable(decoded.blobs.values())))
        if held >= BATCH_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _row(clip: Clip, label: int, blobs: Mapping[str, list[bytes]]) -> dict[str, Any]:
    row: dict[str, Any] = {"id": clip.id, "label": label, "split": clip.split, "group": clip.group}
    for modality, parts in blobs.items():
        row[modality] = parts
        row[f"{modality}.crc32"] = [checksum(part, clip.id, i, len(parts)) for i, part in enumerate(parts)]
    return row
