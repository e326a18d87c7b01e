"""Store: every process reads what was written, and every kind of damage is an error."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import shutil
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import simplejpeg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.index.clips import Clip, Index, Source
from datasets.store import shards
from datasets.store.frames import frames
from datasets.store.prepare import prepare
from datasets.store.settings import Audio, Frames, Limits, stored_settings
from datasets.store.sound import audio
from datasets.store.store import MANIFEST, Manifest, Store, StoreError
from tests.support.films import chirp, moving, write
from tests.support.tells import tells

SETTINGS = {"audio": Audio(sample_rate_hz=8000, seconds=0.5, n_fft=256, hop=128), "visual": Frames(per_clip=4)}
CLIPS = 10


def here(function, tasks):
    """Run the tasks in this process, as a parallel map for `prepare`."""
    return map(function, tasks)


def listing(folder: Path, count: int = CLIPS) -> Index:
    """Videos, the fourth without sound; 3 classes, one without clips."""
    clips = []
    for i in range(count):
        sound = None if i == 3 else chirp(0.4 + 0.05 * i, 16000)
        film = write(folder / f"clip {i}.mp4", moving(3 + i, 64, 96, seed=i), sound, rate=16000)
        sources = {"audio": Source("audio", (film,)), "visual": Source("video", (film,))}
        split = ("train", "validation", "test")[i % 3]
        clips.append(Clip(f"ä{i}", "ac"[i % 2], split, None if i % 2 else f"g{i // 4}", sources))
    return Index(("a", "b", "c"), tuple(clips), missing=("gone",), notes=("the publisher's split",))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Pair (index, folder of its store), with shards of 4 clips and small record batches."""
    folder = tmp_path_factory.mktemp("made")
    index = listing(folder / "films")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "BATCH_BYTES", 30_000)
        prepare(
            "films",
            index,
            SETTINGS,
            folder / "store",
            parallel=here,
            limits=Limits(max_quarantined=0.2),
            clips_per_shard=4,
        )
    return index, folder / "store"


@pytest.fixture
def copied(made, tmp_path):
    """Copy of the store for a test to damage."""
    return Path(shutil.copytree(made[1], tmp_path / "store"))


def test_every_clip_is_read_as_it_was_decoded(made):
    index, folder = made
    store = Store(folder)
    kept = [clip for clip in index.clips if clip.id != "ä3"]
    assert store.classes == ("a", "b", "c")
    assert [e.id for e in store.entries()] == [clip.id for clip in kept]
    for entry, clip in zip(store.entries(), kept, strict=True):
        assert (store.classes[entry.label], entry.split, entry.group) == (clip.label, clip.split, clip.group)
        jpegs = frames(clip.sources["visual"], 4, 256, 90)
        assert [bytes(blob) for blob in store.blobs(entry, "visual")] == jpegs
        assert store.count(entry, "visual") == len(jpegs)
        assert [bytes(blob) for blob in store.blobs(entry, "audio")] == [audio(clip.sources["audio"], 8000, 10.0)]
        picked = store.blobs(entry, "visual", [2, 0, 2])
        assert [bytes(blob) for blob in picked] == [jpegs[2], jpegs[0], jpegs[2]]
    assert len({entry.shard for entry in store.entries()}) == 3
    assert store.verify() == []
    assert store.manifest.splits == {clip.id: clip.split for clip in kept}
    assert [(id, reason.partition(":")[0]) for id, reason in store.manifest.quarantine] == [("ä3", "no sound")]
    assert (store.manifest.missing, store.manifest.notes) == (1, ("the publisher's split",))


def test_a_shard_has_more_than_one_record_batch(made):
    with pa.memory_map(str(made[1] / "shard-00001.arrow")) as file:
        assert pa.ipc.open_file(file).num_record_batches > 1


def test_the_columns_are_as_documented(made):
    with pa.memory_map(str(made[1] / "shard-00000.arrow")) as file:
        table = pa.ipc.open_file(file).read_all()
    assert table.schema.names == ["id", "label", "split", "group", "audio", "audio.crc32", "visual", "visual.crc32"]
    assert table["id"].to_pylist() == ["ä0", "ä1", "ä2"]
    assert table["label"].to_pylist() == [0, 2, 0]
    assert table["group"].to_pylist() == ["g0", None, "g0"]
    for id, blobs, sums in zip(*(table[name].to_pylist() for name in ("id", "visual", "visual.crc32")), strict=True):
        whose = [zlib.crc32(f"{i}/{len(blobs)}/{id}".encode()) for i in range(len(blobs))]
        assert [zlib.crc32(blob, start) for blob, start in zip(blobs, whose, strict=True)] == sums


def test_blobs_are_views_of_the_map_and_decode_without_a_copy(made):
    store = Store(made[1])
    blob = store.blobs(store.entries()[0], "visual")[0]
    assert isinstance(blob, memoryview)
    assert blob.readonly
    assert simplejpeg.decode_jpeg(blob).shape == (64, 96, 3)
    assert np.frombuffer(store.blobs(store.entries()[0], "audio")[0], "<i2").shape == (3200,)


