"""From a data set's list to its store, in parallel; stopped at any point, it goes on and ends with the same bytes."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol

from datasets.index.clips import SPLITS, Clip, Index
from datasets.registry import DatasetError
from datasets.store import shards
from datasets.store.lock import lock_folder
from datasets.store.settings import Audio, Settings, stored_settings
from datasets.store.shards import Shard, ShardResult, Task, make_shard
from datasets.store.store import MANIFEST, VERSION, Manifest, Store, StoreError, differences, reasons

Progress = Callable[[int, int, int], None]  # clips done, all clips, clips quarantined

PLAN = "plan.json"
PLANNED = {"version", "name", "settings", "clips", "clips_per_shard", "listing"}  # what stands in it
ANOTHER = "choose another folder (`dataset.store`), or delete this one"
SHOWN = 20  # mistakes of a list that are shown at once


class Parallel(Protocol):
    """Calls a function on each of some tasks, in any order, in other processes: both can be pickled."""

    def __call__(self, function: Callable[[Task], ShardResult], tasks: Sequence[Task]) -> Iterator[ShardResult]: ...


class TooManyQuarantined(DatasetError):
    """More clips cannot be used than was allowed; `quarantined` holds them: (id, reason)."""

    def __init__(self, message: str, quarantined: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.quarantined = tuple(quarantined)


@dataclass(frozen=True)
class Report:
    """What was prepared.

    Args:
        clips: how many the store holds.
        quarantined: of each that it does not hold (id, reason).
        seconds: of wall time.
        skipped_shards: how many were there already.
    """

    clips: int
    quarantined: tuple[tuple[str, str], ...]
    seconds: float
    skipped_shards: int


def prepare(
    name: str,
    index: Index,
    settings: Settings,
    folder: Path,
    *,
    parallel: Parallel | None = None,
    max_quarantined: float = 0.05,
    progress: Progress | None = None,
    clips_per_shard: int | None = None,
) -> Report:
    """Decodes all clips of a list into a store; shards that are there already are checked and kept.

    Args:
        name: of the data set.
        index: its clips.
        settings: modality -> how it is stored.
        folder: of the store; made if it is not there.
        parallel: calls a function on tasks; `processes()` if None.
        max_quarantined: share of the clips that may be unusable.
        progress: called with (clips done, all clips, clips quarantined) at the begin and after each shard.
        clips_per_shard: as the folder has it already, else a 256th of the clips, from 16 to 64, if None. A shard is
            what is lost when a process is killed, and what progress is counted in: 64 clips take a core ten seconds.

    Raises:
        DatasetError: the list is wrong, the disk is full, or another process prepares in the folder.
        StoreError: the folder holds another store.
        TooManyQuarantined: no manifest is written; what was prepared stays.
    """
    begin = time.monotonic()
    _check(name, index, settings)
    with _lock(folder):
        before = _read_plan(folder)
        size = clips_per_shard or before.get("clips_per_shard") or min(64, max(16, len(index.clips) // 256))
        plan = _plan(name, index, settings, size)
        _check_plan(folder, before, plan)
        with _writing(folder, PLAN):
            if not before:
                shards.write(folder / PLAN, json.dumps(plan, indent=1, ensure_ascii=False).encode())
        tasks = _tasks(index, settings, folder, size, _key(plan))
        tally = _Tally(folder, len(index.clips), max_quarantined, progress or (lambda done, total, lost: None))
        results = _make_all(tasks, parallel or processes(), tally)
        manifest = _manifest(name, index, settings, _key(plan), [result.shard for result in results if result.shard])
        with _writing(folder, MANIFEST):
            if not _is_written(manifest, folder):
                manifest.write(folder)
    skipped = sum(result.skipped for result in results)
    return Report(len(manifest.clips), manifest.quarantine, time.monotonic() - begin, skipped)


def processes(count: int | None = None) -> Parallel:
    """One process a core, each with one thread. They end with their parent, however it ends."""

    def parallel(function: Callable[[Task], ShardResult], tasks: Sequence[Task]) -> Iterator[ShardResult]:
        context = multiprocessing.get_context("spawn")
        alive, end = context.Pipe(duplex=False)
        workers = min(count or len(os.sched_getaffinity(0)), max(1, len(tasks)))
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent, initargs=(alive,))
        try:
            yield from _results(pool, function, tasks, 2 * workers)
        finally:
            end.close()  # a worker in the middle of a shard ends too
            pool.shutdown(cancel_futures=True)
            alive.close()

    return parallel


def _results(
    pool: ProcessPoolExecutor, function: Callable[[Task], ShardResult], tasks: Sequence[Task], ahead: int
) -> Iterator[ShardResult]:
    """As they come; at most `ahead` tasks are on their way to the workers."""
    waiting: set[Future[ShardResult]] = set()
    rest = iter(tasks)
    while True:
        waiting |= {pool.submit(function, task) for _, task in zip(range(ahead - len(waiting)), rest, strict=False)}
        if not waiting:
            return
        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        for future in done:
            yield future.result()


def _end_with_parent(alive: Connection) -> None:
    """In a worker: ends it when the other end of the pipe is closed, by the parent or by the parent's end."""
    import signal

    def watch() -> None:
        with suppress(EOFError, OSError):
            alive.recv()
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=watch, daemon=True).start()


