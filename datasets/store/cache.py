"""Local copies of stores at URIs: each machine copies a store once, and all its processes map that copy.

The name of a copy's folder depends on the store's content, so different stores never share a copy. The manifest is
written last, so an interrupted copy is never taken for a whole one.
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

from datasets.registry import expand
from datasets.store import shards
from datasets.store.lock import lock_folder
from datasets.store.remote import Remote, RemoteError, local_folder
from datasets.store.shards import TEMPORARY, Shard
from datasets.store.store import MANIFEST, Manifest, Store, StoreError, no_store_error

FOLDER = "OGMGE_STORES"  # environment variable: folder of the copies
READINGS = "test_readings"

log = logging.getLogger(__name__)


def home() -> Path:
    """Return the folder of this machine's copies: $OGMGE_STORES, else one in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return expand(os.environ.get(FOLDER) or f"{cache}/ogmge/stores").absolute()


def local_store(store: str) -> Store:
    """Open the store at a path, or this machine's copy of the store at a URI, which is made first if necessary.

    Raises:
        StoreError: if the store is not prepared, has another format version, or is corrupt.
        RemoteError: if the URI cannot be reached.
        OSError: if this machine's disk is full.
    """
    folder = local_folder(store)
    return Store(_copy(store), origin=store) if folder is None else Store(folder)


def record(store: Store, line: dict[str, str]) -> None:
    """Log a read of the test split as a line of `test_readings.jsonl`; at a URI each read is a new file instead.

    Raises:
        RemoteError, OSError: if the log cannot be written.
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
    """Upload a prepared folder to a URI, the manifest last; the folder becomes this machine's copy.

    Nothing is uploaded if the URI already holds this store.

    Raises:
        StoreError: if the URI holds another store.
        RemoteError: if the URI cannot be written to.
    """
    there, remote = Store(folder), Remote(store)
    content = (folder / MANIFEST).read_bytes()
    known = remote.read(MANIFEST)
    if known not in (None, content):
        raise StoreError(
            f"{store} already holds a different store than the one just prepared in {folder}: choose another "
            "`dataset.store`, or delete the store there"
        )
    if known is None:
        for shard in there.manifest.shards:
            log.info("uploading %s to %s", shard.file, store)
            remote.put(folder / shard.file, shard.file)
        remote.put(folder / MANIFEST, MANIFEST)
    with suppress(OSError):  # the copy already exists
        folder.rename(_folder_of(there.manifest, there.fingerprint))


def staging_folder(store: str) -> Path:
    """Return the folder on this machine in which a store for a URI is prepared."""
    return home() / f"prepare-{hashlib.sha256(store.encode()).hexdigest()[:16]}"


def _folder_of(manifest: Manifest, fingerprint: str) -> Path:
    return home() / f"{re.sub(r'[^A-Za-z0-9._-]', '_', manifest.name)}-{fingerprint}"


def _copy(store: str) -> Path:
    """Return the folder of this machine's complete copy."""
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
    """Copy the shards that are missing in a folder."""
    missing = [shard for shard in of_store if _size(folder / shard.file) != shard.bytes]
    if missing:
        log.info("copying %s to %s (only once): %.3g GB", remote.where, folder, sum(s.bytes for s in missing) / 1e9)
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
            raise StoreError(f"{remote.where}/{shard.file} is missing: upload the store again")
        if shards.digest(part) != shard.sha256:
            raise StoreError(f"{remote.where}/{shard.file} is corrupt: upload the store again")
        part.replace(folder / shard.file)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Lock a folder for this process; others that need the same copy wait."""
    with ExitStack() as stack:
        try:
            stack.enter_context(lock_folder(folder))
        except OSError as error:
            raise RemoteError(
                f"{folder}, the folder for this machine's copy of the store, cannot be written ({error.strerror}): "
                f"set {FOLDER} to a writable folder"
            ) from error
        yield