def _first_bytes(store: Store) -> list[int]:
    return [zlib.crc32(b"".join(store.blobs(entry, "visual"))) for entry in store.entries()]


def test_a_store_that_was_read_can_be_sent_to_another_process(made):
    store = Store(made[1])
    expected = _first_bytes(store)
    assert len(pickle.dumps(store)) < 10_000  # maps are not pickled
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_first_bytes, (store,)) == expected


def test_no_file_stays_open(made):
    """A large store has thousands of shards, but a process may open only a thousand files."""
    store = Store(made[1])
    assert all(store.blobs(entry, "visual") for entry in store.entries())
    held = [link.resolve() for link in Path("/proc/self/fd").iterdir()]
    assert not [path for path in held if store.folder.resolve() in path.parents]


def test_many_threads_read_the_same(made):
    expected = _first_bytes(Store(made[1]))
    for _ in range(5):
        store = Store(made[1])
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(_first_bytes, [store] * 8)) == [expected] * 8


def test_what_is_asked_for_and_not_there_is_told(made):
    store = Store(made[1])
    entry = store.entries()[0]
    with pytest.raises(IndexError) as error:
        store.blobs(entry, "visual", [3])
    tells(error.value, "ä0", "3 blobs", "visual", "at 3")
    with pytest.raises(StoreError) as error:
        store.blobs(entry, "flow")
    tells(error.value, store.folder, "audio, visual", "flow")


@pytest.mark.parametrize("seen", [{"crop": 96, "count": 3}, {}])
def test_settings_that_change_only_what_the_model_sees_fit(made, seen):
    Store(made[1]).check_settings({"visual": Frames(per_clip=4, **seen)})
    Store(made[1]).check_settings({**SETTINGS, "audio": Audio(8000, 3.0, 512, 353, tile=True)})


def test_other_settings_are_named_one_by_one(made):
    asked = {
        "audio": Audio(sample_rate_hz=16000, seconds=0.5, n_fft=256, hop=128),
        "visual": Frames(per_clip=4, quality=80),
        "flow": Frames(),
    }
    with pytest.raises(StoreError) as found:
        Store(made[1]).check_settings(asked)
    lines = str(found.value).split("\n")
    assert len(lines) == 3
    tells(lines[0], made[1], "audio, visual", "flow", "`dataset.store`")
    tells(lines[1], made[1], "`quality`", "visual", 90, 80, "`dataset.store`")
    tells(lines[2], made[1], "`sample_rate_hz`", "audio", 8000, 16000, "`dataset.store`")


@pytest.mark.parametrize("modality", ["audio", "visual"])
def test_a_flipped_bit_of_a_blob_is_told_with_file_and_clip(copied, modality):
    whole = Store(copied)
    entry = whole.entries()[4]
    blob = bytes(whole.blobs(entry, modality)[0])
    path = copied / whole.manifest.shards[entry.shard].file
    content = path.read_bytes()
    assert content.count(blob) == 1
    at = content.index(blob) + len(blob) // 2
    path.unlink()
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    store = Store(copied)
    with pytest.raises(StoreError) as error:
        store.blobs(store.entries()[4], modality)
    tells(error.value, path, "corrupt", modality, entry.id, "`uv run python -m search prepare`")
    store.blobs(store.entries()[5], modality)
    (line,) = store.verify()
    tells(line, path, "corrupt", "sha256", "`uv run python -m search prepare`")


@pytest.fixture(scope="module")
def structure(made):
    """Return the positions of a shard's bytes outside all blobs."""
    store, path = Store(made[1]), made[1] / "shard-00001.arrow"
    content = path.read_bytes()
    of_blobs = np.zeros(len(content), bool)
    for entry in store.entries():
        for blob in (b for modality in SETTINGS for b in store.blobs(entry, modality) if entry.shard == 1):
            at = content.index(bytes(blob))
            of_blobs[at : at + len(blob)] = True
    return np.flatnonzero(~of_blobs)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 2**32), flip=st.integers(1, 255), length=st.sampled_from([1, 1, 8, 400]))
def test_damage_anywhere_in_a_shard_is_an_error_or_reads_as_written(made, structure, tmp_path, place, flip, length):
    """Damage to magic, schema, offsets, checksums or footer never returns wrong data and never crashes."""
    folder = tmp_path / "store"
    if not folder.exists():
        shutil.copytree(made[1], folder)
    path = folder / "shard-00001.arrow"
    content = bytearray((made[1] / path.name).read_bytes())
    at = int(structure[place % len(structure)])
    content[at : at + length] = bytes(byte ^ flip for byte in content[at : at + length])
    path.unlink()
    path.write_bytes(content)
    right, store = Store(made[1]), Store(folder)
    for entry in store.entries():
        for modality in SETTINGS:
            try:
                found = [bytes(blob) for blob in store.blobs(entry, modality)]
            except StoreError as error:
                assert path.name in str(error)  # noqa: PT017 - both outcomes are correct
                continue
            whole = [bytes(blob) for blob in right.blobs(entry, modality)]
            assert found == whole
    assert len(store.verify()) == 1