def _check(name: str, index: Index, settings: Settings) -> None:
    """All that can be wrong with a list, before anything is decoded."""
    classes = set(index.classes)
    lines = [*_list_mistakes(name, index)]
    lines += [line for clip in index.clips for line in _clip_mistakes(name, clip, classes, settings)]
    if len(lines) > SHOWN:
        lines[SHOWN:] = [f"… and {len(lines) - SHOWN} more"]
    if lines:
        raise DatasetError("\n".join(lines))


def _list_mistakes(name: str, index: Index) -> Iterator[str]:
    counts = Counter(clip.id for clip in index.clips)
    for id in [id for id, times in counts.items() if times > 1]:
        yield f"{name}: the id {id} stands {counts[id]} times in the list, and ids must be unique"
    if len(set(index.classes)) < len(index.classes):
        yield f"{name}: a class stands twice in the class list"
    if not index.clips:
        yield f"{name}: none of the {len(index.missing)} clips of the list is there; look at `dataset.source`"


def _clip_mistakes(name: str, clip: Clip, classes: set[str], settings: Settings) -> Iterator[str]:
    if clip.label not in classes:
        yield f"{name}: the label {clip.label!r} of {clip.id} is not in the class list of {len(classes)} classes"
    if clip.split not in SPLITS:
        yield f"{name}: the split {clip.split!r} of {clip.id} must be one of {', '.join(SPLITS)}"
    if clip.sources.keys() != settings.keys():
        yield f"{name}: {clip.id} has {', '.join(clip.sources)}, but the settings are of {', '.join(settings)}"
        return
    for modality, how in settings.items():
        kind = clip.sources[modality].kind
        if (kind == "audio") != isinstance(how, Audio):
            yield f"{name}: {modality} of {clip.id} is of kind {kind}, but stored as {type(how).__name__}"


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """A store's folder, for this process alone.

    Raises:
        DatasetError: it cannot be written, or another process prepares in it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(lock_folder(folder, wait_s=0))
        except BlockingIOError:
            raise DatasetError(f"{folder} is being prepared by another process: wait for its end, or stop it") from None
        except OSError as error:
            raise _refusal(folder, str(error)) from error
        yield


def _read_plan(folder: Path) -> dict[str, Any]:
    """What a folder was to hold; empty where nothing was prepared in it."""
    path = folder / PLAN
    try:
        plan = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise StoreError(
            f"{path} is damaged ({error}): delete this file and start again; whole shards are kept"
        ) from error
    if not isinstance(plan, dict) or (plan.get("version") == VERSION and plan.keys() != PLANNED):
        raise StoreError(f"{path} is damaged (it is no plan): delete this file and start again; whole shards are kept")
    return plan


def _plan(name: str, index: Index, settings: Settings, size: int) -> dict[str, Any]:
    """What is to be prepared."""
    listing = hashlib.sha256()
    for clip in index.clips:
        sources = {m: (s.kind, s.begin_s, s.end_s) for m, s in clip.sources.items()}
        listing.update(json.dumps([clip.id, clip.label, clip.split, clip.group, sources]).encode())
    listing.update(json.dumps(index.classes).encode())
    return {
        "version": VERSION,
        "name": name,
        "settings": stored_settings(settings),
        "clips": len(index.clips),
        "clips_per_shard": size,
        "listing": listing.hexdigest(),
    }


def _check_plan(folder: Path, before: dict[str, Any], plan: dict[str, Any]) -> None:
    """
    Raises:
        StoreError: the folder holds, or was to hold, something else.
    """
    if not before:
        _check_shards(folder, _key(plan))
    elif before != plan:
        raise StoreError("\n".join(_plan_differences(folder, before, plan)))


def _check_shards(folder: Path, key: str) -> None:
    """A folder whose plan is gone may hold this store's shards, and no others."""
    for file in sorted(folder.glob("shard-*.json")):
        shard = shards.read_shard(file)
        if shard is not None and shard.key != key:
            raise StoreError(f"{file} is of another store: choose another folder (`dataset.store`), or delete this one")


