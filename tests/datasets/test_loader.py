"""Batches of a store: always the same bits, the right frames, and logged reads of the test split."""

from __future__ import annotations

import errno
import gc
import json
import os
import pickle
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from datasets.index.clips import Clip, Index, Source
from datasets.loader.decode import Draw, Host
from datasets.loader.loader import SHARE, Splits, StoreData, open_store
from datasets.loader.prefetch import prefetch
from datasets.loader.transforms import MEAN, STD
from datasets.registry import DatasetError
from datasets.store.prepare import prepare
from datasets.store.settings import Audio, Frames
from datasets.store.store import MANIFEST, StoreError
from ogmge.distributed import Part, Ranks, part_of
from tests.support import ROOT, films
from tests.support.tells import tells

CPU = torch.device("cpu")
CLASSES = ("bell", "cat", "dog")
RATE = 8000
SOUND = Audio(sample_rate_hz=RATE, seconds=0.5, n_fft=256, hop=128, stored_seconds=1.0)
PICTURES = Frames(per_clip=6, short_side=48, crop=32)
FLOW = replace(PICTURES, count=2)
SETTINGS = {"audio": SOUND, "visual": PICTURES}
ALL = {**SETTINGS, "motion": FLOW}


def make(folder: Path, splits: dict[str, int], settings=SETTINGS, *, grey_levels: bool = False) -> Path:
    """Prepared store of clips with different sizes and lengths: JPEG folders, WAV files and flow folders."""
    clips = []
    for split, count in splits.items():
        for i in range(count):
            at = folder / "files" / f"{split} é {i}"
            size = (48, 64) if i % 3 else (64, 48)
            pictures = films.numbered(6, *size) if grey_levels else films.moving(6, *size, seed=i)
            films.jpegs(at / "rgb", pictures)
            for direction, channel in (("u", 0), ("v", 1)):
                films.jpegs(at / direction, [np.ascontiguousarray(p[..., channel]) for p in pictures])
            films.wav(at / "sound.wav", films.chirp(0.3 if i % 4 == 0 else 1.0, RATE), RATE)
            sources = {
                "audio": Source("audio", (at / "sound.wav",)),
                "visual": Source("images", (at / "rgb",)),
                "motion": Source("flow", (at / "u", at / "v")),
            }
            kept = {m: sources[m] for m in settings}
            clips.append(Clip(f"{split}-{i}", CLASSES[i % 3], split, None, kept))
    index = Index(CLASSES, tuple(clips), rows=len(clips))
    report = prepare("made", index, settings, folder / "store", parallel=map, clips_per_shard=8)
    assert not report.quarantined
    return folder / "store"


def opened(
    store: Path, settings=SETTINGS, *, fraction: float | None = 0.25, seed: int = 0, workers: int = 2
) -> StoreData:
    return open_store(str(store), settings, held_out_fraction=fraction, split_seed=seed, device=CPU, workers=workers)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("all"), {"train": 30, "test": 5}, ALL)


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("numbered"), {"train": 9, "validation": 6}, grey_levels=True)


def same(some, others) -> bool:
    """Return whether two lists of batches are equal to the bit."""
    return len(some) == len(others) and all(
        a.keys() == b.keys() and all(torch.equal(a[m], b[m]) for m in a) and torch.equal(y, z)
        for (a, y), (b, z) in zip(some, others, strict=True)
    )


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("feature", ["log_spectrogram", "mel_filter_bank"])
def test_batches_are_as_the_shapes_say(store, count, feature):
    settings = {
        "motion": replace(FLOW, count=count),
        "audio": replace(SOUND, feature=feature),
        "visual": replace(PICTURES, count=count),
    }
    data = opened(store, settings)
    times = () if count == 1 else (count,)
    sound = (1, 129, 32) if feature == "log_spectrogram" else (1, 128, 31)
    assert data.shapes == {"motion": (*times, 2, 32, 32), "audio": sound, "visual": (*times, 3, 32, 32)}
    assert list(data.shapes) == ["motion", "audio", "visual"]
    for batches in (data.train(batch_size=5, seed=0, epoch=0), data.validation(batch_size=5)):
        for x, y in batches:
            assert {m: tuple(v.shape) for m, v in x.items()} == {m: (len(y), *s) for m, s in data.shapes.items()}
            assert all(v.dtype == torch.float32 and v.isfinite().all() for v in x.values())
            assert y.dtype == torch.int64


