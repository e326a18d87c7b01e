"""A store at a URI: each machine copies it once to its own disk, and all its processes map that copy.

A copy's folder is named by the store's content, so that it is never of another; its manifest comes last, so that a
copy that was cut short is none.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from datasets.store import shards
from datasets.store.lock import lock_folder
from datasets.store.remote import Remote, RemoteError, local_folder
from datasets.store.shards import TEMPORARY, Shard
from datasets.store.store import MANIFEST, Manifest, Store, StoreError, no_store_error

FOLDER = "OGMGE_STORES"  # environment variable: where the copies are
READINGS = "test_readings"

log = logging.getLogger(__name__)


def home() -> Path:
    """Where this machine's copies are: $OGMGE_STORES, else the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get(FOLDER) or f"{cache}/ogmge/stores").expanduser().absolute()


def local_store(store: str) -> Store:
    """The store at a path, or this machine's copy of the one at a URI, which is made where it is not there yet.

    Raises:
        StoreError: not prepared, of another version, or damaged.
        RemoteError: it cannot be reached.
        OSError: this machine's disk is full.
    """
    folder = local_folder(store)
    return Store(_copy(store), origin=store) if folder is None else Store(folder)


def record(store: Store, line: dict[str, str]) -> None:
    """Puts a reading of test clips on record: a line of `test_readings.jsonl`, or where it was copied from a new file.

    Raises:
        RemoteError, OSError: it cannot be written.
    """
    text = json.dumps(line, ensure_ascii=False) + "\n"
    if store.origin is None:
        with (store.folder / f"{READINGS}.jsonl").open("a", encoding="utf-8") as file:
            file.write(text)
        return
    with TemporaryDirectory() as folder:
        (Path(folder) / "line").write_text(text, encoding="utf-8")
        name = f"{READINGS}/{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}.jsonl"
        Remote(store.origin).put(Path(folder) / "line", name)


def upload(folder: Path, store: str) -> None:
    """Copies a prepared folder to a URI, the manifest last; what is there already is kept. The folder becomes this
    machine's copy.

    Raises:
        StoreError: another store is there.
        RemoteError: it cannot be written.
    """
    there, remote = Store(folder), Remote(store)
    content = (folder / MANIFEST).read_bytes()
    known = remote.read(MANIFEST)
    if known not in (None, content):
        raise StoreError(
            f"another store is at {store} already, and {folder} was prepared now: choose another `dataset.store`, or "
            "delete what is there"
        )
    if known is None:
        for shard in there.manifest.shards:
            log.info("%s to %s", shard.file, store)
            remote.put(folder / shard.file, shard.file)
        remote.put(folder / MANIFEST, MANIFEST)
    with suppress(OSError):  # the copy is there already
        folder.rename(_folder_of(there.manifest, there.fingerprint))


def staging_folder(store: str) -> Path:
    """Where a store that is to go to a URI is prepared on this machine."""
    return home() / f"prepare-{hashlib.sha256(store.encode()).hexdigest()[:16]}"


def _folder_of(manifest: Manifest, fingerprint: str) -> Path:
    return home() / f"{re.sub(r'[^A-Za-z0-9._-]', '_', manifest.name)}-{fingerprint}"


def _copy(store: str) -> Path:
    """This machine's copy, whole."""
    remote = Remote(store)
    content = remote.read(MANIFEST)
    if content is None:
        raise no_store_error(store)
    manifest, fingerprint = Manifest.parse(content, f"{store}/{MANIFEST}")
    folder = _folder_of(manifest, fingerprint)
    with _lock(folder):
        _fetch_all(remote, manifest.shards, folder)
        if _size(folder / MANIFEST) != len(content):
            shards.write(folder / MANIFEST, content)
    return folder


def _fetch_all(remote: Remote, of_store: Sequence[Shard], folder: Path) -> None:
    """Copies the shards that a folder lacks."""
    missing = [shard for shard in of_store if _size(folder / shard.file) != shard.bytes]
    if missing:
        log.info("copying %s to %s once: %.3g GB", remote.where, folder, sum(s.bytes for s in missing) / 1e9)
    for shard in missing:
        _fetch(remote, shard, folder)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _fetch(remote: Remote, shard: Shard, folder: Path) -> None:
    part = folder / f".{shard.file}.copy{TEMPORARY}"
    try:
        if not remote.get(shard.file, part):
            raise StoreError(f"{remote.where}/{shard.file} is missing: copy the store there again")
        if shards.digest(part) != shard.sha256:
            raise StoreError(f"{remote.where}/{shard.file} is not what was prepared: copy the store there again")
        part.replace(folder / shard.file)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """The folder for this process alone: others that want the same copy wait for it."""
    with ExitStack() as stack:
        try:
            stack.enter_context(lock_folder(folder))
        except OSError as error:
            raise RemoteError(
                f"{folder}, where this machine would keep a copy of the store, cannot be written ({error.strerror}): "
                f"set {FOLDER} to a folder that can"
            ) from error
        yield
