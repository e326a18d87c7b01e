"""Store at a URI: each machine copies it once, completely or not at all, and maps its copy."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pyarrow import fs

from datasets.loader.loader import open_store
from datasets.registry import DatasetError
from datasets.store import cache
from datasets.store.cache import local_store, staging_folder, upload
from datasets.store.prepare import prepare
from datasets.store.remote import RemoteError
from datasets.store.settings import Limits
from datasets.store.store import MANIFEST, Store, StoreError
from tests.datasets.test_store import SETTINGS, here, listing, made
from tests.support import ROOT
from tests.support.tells import tells

__all__ = ["made"]  # a fixture


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """Folder of this machine's copies."""
    monkeypatch.setenv(cache.FOLDER, str(tmp_path / "copies"))
    return tmp_path / "copies"


@pytest.fixture
def published(made, tmp_path) -> Path:
    """Copy of the store that a test may damage; its URI is `published.as_uri()`."""
    return Path(shutil.copytree(made[1], tmp_path / "Daten é"))


@pytest.mark.parametrize("kind", ["file", "s3"])
def test_a_store_at_a_uri_is_read_from_a_copy(made, published, home, kind, request):
    uri = published.as_uri()
    if kind == "s3":
        uri = request.getfixturevalue("s3")("stores/films")
        fs.copy_files(str(published), uri)  # as the error message of `prepare` advises
    store, whole = local_store(uri), Store(made[1])
    assert store.folder.parent == home
    assert store.fingerprint == whole.fingerprint
    assert [bytes(b) for e in store.entries() for b in store.blobs(e, "visual")] == [
        bytes(b) for e in whole.entries() for b in whole.blobs(e, "visual")
    ]
    if kind == "file":
        (published / "shard-00000.arrow").unlink()
        assert local_store(uri).fingerprint == store.fingerprint  # not copied again


def test_processes_that_want_a_copy_at_once_make_one(published, home, tmp_path):
    code = (
        "import pathlib, sys, time; from datasets.store import cache\n"
        "get = cache.Remote.get\n"
        "def slow(remote, name, file):\n"
        "    print(name); time.sleep(0.5)\n"  # keeps several processes busy at the same time
        "    return get(remote, name, file)\n"
        "cache.Remote.get = slow\n"
        "pathlib.Path(sys.argv[2] + str(time.monotonic_ns())).touch()\n"
        "while len(list(pathlib.Path(sys.argv[2]).parent.glob('ready*'))) < 3: time.sleep(0.01)\n"
        "store = cache.local_store(sys.argv[1]); assert all(store.blobs(e, 'visual') for e in store.entries())\n"
    )
    command = [sys.executable, "-c", code, published.as_uri(), str(tmp_path / "ready")]
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    got = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert sorted(got) == ["", "", "".join(f"shard-{i:05d}.arrow\n" for i in range(3))]  # one process copies all


def test_a_copy_that_was_cut_short_is_made_whole_and_never_read(published, home, monkeypatch):
    folder = local_store(published.as_uri()).folder
    first, second, *_ = sorted(folder.glob("*.arrow"))
    kept = second.stat().st_ino
    first.write_bytes(first.read_bytes()[:-100])  # as after a full disk or a cleaned cache
    (folder / MANIFEST).unlink()
    (folder / ".shard-00007.arrow.copy.part").write_bytes(b"of a process that was killed")
    again = local_store(published.as_uri())
    assert not again.verify()
    assert second.stat().st_ino == kept  # intact files are kept
    assert not list(folder.glob(".*"))