def _plan_differences(folder: Path, before: dict[str, Any], plan: dict[str, Any]) -> list[str]:
    if before.get("version") != VERSION:
        return [f"{folder} is of version {before.get('version')}, and this program writes {VERSION}: {ANOTHER}"]
    lines = differences(before["settings"], plan["settings"], folder)
    lines += differences(plan["settings"], {m: {} for m in before["settings"] if m not in plan["settings"]}, folder)
    what = {"name": "data set", "clips": "number of clips", "clips_per_shard": "`clips_per_shard`"}
    for key, words in what.items():
        if before[key] != plan[key]:
            lines.append(f"{folder} was prepared with another {words}: {before[key]}, now {plan[key]}")
    if not lines:
        lines.append(f"{folder} was prepared from another list of clips (ids, labels, splits or parts of files differ)")
    return [*lines, f"nothing was changed; {ANOTHER}"]


def _key(plan: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()[:16]


def _class_ids(index: Index) -> dict[str, int]:
    return {name: i for i, name in enumerate(index.classes)}


def _tasks(index: Index, settings: Settings, folder: Path, size: int, key: str) -> list[Task]:
    ids = _class_ids(index)
    tasks = []
    for number, first in enumerate(range(0, len(index.clips), size)):
        clips = index.clips[first : first + size]
        labels = tuple(ids[clip.label] for clip in clips)
        tasks.append(Task(folder.resolve(), number, key, clips, labels, dict(settings)))
    return tasks


class _Tally:
    """Counts what came of the shards so far."""

    def __init__(self, folder: Path, total: int, allowed: float, progress: Progress) -> None:
        self.folder, self.total, self.allowed, self.progress = folder, total, allowed, progress
        self.done = 0
        self.lost: list[tuple[str, str]] = []
        progress(0, total, 0)

    def add(self, result: ShardResult) -> None:
        """
        Raises:
            DatasetError: a shard could not be written.
            TooManyQuarantined: more clips cannot be used than is allowed.
        """
        if result.shard is None:
            raise _refusal(self.folder, result.error)
        self.lost += result.shard.quarantined
        self.done += result.clips
        self.progress(self.done, self.total, len(self.lost))
        if len(self.lost) > self.allowed * self.total:
            raise _too_many(sorted(self.lost), self.done, self.total, self.allowed)


def _make_all(tasks: Sequence[Task], parallel: Parallel, tally: _Tally) -> list[ShardResult]:
    """What came of all tasks, in order; ends early where it cannot come to a store."""
    results: list[ShardResult] = []
    try:
        with closing(_call(parallel, tasks)) as arriving:
            for result in arriving:
                tally.add(result)
                results.append(result)
    except BrokenProcessPool as error:
        raise DatasetError(
            f"a process that prepared {tally.folder} was killed, or ran out of memory, after {tally.done:,} of "
            f"{tally.total:,} clips: start again, which goes on from there"
        ) from error
    if len(results) != len(tasks):
        raise RuntimeError(f"`parallel` gave {len(results)} results of {len(tasks)} tasks")
    return sorted(results, key=attrgetter("number"))


def _call(parallel: Parallel, tasks: Sequence[Task]) -> Generator[ShardResult, None, None]:
    """The results of a parallel map, which ends when this is closed."""
    yield from parallel(make_shard, tasks)


def _too_many(lost: list[tuple[str, str]], done: int, total: int, limit: float) -> TooManyQuarantined:
    head = (
        f"{len(lost):,} clips of {done:,} looked at so far, of {total:,} in all, cannot be used, and "
        f"`dataset.max_quarantined` allows {limit:g} of all; what is prepared stays, and a raised limit goes on from it"
    )
    return TooManyQuarantined("\n".join([head, *reasons(lost)]), lost)


def _refusal(folder: Path, what: str) -> DatasetError:
    return DatasetError(
        f"{folder} could not be prepared ({what}): make room, or fix what is named, and start again, "
        "which goes on from there; nothing that was prepared is damaged"
    )


@contextmanager
def _writing(folder: Path, name: str) -> Iterator[None]:
    """
    Raises:
        DatasetError: a file of the folder could not be written.
    """
    try:
        yield
    except OSError as error:
        raise _refusal(folder, f"{name}: {error.strerror}") from error


def _manifest(name: str, index: Index, settings: Settings, key: str, done: list[Shard]) -> Manifest:
    ids = _class_ids(index)
    gone = {id for shard in done for id, _ in shard.quarantined}
    clips = tuple((c.id, ids[c.label], c.split, c.group) for c in index.clips if c.id not in gone)
    stored = stored_settings(settings)
    return Manifest(name, key, stored, index.classes, tuple(done), clips, len(index.missing), index.notes)


def _is_written(manifest: Manifest, folder: Path) -> bool:
    """Whether the folder's manifest is this one already."""
    try:
        return Store(folder).manifest == manifest
    except StoreError:
        return False
