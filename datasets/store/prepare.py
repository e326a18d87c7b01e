"""Preparation of a store, in parallel. It can be stopped and resumed at any point and ends with the same bytes."""

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
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol

from datasets.index.clips import SPLITS, Clip, Index
from datasets.index.json_text import parse_json
from datasets.index.list_files import count
from datasets.index.regular_file import read_regular
from datasets.registry import DatasetError
from datasets.store import shards
from datasets.store.lock import lock_folder
from datasets.store.settings import DEFAULT_LIMITS, Audio, Limits, Settings, stored_settings
from datasets.store.shards import Shard, ShardResult, Task, make_shard
from datasets.store.store import MANIFEST, VERSION, Manifest, Store, StoreError, differences, reasons, warning_notes

Progress = Callable[[int, int, int], None]  # number of clips done, of all clips, of quarantined clips

PLAN = "plan.json"
PLANNED = {"version", "name", "settings", "clips", "clips_per_shard", "listing"}  # its keys
CHOOSE = "choose another folder (`dataset.store`), or make this one writable"
ANOTHER = "choose another folder (`dataset.store`), or delete this one"
SHOWN = 20  # maximum number of errors shown at once


class Parallel(Protocol):
    """Parallel map: calls a function on tasks in any order, in other processes; both can be pickled."""

    def __call__(self, function: Callable[[Task], ShardResult], tasks: Sequence[Task]) -> Iterator[ShardResult]: ...