def test_a_process_that_is_killed_while_it_copies_leaves_none(published, home):
    code = (
        "import os, signal, sys; from datasets.store import cache, shards\n"
        "digest = shards.digest\n"
        "def killed(path):\n"
        "    if 'shard-00001' in path.name: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return digest(path)\n"
        "shards.digest = killed\n"
        "cache.local_store(sys.argv[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, published.as_uri()], cwd=ROOT, check=False)
    assert done.returncode == -9
    (folder,) = home.iterdir()
    with pytest.raises(StoreError) as error:
        Store(folder)
    tells(error.value, folder, MANIFEST)
    assert not local_store(published.as_uri()).verify()


def test_what_is_damaged_where_it_came_from_is_not_used(published, home):
    shard = published / "shard-00001.arrow"
    whole = bytearray(shard.read_bytes())
    whole[len(whole) // 2] ^= 1
    shard.write_bytes(whole)
    with pytest.raises(StoreError) as error:
        local_store(published.as_uri())
    tells(error.value, shard.as_uri())
    assert "missing" not in str(error.value)
    shard.unlink()
    with pytest.raises(StoreError) as error:
        local_store(published.as_uri())
    tells(error.value, shard.as_uri(), "missing")
    assert not list(home.rglob("shard-00001*"))
    (published / MANIFEST).unlink()
    with pytest.raises(StoreError) as error:
        local_store(published.as_uri())
    tells(error.value, published.as_uri(), MANIFEST, "uv run python -m search prepare FILE")


def test_a_damaged_copy_says_that_it_is_one(published, home):
    store = local_store(published.as_uri())
    shard = sorted(store.folder.glob("*.arrow"))[0]
    whole = bytearray(shard.read_bytes())
    entry = store.entries()[0]
    place = whole.index(bytes(store.blobs(entry, "visual")[0]))
    whole[place + 50] ^= 1
    del store
    shard.write_bytes(whole)
    with pytest.raises(StoreError) as error:
        local_store(published.as_uri()).blobs(entry, "visual")
    tells(error.value, shard, "corrupt", f"delete {shard.parent}", published.as_uri())


def test_another_store_at_the_same_uri_has_another_copy(published, home, tmp_path):
    first = local_store(published.as_uri())
    shutil.rmtree(published)
    prepare(
        "films", listing(tmp_path / "films", 5), SETTINGS, published, parallel=here, limits=Limits(max_quarantined=0.5)
    )
    second = local_store(published.as_uri())
    assert first.folder != second.folder
    assert len(second.entries()) == 4
    assert all(first.blobs(entry, "visual") for entry in first.entries())


def test_a_machine_with_no_room_for_copies_is_told(published, monkeypatch):
    monkeypatch.setenv(cache.FOLDER, "/proc/nowhere")
    with pytest.raises(RemoteError, match=r"/proc/nowhere/films-\w+") as error:
        local_store(published.as_uri())
    tells(error.value, os.strerror(errno.ENOENT), "OGMGE_STORES")


def test_copies_are_in_the_users_cache(monkeypatch):
    monkeypatch.delenv(cache.FOLDER, raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    assert cache.home() == Path("/home/me/.cache/ogmge/stores")
    monkeypatch.setenv("XDG_CACHE_HOME", "/scratch/me")
    assert cache.home() == Path("/scratch/me/ogmge/stores")


def test_readings_of_test_clips_are_on_record_where_the_store_is(published, home):
    data = open_store(published.as_uri(), SETTINGS, held_out_fraction=None, split_seed=0)
    for reason in ("confirm é", "evaluate"):
        list(data.test(batch_size=2, reason=reason))
    lines = [json.loads(f.read_text(encoding="utf-8")) for f in (published / "test_readings").iterdir()]
    assert {line["reason"] for line in lines} == {"confirm é", "evaluate"}
    shutil.rmtree(published / "test_readings")
    (published / "test_readings").touch()
    with pytest.raises(DatasetError) as error:
        data.test(batch_size=2, reason="evaluate")
    tells(error.value, f"{published.as_uri()}/test_readings.jsonl")


def test_what_was_prepared_goes_to_a_uri_and_is_this_machines_copy(made, home, tmp_path, monkeypatch):
    uri = (tmp_path / "there").as_uri()
    got: list[tuple[object, ...]] = []
    monkeypatch.setattr(cache.Remote, "get", lambda *task: got.append(task))
    upload(Path(shutil.copytree(made[1], staging_folder(uri))), uri)
    assert not staging_folder(uri).exists()
    assert local_store(uri).fingerprint == Store(made[1]).fingerprint
    assert not got
    assert not Store(tmp_path / "there").verify()


def test_an_upload_that_was_cut_short_is_no_store_and_goes_on(made, home, tmp_path):
    uri, there = (tmp_path / "there").as_uri(), tmp_path / "there"
    folder = Path(shutil.copytree(made[1], staging_folder(uri)))
    (there / "shard-00001.arrow").mkdir(parents=True)  # blocks the file of this name
    with pytest.raises(RemoteError) as error:
        upload(folder, uri)
    tells(error.value, uri, "written")
    with pytest.raises(StoreError) as error:
        local_store(uri)
    tells(error.value, uri, MANIFEST)
    os.rmdir(there / "shard-00001.arrow")
    upload(folder, uri)
    assert not local_store(uri).verify()


def test_another_store_is_not_overwritten(made, published, home, tmp_path):
    prepare(
        "films",
        listing(tmp_path / "films", 5),
        SETTINGS,
        staging_folder("x"),
        parallel=here,
        limits=Limits(max_quarantined=0.5),
    )
    before = {file.name: file.read_bytes() for file in published.iterdir()}
    with pytest.raises(StoreError) as error:
        upload(staging_folder("x"), published.as_uri())
    tells(error.value, published.as_uri(), staging_folder("x"), "`dataset.store`")
    assert {file.name: file.read_bytes() for file in published.iterdir()} == before