def test_a_shard_cut_short_or_missing_is_told_when_the_store_is_opened(copied):
    cut, gone = copied / "shard-00000.arrow", copied / "shard-00002.arrow"
    content = cut.read_bytes()
    cut.write_bytes(content[:-100])
    gone.unlink()
    with pytest.raises(StoreError) as found:
        Store(copied)
    lines = str(found.value).split("\n")
    assert len(lines) == 2
    tells(lines[0], cut, f"{len(content) - 100:,} bytes", f"{len(content):,}", "`uv run python -m search prepare`")
    tells(lines[1], gone, "missing", "`uv run python -m search prepare`")


def test_a_shard_of_another_store_or_place_is_told(copied):
    first, second = copied / "shard-00000.arrow", copied / "shard-00001.arrow"
    manifest, _ = Manifest.read(copied)
    shutil.copy(first, second)
    swapped = replace(manifest.shards[1], bytes=second.stat().st_size)
    described = (manifest.shards[0], swapped, manifest.shards[2])
    Manifest(**{**manifest.__dict__, "shards": described}).write(copied)
    store = Store(copied)
    with pytest.raises(StoreError) as error:
        store.blobs(store.entries()[-4], "visual")
    tells(error.value, second, "corrupt", "another shard")


def changed(folder: Path, **values: object) -> None:
    path = folder / MANIFEST
    whole = json.loads(path.read_bytes())
    whole["manifest"].update(values)
    path.write_text(json.dumps(whole))


def outside(folder: Path) -> dict[str, object]:
    """The first shard, with a file outside the folder."""
    first = json.loads((folder / MANIFEST).read_bytes())["manifest"]["shards"][0]
    return {**first, "file": "../../x.arrow"}


@pytest.mark.parametrize(
    ("damage", "facts"),
    [
        (lambda f: (f / MANIFEST).unlink(), ["uv run python -m search prepare FILE"]),
        (lambda f: (f / MANIFEST).write_bytes((f / MANIFEST).read_bytes()[:200]), ["corrupt", "JSONDecodeError"]),
        (lambda f: (f / MANIFEST).write_bytes(b"[]"), ["corrupt", "TypeError"]),
        (lambda f: (f / MANIFEST).write_bytes(b"{}"), ["corrupt", "KeyError"]),
        (lambda f: changed(f, version=2), ["version 2", "version 1"]),
        (lambda f: changed(f, classes=["x", "y", "z"]), ["corrupt", "fingerprint"]),
        (lambda f: changed(f, colour="red"), ["corrupt", "TypeError"]),
        (lambda f: changed(f, shards=[outside(f)]), ["corrupt", "'../../x.arrow'", "not in the store's folder"]),
    ],
)
def test_a_manifest_that_cannot_be_used_is_told(copied, damage, facts):
    damage(copied)
    with pytest.raises(StoreError) as error:
        Store(copied)
    tells(error.value, copied, MANIFEST, *facts)
    assert ("corrupt" in str(error.value)) == ("corrupt" in facts)


def test_a_folder_that_is_not_there_is_not_prepared(tmp_path):
    with pytest.raises(StoreError) as error:
        Store(tmp_path / "nowhere")
    tells(error.value, tmp_path / "nowhere", MANIFEST, "uv run python -m search prepare FILE")


def test_the_fingerprint_is_of_the_content(made, copied):
    assert Store(copied).fingerprint == Store(made[1]).fingerprint
    manifest, before = Manifest.read(copied)
    Manifest(**{**manifest.__dict__, "classes": ("a", "b", "d")}).write(copied)
    assert Store(copied).fingerprint != before


def test_only_what_decides_the_bytes_is_of_the_store():
    assert stored_settings(SETTINGS) == {
        "audio": {"kind": "audio", "sample_rate_hz": 8000, "stored_seconds": 10.0},
        "visual": {"kind": "frames", "per_clip": 4, "short_side": 256, "quality": 90},
    }


@pytest.mark.parametrize(
    ("make", "facts"),
    [
        (lambda: Frames(per_clip=0, crop=-1), [["`per_clip`", 1, 0], ["`crop`", 1, -1]]),
        (lambda: Frames(quality=101), [["`quality`", 1, 100, 101]]),
        (lambda: Frames(per_clip=2, count=3), [["`count`", "`per_clip`", "3 > 2"]]),
        (lambda: Audio(0, 1.0, 256, 128), [["`sample_rate_hz`", 1, 0]]),
    ],
)
def test_settings_that_cannot_be_are_named(make, facts):
    with pytest.raises(ValueError, match=facts[0][0]) as error:
        make()
    for mistake, its in zip(str(error.value).split("; "), facts, strict=True):
        tells(mistake, *its)
