"""Audio of odd levels: silent, not a number, or beyond full scale."""

from __future__ import annotations

import json
import struct
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datasets.index.clips import Clip, Index, Source
from datasets.publishers.table import Table
from datasets.store.prepare import Report, prepare
from datasets.store.settings import Audio, Limits
from datasets.store.sound import audio
from datasets.store.source_file import ClipWarning, Unusable
from datasets.store.store import Manifest
from tests.support.films import chirp, moving, wav, write
from tests.support.tells import tells

RATE = 16000
TONE = (0.3 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)).astype(np.float32)
QUIET = TONE / TONE.max()  # a peak of 0 dBFS, to be lowered
SETTINGS = {"audio": Audio(sample_rate_hz=RATE, seconds=0.5, n_fft=256, hop=128)}
ANY = Limits(max_quarantined=1.0)


def floats(path: Path, sound: np.ndarray, kind: type = np.float32) -> Path:
    """Write a WAV file of float samples, [samples] or [samples, channels]."""
    size, channels = np.dtype(kind).itemsize, 1 if sound.ndim == 1 else sound.shape[1]
    data = sound.astype(kind).tobytes()
    form = struct.pack("<IHHIIHH", 16, 3, channels, RATE, RATE * size * channels, size * channels, 8 * size)
    path.write_bytes(b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + form)
    with path.open("ab") as file:
        file.write(b"data" + struct.pack("<I", len(data)) + data)
    return path


def stored(path: Path, limits: Limits = ANY, **part: float) -> np.ndarray:
    return np.frombuffer(audio(Source("audio", (path,), **part), RATE, 10.0, limits), "<i2")


def lowered(dbfs: float) -> np.ndarray:
    return QUIET * 10 ** (dbfs / 20)


def silent_video(path: Path) -> Path:
    return write(path.with_suffix(".mp4"), moving(25, 32, 48), np.zeros((1, 44100)))


@pytest.mark.parametrize(
    ("make", "level"),
    [
        (lambda path: wav(path, np.zeros((1, RATE)), RATE), "-inf"),
        (lambda path: wav(path, np.zeros((2, 44100)), 44100), "-inf"),
        (lambda path: write(path.with_suffix(".mp3"), None, np.zeros((1, 44100)), codecs=("", "libmp3lame")), "-inf"),
        (silent_video, "-inf"),
        (lambda path: wav(path, np.full((1, RATE), 0.25), RATE), "-inf"),  # a constant offset
        (lambda path: floats(path, np.stack([TONE, -TONE], axis=1)), "-inf"),  # channels that cancel each other
        (lambda path: floats(path, lowered(-81.0)), "-81.0"),
    ],
)
def test_silent_audio_is_told_with_its_level(tmp_path, make, level):
    with pytest.raises(Unusable, match=r"^silent: ") as reason:
        stored(make(tmp_path / "a.wav"))
    tells(reason.value, f"{level} dBFS", "`silence_dbfs`", -80)


@pytest.mark.parametrize(
    ("dbfs", "threshold", "is_silent"),
    [(-79.0, -80.0, False), (-50.0, -40.0, True), (-85.0, -90.0, False), (-85.0, None, False)],
)
def test_the_level_of_silence_is_a_setting(tmp_path, dbfs, threshold, is_silent):
    path, limits = floats(tmp_path / "a.wav", lowered(dbfs)), replace(ANY, silence_dbfs=threshold)
    if is_silent:
        with pytest.raises(Unusable, match=r"^silent: "):
            stored(path, limits)
    else:
        assert np.abs(stored(path, limits)).max() >= 1


def test_only_the_clips_own_part_counts(tmp_path):
    path = floats(tmp_path / "a.wav", np.concatenate([TONE, np.zeros(2 * RATE), np.full(RATE, np.nan)]))
    assert np.abs(stored(path, begin_s=0.0, end_s=3.0)).max() > 9000
    with pytest.raises(Unusable, match=r"^silent: "):
        stored(path, begin_s=2.1, end_s=3.9)
    with pytest.raises(Unusable, match=r"^cannot be decoded: 16,000 of 80,000 audio samples"):
        stored(path)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("channels", [1, 2])