def test_batches_are_the_same_bits_whatever_the_threads_and_wherever_one_begins(store):
    settings = {**ALL, "visual": replace(PICTURES, count=3)}
    whole = list(opened(store, settings, workers=1).train(batch_size=10, seed=3, epoch=1))
    assert len(whole) == 2
    for workers in (2, 5):
        data = opened(store, settings, workers=workers)
        assert same(list(data.train(batch_size=10, seed=3, epoch=1)), whole)
        for start in range(4):
            assert same(list(data.train(batch_size=10, seed=3, epoch=1, start=start)), whole[start:])


def test_each_epoch_and_each_seed_has_an_order_and_augmentations_of_its_own(store):
    data = opened(store, ALL)
    once = {key: list(data.train(batch_size=4, seed=key[0], epoch=key[1])) for key in ((0, 0), (0, 1), (1, 0))}
    for modality in ALL:
        assert len({str([x[modality].double().sum().item() for x, _ in b]) for b in once.values()}) == 3


def test_a_samples_augmentation_is_its_own_whatever_batch_it_is_in(store):
    data = opened(store, {"visual": replace(PICTURES, count=3)})
    big, small = (torch.cat([x["visual"] for x, _ in data.train(batch_size=size, seed=0, epoch=0)]) for size in (21, 3))
    assert torch.equal(big[: len(small)], small[: len(big)])


def test_an_epoch_shows_each_training_clip_at_most_once_and_only_whole_batches(store):
    data = opened(store, {"audio": SOUND})
    batches = list(data.train(batch_size=5, seed=0, epoch=0))
    assert [len(y) for _, y in batches] == [5] * (len(data.splits.train) // 5)
    assert [len(y) for _, y in data.train(batch_size=100, seed=0, epoch=0)] == [len(data.splits.train)]


def grey(x: torch.Tensor) -> np.ndarray:
    """Return the numbers of normalised frames of `films.numbered`."""
    level = (x.mean(dim=(-1, -2)) * torch.tensor(STD) + torch.tensor(MEAN)).mean(dim=-1) * 255
    return ((level - 4) / 2).round().int().numpy()


def test_validation_shows_each_clip_once_in_order_with_even_frames_and_the_middle_of_the_sound(numbered):
    data = opened(numbered, {**SETTINGS, "visual": replace(PICTURES, count=3)}, fraction=None)
    assert [e.id for e in data.splits.validation] == [f"validation-{i}" for i in range(6)]
    batches = list(data.validation(batch_size=4))
    assert [y.tolist() for _, y in batches] == [[0, 1, 2, 0], [1, 2]]
    assert grey(torch.cat([x["visual"] for x, _ in batches])).tolist() == [[1, 3, 5]] * 6
    for entry, found in zip(data.splits.validation, torch.cat([x["audio"] for x, _ in batches]), strict=True):
        (blob,) = data.host.store.blobs(entry, "audio")
        wave = np.frombuffer(blob, "<i2").astype(np.float32) / 32768
        wave = wave[2000:6000] if len(wave) == 8000 else np.pad(wave, (0, 4000 - len(wave)))
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(wave, 128), 256)[::128]
        expected = np.abs(np.fft.rfft(windows * np.hanning(257)[:-1])).T
        assert np.abs(found[0].exp().numpy() - 1e-7 - expected).max() < 1e-4 * expected.max()