class TooManyQuarantined(DatasetError):
    """More unusable clips than allowed. `quarantined` holds pairs (id, reason)."""

    def __init__(self, message: str, quarantined: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.quarantined = tuple(quarantined)


class PreparationHalted(DatasetError):
    """Error of the disk in the course of a preparation, which can be resumed."""


@dataclass(frozen=True)
class Report:
    """Result of a preparation.

    Args:
        clips: number of clips in the store.
        quarantined: pairs (id, reason) of the clips that are not in it.
        seconds: wall time.
        skipped_shards: number of shards that already existed.
        notes: notes on clips that were stored with a warning.
    """

    clips: int
    quarantined: tuple[tuple[str, str], ...]
    seconds: float
    skipped_shards: int
    notes: tuple[str, ...] = ()


def prepare(
    name: str,
    index: Index,
    settings: Settings,
    folder: Path,
    *,
    parallel: Parallel | None = None,
    limits: Limits = DEFAULT_LIMITS,
    progress: Progress | None = None,
    clips_per_shard: int | None = None,
) -> Report:
    """Decode all clips of a list into a store; existing shards are checked and kept.

    Args:
        name: name of the data set.
        index: clips of the data set.
        settings: modality -> how it is stored.
        folder: folder of the store, which is created if necessary.
        parallel: parallel map; `processes()` if None.
        limits: limits on what decoding a clip may take, and on the share of unusable clips.
        progress: function called with the numbers of clips done, of all clips and of quarantined clips, at the start
            and after each shard.
        clips_per_shard: number of clips per shard; None is the number in the folder's plan, else a 256th of the clips,
            between 16 and 64. A killed process loses one shard per core; 64 clips take a core ten seconds.

    Raises:
        DatasetError: if the list is invalid, the folder cannot be written, or another process prepares in it.
        PreparationHalted: if the disk is full, or fails in another way; completed shards are kept.
        StoreError: if the folder holds another store.
        TooManyQuarantined: if too many clips are unusable; completed shards are kept, but no manifest is written.
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
        make_task = partial(Task, folder.resolve(), key=_key(plan), settings=dict(settings), limits=limits)
        tasks = _tasks(index, size, make_task)
        tally = _Tally(folder, len(index.clips), limits.max_quarantined, progress or (lambda done, total, lost: None))
        results = _make_all(tasks, parallel or processes(), tally)
        notes = tuple(warning_notes([pair for result in results for pair in result.warned]))
        index = replace(index, notes=(*index.notes, *notes))
        manifest = _manifest(name, index, settings, _key(plan), [result.shard for result in results if result.shard])
        with _writing(folder, MANIFEST):
            if not _is_written(manifest, folder):
                manifest.write(folder)
    skipped = sum(result.skipped for result in results)
    return Report(len(manifest.clips), manifest.quarantine, time.monotonic() - begin, skipped, notes)


def processes(count: int | None = None) -> Parallel:
    """Return a parallel map with one single-threaded process per core; the processes end with their parent."""

    def parallel(function: Callable[[Task], ShardResult], tasks: Sequence[Task]) -> Iterator[ShardResult]:
        context = multiprocessing.get_context("spawn")
        alive, end = context.Pipe(duplex=False)
        workers = min(count or _own_cpus(), max(1, len(tasks)))
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent, initargs=(alive,))
        try:
            yield from _results(pool, function, tasks, 2 * workers)
        finally:
            end.close()  # also ends workers in the middle of a shard
            pool.shutdown(cancel_futures=True)
            alive.close()

    return parallel


def _own_cpus() -> int:
    """Return the number of CPUs that this process may use; macOS cannot limit them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _results(
    pool: ProcessPoolExecutor, function: Callable[[Task], ShardResult], tasks: Sequence[Task], ahead: int
) -> Iterator[ShardResult]:
    """Yield results as they arrive; at most `ahead` tasks are submitted at a time."""
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
    """End this worker when the parent closes its end of the pipe, or ends itself."""
    import signal

    def watch() -> None:
        with suppress(EOFError, OSError):
            alive.recv()
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    threading.Thread(target=watch, daemon=True).start()


def _check(name: str, index: Index, settings: Settings) -> None:
    """Raise an error for an invalid list, before anything is decoded."""
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
        yield f"{name}: the id {id} is listed {counts[id]} times, but ids must be unique"
    if len(set(index.classes)) < len(index.classes):
        yield f"{name}: a class is listed twice"
    if not index.clips:
        yield f"{name}: found no files for {count(len(index.missing), 'clip')} of the list; check `dataset.source`"


def _clip_mistakes(name: str, clip: Clip, classes: set[str], settings: Settings) -> Iterator[str]:
    if clip.label not in classes:
        yield f"{name}: the label {clip.label!r} of {clip.id} is not in the list of {count(len(classes), 'class')}"
    if clip.split not in SPLITS:
        yield f"{name}: the split {clip.split!r} of {clip.id} must be one of {', '.join(SPLITS)}"
    if clip.sources.keys() != settings.keys():
        yield f"{name}: {clip.id} has {', '.join(clip.sources)}, but the settings have {', '.join(settings)}"
        return
    for modality, how in settings.items():
        kind = clip.sources[modality].kind
        if (kind == "audio") != isinstance(how, Audio):
            yield f"{name}: {modality} of {clip.id} is of kind {kind}, but its settings are {type(how).__name__}"


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Lock a store's folder for this process.

    Raises:
        DatasetError: if the folder cannot be written, or another process prepares in it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(lock_folder(folder, wait_s=0))
        except BlockingIOError:
            raise DatasetError(f"{folder} is being prepared by another process: wait for it, or stop it") from None
        except OSError as error:
            raise DatasetError(f"{folder} cannot be prepared: {_reason(error)}: {CHOOSE}") from error
        yield


def _reason(error: OSError) -> str:
    return f"{error.strerror} ({error.filename})" if error.filename else str(error)


def _read_plan(folder: Path) -> dict[str, Any]:
    """Return the plan of a folder; empty if it has none."""
    path = folder / PLAN
    try:
        plan = parse_json(read_regular(path))
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as error:
        raise StoreError(
            f"{path} is corrupt ({error}): delete this file and prepare again; intact shards are kept"
        ) from error
    if not isinstance(plan, dict) or (plan.get("version") == VERSION and plan.keys() != PLANNED):
        raise StoreError(f"{path} is corrupt (not a plan): delete this file and prepare again; intact shards are kept")
    return plan


def _plan(name: str, index: Index, settings: Settings, size: int) -> dict[str, Any]:
    """Return the plan: everything that determines the store's content."""
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
    """Compare a plan with the folder.

    Raises:
        StoreError: if the folder holds, or was planned to hold, another store.
    """
    if not before:
        _check_shards(folder, _key(plan))
    elif before != plan:
        raise StoreError("\n".join(_plan_differences(folder, before, plan)))


def _check_shards(folder: Path, key: str) -> None:
    """Check that a folder without a plan holds no shards of another store."""
    for file in sorted(folder.glob("shard-*.json")):
        shard = shards.read_shard(file)
        if shard is not None and shard.key != key:
            raise StoreError(f"{file} belongs to another store: {ANOTHER}")


def _plan_differences(folder: Path, before: dict[str, Any], plan: dict[str, Any]) -> list[str]:
    if before.get("version") != VERSION:
        return [f"{folder} has format version {before.get('version')}, but this program writes {VERSION}: {ANOTHER}"]
    lines = differences(before["settings"], plan["settings"], folder)
    lines += differences(plan["settings"], {m: {} for m in before["settings"] if m not in plan["settings"]}, folder)
    what = {"name": "data set", "clips": "number of clips", "clips_per_shard": "`clips_per_shard`"}
    for key, words in what.items():
        if before[key] != plan[key]:
            lines.append(f"{folder} was prepared with a different {words}: {before[key]}, now {plan[key]}")
    if not lines:
        lines.append(f"{folder} was prepared from another list of clips (ids, labels, splits or parts of files differ)")
    return [*lines, f"nothing was changed; {ANOTHER}"]


def _key(plan: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()[:16]


def _class_ids(index: Index) -> dict[str, int]:
    return {name: i for i, name in enumerate(index.classes)}


def _tasks(index: Index, size: int, make_task: Callable[..., Task]) -> list[Task]:
    """Return a task for each shard of `size` clips; `make_task` takes its number, its clips and their class ids."""
    ids = _class_ids(index)
    tasks = []
    for number, first in enumerate(range(0, len(index.clips), size)):
        clips = index.clips[first : first + size]
        labels = tuple(ids[clip.label] for clip in clips)
        tasks.append(make_task(number=number, clips=clips, labels=labels))
    return tasks


class _Tally:
    """Counts of prepared and quarantined clips so far."""

    def __init__(self, folder: Path, total: int, allowed: float, progress: Progress) -> None:
        self.folder, self.total, self.allowed, self.progress = folder, total, allowed, progress
        self.done = 0
        self.lost: list[tuple[str, str]] = []
        progress(0, total, 0)

    def add(self, result: ShardResult) -> None:
        """Count a shard.

        Raises:
            PreparationHalted: if the shard could not be written.
            TooManyQuarantined: if more clips are unusable than allowed.
        """
        if result.shard is None:
            raise _refusal(self.folder, result.error)
        self.lost += result.shard.quarantined
        self.done += result.clips
        self.progress(self.done, self.total, len(self.lost))
        if len(self.lost) > self.allowed * self.total:
            raise _too_many(sorted(self.lost), self.done, self.total, self.allowed)


def _make_all(tasks: Sequence[Task], parallel: Parallel, tally: _Tally) -> list[ShardResult]:
    """Return the results of all tasks in order; raise an error as soon as the store cannot be completed."""
    results: list[ShardResult] = []
    try:
        with closing(_call(parallel, tasks)) as arriving:
            for result in arriving:
                tally.add(result)
                results.append(result)
    except BrokenProcessPool as error:
        raise DatasetError(
            f"a process that prepared {tally.folder} was killed or ran out of memory after {tally.done:,} of "
            f"{count(tally.total, 'clip')}; completed work is saved: run the command again to continue"
        ) from error
    if len(results) != len(tasks):
        raise RuntimeError(f"`parallel` gave {len(results)} results of {len(tasks)} tasks")
    return sorted(results, key=attrgetter("number"))


def _call(parallel: Parallel, tasks: Sequence[Task]) -> Generator[ShardResult, None, None]:
    """Yield the results of a parallel map, which ends when this generator is closed."""
    yield from parallel(make_shard, tasks)


def _too_many(lost: list[tuple[str, str]], done: int, total: int, limit: float) -> TooManyQuarantined:
    head = (
        f"{count(len(lost), 'clip')} of {done:,} examined so far ({total:,} in total) cannot be used, but "
        f"`dataset.max_quarantined` allows a share of {limit:g}; completed work is saved: raise the limit and run the "
        "command again to continue"
    )
    return TooManyQuarantined("\n".join([head, *reasons(lost)]), lost)


def _refusal(folder: Path, what: str) -> PreparationHalted:
    return PreparationHalted(
        f"{folder} could not be prepared ({what}); completed work is saved: free disk space or fix this problem, then "
        "run the command again to continue"
    )


@contextmanager
def _writing(folder: Path, name: str) -> Iterator[None]:
    """Turn errors on writing a file of the folder into `PreparationHalted`."""
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
    """Return whether the folder already has this manifest."""
    try:
        return Store(folder).manifest == manifest
    except StoreError:
        return False