def test_audio_that_is_no_number_cannot_be_decoded(tmp_path, kind, value, channels):
    """A float64 of 1e300 is no float32."""
    with np.errstate(over="ignore"):
        sound = TONE.astype(np.float64).copy()
        sound[1000] = value
        path = floats(tmp_path / "a.wav", sound if channels == 1 else np.stack([TONE, sound], axis=1), kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Unusable, match=r"^cannot be decoded: 1 of 32,000 audio samples are NaN or infinite"):
            stored(path)


@pytest.mark.parametrize(
    ("sound", "peak", "share"),
    [
        (TONE * 32768, "+79.9", "100 %"),  # integers of 16 bits
        (TONE * 2**31, "+176.2", "100 %"),  # of 32 bits
        (QUIET * 1.1, "+0.8", "28 %"),
        (np.concatenate([TONE[:160] * 32768, np.zeros(4 * RATE)]), "+79.9", "0 %"),  # a short event
    ],
)
def test_audio_beyond_full_scale_is_clipped_with_a_warning(tmp_path, sound, peak, share):
    path = floats(tmp_path / "a.wav", sound)
    with pytest.warns(ClipWarning) as given:
        assert np.abs(stored(path).astype(int)).max() >= 32767
    tells(given[0].message, f"peak {peak} dBFS", f"{share} of the samples", "is clipped")


def test_loud_audio_gives_no_warning(tmp_path):
    loud = np.clip(chirp(2, RATE) * 4, -1, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stored(wav(tmp_path / "a.wav", loud, RATE))
        stored(write(tmp_path / "b.mp3", None, loud * 0.98, rate=RATE, codecs=("", "libmp3lame")))


# ---- in a store ----


def of(paths: list[Path]) -> Index:
    return Index(("x",), tuple(Clip(p.name, "x", "train", None, {"audio": Source("audio", (p,))}) for p in paths))


def run(index: Index, folder: Path, limits: Limits = ANY) -> Report:
    return prepare("sounds", index, SETTINGS, folder, limits=limits, parallel=map, clips_per_shard=1)


@pytest.fixture
def index(tmp_path):
    sounds = {"good": TONE, "silent": 0 * TONE, "nan": np.nan * TONE, "one": TONE * 32768, "two": TONE * 32768}
    return of([floats(tmp_path / f"{name}.wav", sound) for name, sound in sounds.items()])


def test_a_preparation_counts_silent_and_clipped_audio(tmp_path, index):
    report = run(index, tmp_path / "store")
    assert [(id, reason.partition(":")[0]) for id, reason in report.quarantined] == [
        ("silent.wav", "silent"),
        ("nan.wav", "cannot be decoded"),
    ]
    (note,) = report.notes
    tells(note, "is clipped in 2 clips, e.g. one.wav: peak +79.9 dBFS")
    assert Manifest.read(tmp_path / "store")[0].notes == (note,)  # which `check` prints
    again = run(index, tmp_path / "store")
    assert (again.skipped_shards, again.notes) == (5, (note,))


def test_silent_clips_are_tried_again_if_the_level_of_silence_changed(tmp_path, index):
    """All others are left as they are, also in a store that was prepared before there was such a level."""
    folder = tmp_path / "store"
    run(index, folder)
    louder = run(index, folder, replace(ANY, silence_dbfs=None))
    assert (louder.clips, louder.skipped_shards) == (4, 4)
    assert [id for id, _ in louder.quarantined] == ["nan.wav"]


@pytest.mark.parametrize(("value", "accepted"), [(None, True), (-60, True), (-60.5, True), (0.0, False), (3.0, False)])
def test_the_level_of_silence_is_an_option_of_each_data_set(value, accepted):
    options = {"source": "a.csv", "store": "s", "audio": "sound", "silence_dbfs": value}
    if accepted:
        assert Table(**options).limits.silence_dbfs == value
    else:
        with pytest.raises(ValueError, match=r"`silence_dbfs` must be below 0"):
            Table(**options)


def test_shards_without_warnings_are_described_as_before(tmp_path, index):
    run(index, tmp_path / "store")
    keys = [set(json.loads((tmp_path / "store" / f"shard-0000{i}.json").read_text())) for i in (0, 3)]
    assert keys[1] - keys[0] == {"warned"}