def test_training_shows_a_frame_of_each_segment_and_in_time_all_of_them(numbered):
    data = opened(numbered, {"visual": replace(PICTURES, count=3)}, fraction=None)
    seen = np.concatenate(
        [grey(x["visual"]) for epoch in range(8) for x, _ in data.train(batch_size=3, seed=0, epoch=epoch)]
    )
    assert (seen // 2 == [0, 1, 2]).all()
    assert [sorted(set(column)) for column in seen.T.tolist()] == [[0, 1], [2, 3], [4, 5]]


def test_a_tiled_sound_begins_at_its_begin_in_training_too(store):
    data = opened(store, {"audio": replace(SOUND, tile=True)})
    for task in data.tasks(data.splits.train, 100, Draw(0, 0)):
        for entry, wave in zip(task.entries, data.host.share(task).x["audio"], strict=True):
            (blob,) = data.host.store.blobs(entry, "audio")
            assert wave.tolist() == np.resize(np.frombuffer(blob, "<i2"), 4000).tolist()


@pytest.mark.parametrize("training", [False, True])
def test_the_devices_crop_is_the_hosts(store, training):
    host = opened(store, ALL)
    splits = host.splits if training else Splits((), host.splits.train, ())  # whole images of the same clips
    each = (StoreData(replace(host.host, crops=crops), splits, CPU, 2) for crops in (True, False))
    batches = [d.train(batch_size=10, seed=0, epoch=0) if training else d.validation(batch_size=10) for d in each]
    for (ours, y), (theirs, z) in zip(*batches, strict=True):
        assert torch.equal(y, z)
        assert torch.equal(ours["audio"], theirs["audio"])
        assert (ours["visual"] - theirs["visual"]).abs().max() * min(STD) * 255 < 1.01
        assert (ours["motion"] - theirs["motion"]).abs().max() * 127.5 < 1.01


def test_horizontal_and_vertical_flow_are_cropped_alike(tmp_path):
    """If u and v are the same images, the model sees the same values, except for the sign of u after mirroring."""
    data = opened(make_same_flow(tmp_path), {"motion": FLOW})
    signs = set()
    for x, _ in data.train(batch_size=4, seed=0, epoch=0):
        for u, v in x["motion"].flatten(0, 1):
            near = [bool((u - sign * v).abs().max() < 0.02) for sign in (1, -1)]
            assert any(near)
            signs.add(near[0])
    assert signs == {True, False}


def make_same_flow(folder: Path) -> Path:
    clips = []
    for i in range(16):
        pictures = [np.ascontiguousarray(p[..., 0]) for p in films.moving(4, 48, 64, seed=i)]
        paths = tuple(films.jpegs(folder / f"{i}{d}", pictures) for d in "uv")
        clips.append(Clip(str(i), CLASSES[i % 3], "train", None, {"motion": Source("flow", paths)}))
    prepare("flow", Index(CLASSES, tuple(clips)), {"motion": FLOW}, folder / "store", parallel=map)
    return folder / "store"


def test_what_is_held_out_is_stratified_disjoint_and_redrawn_by_another_seed(store):
    first, again, other = (opened(store, seed=seed) for seed in (0, 0, 1))
    for data in (first, other):
        train, held = ({e.id for e in part} for part in (data.splits.train, data.splits.validation))
        assert not train & held
        assert len(train | held) == 30
        assert sorted(e.label for e in data.splits.validation) == sorted([0, 1, 2] * (len(held) // 3))
        assert [e.id for e in data.splits.test] == [f"test-{i}" for i in range(5)]
    assert first.splits == again.splits
    assert first.splits.validation != other.splits.validation
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_the_publishers_validation_split_is_taken_where_there_is_one(numbered):
    for fraction in (None, 0.5):
        data = opened(numbered, fraction=fraction)
        assert (len(data.splits.train), len(data.splits.validation)) == (9, 6)


def test_the_fingerprint_tells_what_is_shown(store):
    shown = [
        SETTINGS,
        {**SETTINGS, "audio": replace(SOUND, seconds=0.25)},
        {"audio": SOUND},
        dict([*SETTINGS.items()][::-1]),
    ]
    assert len({opened(store, settings).fingerprint for settings in shown}) == 4


def test_each_reading_of_test_clips_is_on_record(store):
    data = opened(store)
    record = store / "test_readings.jsonl"
    record.unlink(missing_ok=True)
    list(data.validation(batch_size=10))
    assert not record.exists()
    assert sum(len(y) for _, y in data.test(batch_size=3, reason="confirm é, seed 1")) == 5
    data.test(batch_size=3, reason="evaluate")  # logged even if the batches are never read
    lines = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    assert [line["reason"] for line in lines] == ["confirm é, seed 1", "evaluate"]
    assert all(line["time"].endswith("+00:00") for line in lines)
    with pytest.raises(ValueError, match="`reason`"):
        data.test(batch_size=3, reason=" ")
    record.unlink()
    record.mkdir()
    with pytest.raises(DatasetError) as error:
        data.test(batch_size=3, reason="evaluate")
    tells(error.value, record, os.strerror(errno.EISDIR))
    record.rmdir()


@pytest.mark.parametrize(
    ("splits", "fraction", "facts"),
    [
        ({"train": 3, "test": 1}, None, [["validation clips", "validation split"]]),
        ({"train": 1}, 0.1, [["validation clips", "0.1", "1 training clip"]]),
        ({"validation": 2}, None, [["training clips"]]),
        ({"test": 1}, 0.1, [["training clips"], ["validation clips", "0.1", "0 training clips"]]),
    ],
)
def test_a_store_with_nothing_to_train_or_validate_on_is_refused(tmp_path, splits, fraction, facts):
    folder = make(tmp_path, splits, {"audio": SOUND})
    with pytest.raises(DatasetError) as error:
        opened(folder, {"audio": SOUND}, fraction=fraction)
    lines = str(error.value).splitlines()
    assert len(lines) == len(facts)
    for line, its in zip(lines, facts, strict=True):
        tells(line, folder, *its)


def test_a_test_split_that_is_not_there_is_named(numbered):
    with pytest.raises(DatasetError) as error:
        opened(numbered, fraction=None).test(batch_size=2, reason="evaluate")
    tells(error.value, numbered, "test split")


def test_a_store_of_other_settings_or_none_is_refused(store, tmp_path):
    with pytest.raises(StoreError) as error:
        opened(store, {"audio": replace(SOUND, sample_rate_hz=16000)})
    tells(error.value, store, "`sample_rate_hz`", "audio", 8000, 16000, "`dataset.store`")
    with pytest.raises(StoreError) as error:
        opened(tmp_path)
    tells(error.value, tmp_path, MANIFEST, "uv run python -m search prepare FILE")


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("prefetch")]


def test_a_flipped_byte_ends_the_epoch_and_no_thread_is_left(tmp_path):
    folder = make(tmp_path, {"train": 12}, {"visual": PICTURES})
    data = opened(folder, {"visual": replace(PICTURES, count=6)})
    shard = folder / "shard-00000.arrow"
    content = bytearray(shard.read_bytes())
    content[content.index(b"\xff\xd8\xff") + 300] ^= 1
    shard.write_bytes(content)
    with pytest.raises(StoreError) as error:
        [*data.train(batch_size=12, seed=0, epoch=0), *data.validation(batch_size=12)]
    tells(error.value, shard, "corrupt", "visual", "train-0")
    assert not threads()


def test_threads_end_when_a_pass_is_left_in_the_middle(store):
    data = opened(store, workers=3)
    batches = data.train(batch_size=2, seed=0, epoch=0)
    next(batches)
    assert threads()
    batches.close()
    assert not threads()
    dropped = data.validation(batch_size=1)
    next(dropped)
    del dropped
    gc.collect()
    assert not threads()


@hypothesis_settings(max_examples=30, deadline=None)
@given(
    count=st.integers(0, 30), workers=st.integers(1, 5), ahead=st.integers(1, 8), broken=st.none() | st.integers(0, 30)
)
def test_prefetched_results_come_in_order_bounded_and_errors_in_their_turn(count, workers, ahead, broken):
    begun: list[int] = []

    def work(task: int) -> int:
        begun.append(task)
        if task == broken:
            raise KeyError(task)
        return 2 * task

    found = []

    def take() -> None:
        for result in prefetch(work, range(count), threads=workers, ahead=ahead):
            assert len(begun) <= len(found) + 1 + ahead
            found.append(result)

    if broken is not None and broken < count:
        with pytest.raises(KeyError):
            take()
        assert found == [2 * i for i in range(broken)]
    else:
        take()
        assert found == [2 * i for i in range(count)]
    assert not threads()


def test_another_process_reads_the_same_bits(store, tmp_path):
    data = opened(store, ALL)
    here = list(data.train(batch_size=10, seed=0, epoch=0))
    (tmp_path / "data.pickle").write_bytes(pickle.dumps(data))
    code = (
        "import pickle, sys, torch; data = pickle.load(open(sys.argv[1], 'rb'));"
        "torch.save(list(data.train(batch_size=10, seed=0, epoch=0)), sys.argv[2])"
    )
    paths = [str(tmp_path / name) for name in ("data.pickle", "batches.pt")]
    subprocess.run([sys.executable, "-c", code, *paths], cwd=ROOT, check=True)
    assert same(torch.load(paths[1]), here)


def test_a_batch_is_made_of_shares_of_one_size(store):
    data = opened(store)
    sizes = [len(task.entries) for task in data.tasks(data.splits.train[:21], 10, None)]
    assert sizes == [SHARE, 10 - SHARE, SHARE, 10 - SHARE, 1]
    assert isinstance(data.host, Host)


def test_a_draw_is_uniform_and_each_sample_seed_and_epoch_has_its_own():
    numbers = np.concatenate([Draw(0, 0).numbers(f"clip {i}", 50) for i in range(400)])
    assert numbers.min() >= 0
    assert numbers.max() < 1
    steps = np.arange(1, len(numbers) + 1) / len(numbers)
    assert np.abs(np.sort(numbers) - steps).max() < 1.63 / len(numbers) ** 0.5  # Kolmogorov-Smirnov, 1 %
    assert len(np.unique(numbers)) == len(numbers)
    first = [Draw(0, 0).numbers("a", 3), Draw(1, 0).numbers("a", 3), Draw(0, 1).numbers("a", 3)]
    assert len({tuple(n) for n in first}) == 3
    assert np.array_equal(Draw(0, 0).numbers("a", 2), first[0][:2])


@pytest.mark.parametrize("world", [2, 3])
def test_a_process_makes_its_part_of_each_batch_and_no_more(store, world):
    """The parts have the bits of the whole batch; some are empty if a batch has fewer samples than processes."""
    data = opened(store)
    for rank in range(world):
        part, whole = data.part(rank, world), Part(data, Ranks(rank, world))
        assert same(list(part.train(batch_size=5, seed=0, epoch=0)), list(whole.train(batch_size=5, seed=0, epoch=0)))
        assert same(list(part.validation(batch_size=2)), list(whole.validation(batch_size=2)))
        made = [len(task.entries) for task in part.tasks(data.splits.train[:10], 5, Draw(0, 0))]
        assert sum(made) == 2 * len(range(5)[part_of(5, Ranks(rank, world))])


def test_all_but_the_test_clips_can_be_trained_on(store):
    data = opened(store)
    everything = data.all_for_training()
    assert set(everything.splits.train) == {*data.splits.train, *data.splits.validation}
    assert (everything.splits.validation, everything.splits.test) == ((), data.splits.test)
    assert everything.part(1, 2).splits == everything.splits
