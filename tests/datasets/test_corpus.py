"""Whole files of many kinds have all their frames, seconds and level; files that are cut short are quarantined."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from datasets.index.clips import Source
from datasets.store.frames import frames
from datasets.store.optical_flow import flow
from datasets.store.sound import audio
from datasets.store.source_file import Unusable
from tests.support.films import level
from tests.support.tracks import (
    Cover,
    Data,
    Pictures,
    Sine,
    Subtitle,
    Track,
    cover_before_tracks,
    each,
    write_tracks,
)

RATE = 16000
PADDING_S = 0.15  # what a lossy encoder may add, if the container does not say how much
V, A = Pictures(), Sine()
LOUD, DARK = Sine(amplitude=0.9), Pictures(first=100)  # the tracks that must not be taken
ORDINARY = Disposition(0)
DEFAULT = Disposition.default


@dataclass(frozen=True)
class Film:
    """A file, and what must be stored of it: the number of frames, the seconds of sound, its level."""

    name: str
    tracks: tuple[Track, ...]
    frames: int | None = 20
    seconds: float | None = 2.0
    amplitude: float = 0.5
    options: dict[str, str] = field(default_factory=dict)
    shift_ms: int = 0
    silence_s: float = 0.0  # before the sound


def sound(name: str, codec: str, rate_hz: int = RATE, layout: str = "mono") -> Film:
    return Film(name, (Sine(codec, rate_hz, layout),), frames=None)


def picture(name: str, codec: str, pix_fmt: str = "yuv420p", **options: str) -> Film:
    return Film(name, (Pictures(codec, pix_fmt, options=options),), seconds=None)


FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
FINE = {"qmin": "1", "qmax": "2"}
MPEG4 = Pictures("mpeg4", options=FINE)
VP8 = Pictures("libvpx")
OPUS = Sine("libopus", 48000)
LONG_MPEG4 = Pictures("mpeg4", times_ms=each(40), options=FINE)
SPARSE = Pictures(times_ms=(0, 3000, 6000), last_ms=3000)
ONE = Pictures(times_ms=(0,), last_ms=4000)
STILL = Pictures(times_ms=each(20), last_ms=3000)
VARIABLE = Pictures(times_ms=(0, 40, 80, 700, 1500, 1540), last_ms=460)
B_FRAMES = {"bf": "3", "b_strategy": "0", "g": "12"}

CONTAINERS = [
    Film("plain.mp4", (V, A)),
    Film("plain.mkv", (V, A)),
    Film("plain.webm", (VP8, OPUS)),
    Film("plain.avi", (MPEG4, Sine("libmp3lame", 44100))),
    Film("plain.mov", (MPEG4, Sine("pcm_s16le"))),
    Film("plain.flv", (Pictures("flv"), Sine("libmp3lame", 44100))),
    Film("plain.ts", (V, A)),
    Film("fragments.mp4", (V, A), options=FRAGMENTS),
    sound("a.wav", "pcm_s16le"),
    sound("a.flac", "flac", 44100, "stereo"),
    sound("a.mp3", "libmp3lame", 44100, "stereo"),
    sound("a.m4a", "aac", 44100, "stereo"),
    sound("a.opus", "libopus", 48000, "stereo"),
    sound("a.aiff", "pcm_s16be", 22050),
    sound("a.w64", "pcm_s24le", 48000),
    sound("a.au", "pcm_s16be", 8000),
    sound("a.mka", "flac"),
    sound("a.ac3", "ac3", 48000, "5.1"),
    sound("flac.ogg", "flac", 44100, "stereo"),
]
PIXELS = [
    picture("yuv422p.mkv", "ffv1", "yuv422p"),
    picture("yuv444p.mp4", "libx264", "yuv444p"),
    picture("10_bits.mp4", "libx265", "yuv420p10le", **{"x265-params": "log-level=none"}),
    picture("gray.mkv", "ffv1", "gray"),
    picture("rgb.mkv", "ffv1", "bgr0"),
    picture("gray16.mkv", "ffv1", "gray16le"),
    picture("full_range.avi", "mjpeg", "yuvj420p", **FINE),
    picture("raw.avi", "rawvideo", "bgr24"),
    picture("png.mov", "png", "rgb24"),
    picture("prores.mov", "prores_ks", "yuv422p10le"),
    picture("vp9.webm", "libvpx-vp9"),
    picture("mpeg2.ts", "mpeg2video", **FINE),
]
SAMPLES = [
    sound("u8.wav", "pcm_u8", 8000),
    sound("s24.wav", "pcm_s24le", 96000, "stereo"),
    sound("s32.wav", "pcm_s32le", 44100, "3.0"),
    sound("flt.wav", "pcm_f32le", 192000),
    sound("dbl.wav", "pcm_f64le", 11025, "quad"),
    sound("six_channels.wav", "pcm_s16le", 48000, "5.1"),
    sound("planar.mp4", "alac", 44100, "stereo"),
    sound("mulaw.au", "pcm_mulaw", 8000),
]
ORDERS = [
    Film("sound_first.mp4", (A, V)),
    Film("sound_first.mkv", (A, V)),
    Film("sound_first.avi", (Sine("libmp3lame", 44100), MPEG4)),
    Film("subtitle_first.mkv", (Subtitle(), V, A)),
    Film("subtitle_first.mp4", (Subtitle("mov_text"), V, A)),
    Film("cover_first.mp4", (V, A, Cover())),
    Film("cover_first.mkv", (Cover(), V, A)),
    Film("unmarked_cover_first.mp4", (Cover(mark=None), V, A)),
    Film("unmarked_cover_first.mkv", (Cover(mark=None), V, A)),
    Film("cover.mp3", (Sine("libmp3lame", 44100), Cover()), frames=None),
    Film("two_sounds.mkv", (Sine(amplitude=0.9, mark=ORDINARY), V, Sine(mark=DEFAULT))),
    Film("two_sounds.mp4", (V, A, Sine(amplitude=0.9, mark=ORDINARY))),
    Film("more_channels.mkv", (LOUD, V, Sine(layout="stereo"))),
    Film("two_sizes.mkv", (Pictures(first=100, size=(48, 32)), V, A)),
    Film("two_sizes.ts", (Pictures(first=100, size=(48, 32)), V, A)),
    Film("data.ts", (Data(), V, A)),
]
LENGTHS = [
    Film("late.mp4", (V, A), shift_ms=5000),
    Film("late.mkv", (V, A), shift_ms=5000),
    Film("sound_longer.mkv", (V, Sine(seconds=5)), seconds=5),
    Film("sound_longer.flv", (Pictures("flv"), Sine("libmp3lame", 44100, seconds=5)), seconds=5),
    Film("sound_shorter.mkv", (Pictures(times_ms=each(40)), A), frames=40),
    Film("sound_shorter.webm", (Pictures("libvpx", times_ms=each(40)), OPUS), frames=40),
    Film("sound_shorter.flv", (Pictures("flv", times_ms=each(40)), Sine("libmp3lame", 44100)), frames=40),
    Film(
        "sound_shorter.avi", (Pictures("mpeg4", times_ms=each(40), options=FINE), Sine("libmp3lame", 44100)), frames=40
    ),
    Film("sound_later.mp4", (V, Sine(begin_s=1)), seconds=3, silence_s=1),
    Film("sound_later.mkv", (V, Sine(begin_s=1)), seconds=3, silence_s=1),
    Film("subtitle_longer.mkv", (V, A, Subtitle(seconds=9))),
    Film("subtitle_longer.webm", (VP8, OPUS, Subtitle("webvtt", 9))),
    Film("few.mp4", (SPARSE, Sine(seconds=9)), frames=3, seconds=9),
    Film("few.mkv", (SPARSE, Sine(seconds=9)), frames=3, seconds=9),
    Film("few.flv", (Pictures("flv", times_ms=(0, 3000, 6000)), Sine("libmp3lame", 44100, seconds=9)), 3, 9),
    Film("one.mp4", (ONE, Sine(seconds=4)), frames=1, seconds=4),
    Film("one.webm", (Pictures("libvpx", times_ms=(0,), last_ms=4000),), frames=1, seconds=None),
    Film("still.mp4", (STILL,), seconds=None),
    Film("still.mkv", (STILL,), seconds=None),
    Film("still.flv", (Pictures("flv", last_ms=3000),), seconds=None),
    Film("variable.mp4", (VARIABLE, A), frames=6),
    Film("variable.mkv", (VARIABLE, A), frames=6),
    Film("b_frames.mp4", (Pictures(options=B_FRAMES), A)),
    Film("b_frames.avi", (Pictures(options=B_FRAMES),), seconds=None),
    Film("b_frames.ts", (Pictures(options=B_FRAMES), A)),
    Film("edit_list.mp4", (V, A), frames=15, seconds=1.5, options={"avoid_negative_ts": "disabled"}, shift_ms=-500),
]
FILMS = [*CONTAINERS, *PIXELS, *SAMPLES, *ORDERS, *LENGTHS]


def make(film: Film, folder: Path) -> Path:
    path = write_tracks(folder / film.name, film.tracks, film.options, film.shift_ms)
    return cover_before_tracks(path) if film.name == "cover_first.mp4" else path


def heard(path: Path, begin: float = 0.0, end: float | None = None) -> np.ndarray:
    return np.frombuffer(audio(Source("audio", (path,), begin, end), RATE, 60.0), "<i2") / 32768


def shown(path: Path, begin: float = 0.0, end: float | None = None) -> list[int]:
    """Return the numbers of the frames."""
    return [level(jpeg) for jpeg in frames(Source("video", (path,), begin, end), 1000, 256, 95)]


def test_the_corpus_has_files_of_60_kinds():
    assert len({film.name for film in FILMS}) == len(FILMS) >= 60


@pytest.mark.parametrize("film", FILMS, ids=lambda film: film.name)
def test_a_whole_file_has_all_its_frames_seconds_and_level(tmp_path, film):
    path = make(film, tmp_path)
    if film.frames is None:
        with pytest.raises(Unusable, match=r"^no picture: "):
            shown(path)
    else:
        numbers = np.array(shown(path))
        assert len(numbers) == film.frames
        first = 20 - film.frames if film.shift_ms < 0 else 0
        assert np.abs(numbers - first - np.arange(film.frames)).max() <= 1
    if film.seconds is None:
        with pytest.raises(Unusable, match=r"^no sound: "):
            heard(path)
    else:
        wave = heard(path)
        assert film.seconds - 0.01 <= len(wave) / RATE <= film.seconds + PADDING_S
        silence, rest = np.split(wave[: round(film.seconds * RATE)], [round(film.silence_s * RATE)])
        assert np.abs(silence[: -RATE // 10]).max(initial=0) < 0.01
        inner = rest[RATE // 10 : -RATE // 10]
        assert np.sqrt(np.mean(inner**2)) == pytest.approx(film.amplitude / np.sqrt(2), rel=0.05)


def test_what_an_edit_list_leaves_out_is_no_part_of_the_film(tmp_path):
    """A phone trims a film by its edit list alone: all packets stay in the file."""
    path = write_tracks(tmp_path / "a.mp4", (V, A))
    content = bytearray(path.read_bytes())
    for at in (found.start() for found in re.finditer(b"elst", content)):
        length = slice(at + 12, at + 16)  # of the only entry, in milliseconds
        content[length] = (int.from_bytes(content[length], "big") // 4).to_bytes(4, "big")
    path.write_bytes(content)
    assert np.abs(np.array(shown(path)) - np.arange(5)).max() <= 1
    assert len(heard(path)) == RATE // 2


def test_a_last_frame_that_stays_on_screen_ends_no_matroska_file_early(tmp_path):
    """The file declares 9 s, but not how long the last frame is shown; its bytes prove that nothing is missing."""
    path = write_tracks(tmp_path / "a.mkv", (V,))
    content = bytearray(path.read_bytes())
    at = content.index(b"\x44\x89\x88") + 3  # the element Duration, eight bytes
    content[at : at + 8] = struct.pack(">d", 9000.0)
    path.write_bytes(content)
    assert len(shown(path)) == 20


FAST = {"movflags": "faststart"}
EACH_KEY = Pictures(options={"g": "1"})  # frames of equal size
SHORTENED = [  # the files declare a size or a length
    Film("a.mp4", (EACH_KEY, A), options=FAST),
    Film("a.mov", (MPEG4, Sine("pcm_s16le")), options=FAST),
    Film("fragments.mp4", (EACH_KEY, A), options=FRAGMENTS),
    Film("a.mkv", (V, A)),
    Film("a.webm", (VP8, OPUS)),
    Film("subtitle_longer.mkv", (Subtitle(seconds=9), V, A)),
    Film("a.avi", (MPEG4, Sine("libmp3lame", 44100))),
    Film("a.flv", (Pictures("flv", options=FINE), Sine("libmp3lame", 44100))),
    Film("a.ts", (V, A)),
    Film("b_frames.ts", (Pictures("mpeg2video", options={"bf": "2"}), A)),
    sound("a.wav", "pcm_s16le"),
    sound("a.w64", "pcm_s24le"),
    sound("a.aiff", "pcm_s16be"),
    sound("a.au", "pcm_s16be"),
    sound("a.flac", "flac"),
    sound("a.mka", "flac"),
]


def refused(take, path: Path) -> bool:
    try:
        take(path)
    except Unusable as reason:
        return str(reason).startswith("cannot be decoded: ")
    return False


@pytest.mark.parametrize("share", [0.4, 0.6, 0.8])
@pytest.mark.parametrize("film", SHORTENED, ids=lambda film: film.name)
def test_a_file_whose_end_is_missing_is_no_shorter_clip(tmp_path, film, share):
    path = make(film, tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: round(share * len(content)) // 188 * 188 + 5])
    assert film.frames is None or refused(shown, path)
    assert refused(heard, path)


@pytest.mark.parametrize("share", [0.5, 0.8])
@pytest.mark.parametrize("name", ["a.mkv", "a.webm", "a.avi", "a.flv"])
def test_a_download_that_stopped_in_reserved_space_is_no_shorter_clip(tmp_path, name, share):
    path = make(next(film for film in SHORTENED if film.name == name), tmp_path)
    content = path.read_bytes()
    there = round(share * len(content))
    path.write_bytes(content[:there] + bytes(len(content) - there))
    assert refused(shown, path)
    assert refused(heard, path)


SLIDES = Pictures(times_ms=(0, 3000, 6000), last_ms=3000, step=30)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize(
    ("begin", "end", "slides"), [(4, 5, [1]), (2, 4, [1]), (3, 6, [1]), (3, 7, [1, 2]), (8, 9, [2])]
)
def test_a_part_in_which_no_frame_begins_has_the_one_on_screen(tmp_path, ending, begin, end, slides):
    path = write_tracks(tmp_path / f"a.{ending}", (SLIDES, Sine(seconds=9)))
    assert [round(number / 30) for number in shown(path, begin, end)] == slides


def misplaced(part: np.ndarray, whole: np.ndarray, at: int) -> int:
    """Return by how many samples a part lies elsewhere than `at`, at most half a period of the sine."""
    lags = np.arange(-16, 17)
    inner = slice(32, -32)  # a resampler changes the first and last samples
    errors = [np.abs(part - whole[at + lag : at + lag + len(part)])[inner].max() for lag in lags]
    assert min(errors) < 0.1
    return abs(int(lags[np.argmin(errors)]))


@pytest.mark.parametrize("film", [*CONTAINERS[:7], *ORDERS[:4], *LENGTHS[:2]], ids=lambda film: film.name)
def test_a_part_is_that_of_the_whole_file(tmp_path, film):
    """Frames of an AVI file are one late; WebM and FLV files give times of sound in whole milliseconds."""
    path = make(film, tmp_path)
    part = np.array(shown(path, 1, 1.5))
    late = film.name.endswith(".avi")
    assert np.abs(part - np.arange(10 - late, 15 - late)).max() <= 1
    assert misplaced(heard(path, 1, 1.5), heard(path), RATE) <= RATE // 1000


def test_a_part_after_the_last_picture_shows_it_while_there_is_sound(tmp_path):
    path = write_tracks(tmp_path / "a.mkv", (V, Sine(seconds=5), Subtitle(seconds=9)))
    assert shown(path, 3, 4) == shown(path)[-1:]
    with pytest.raises(Unusable, match=r"^too short: .*\b5\.\d s.*\b6 s"):
        shown(path, 6, 7)


def test_a_part_before_the_first_picture_has_none(tmp_path):
    late = Pictures(times_ms=tuple(3000 + 100 * i for i in range(20)))
    path = write_tracks(tmp_path / "a.mkv", (late, Sine(seconds=5)))
    assert len(shown(path, 3, 4)) == 10
    with pytest.raises(Unusable, match=r"^no picture: .*\b3 s.*\b2 s"):
        shown(path, 1, 2)


def test_a_single_picture_is_shown_at_any_time(tmp_path):
    path = write_tracks(tmp_path / "a.png", (Pictures("png", "rgb24", times_ms=(0,), first=7),))
    assert shown(path, 30, 35) == [7]


def test_frames_whose_times_are_those_of_their_decoding_are_all_shown(tmp_path):
    """An AVI file with B-frames, and an MPEG-4 file whose packets were copied from it."""
    avi = write_tracks(tmp_path / "a.avi", (Pictures(options=B_FRAMES),))
    with av.open(str(avi)) as old, av.open(str(tmp_path / "a.mp4"), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.pts, packet.stream = packet.dts, stream
                new.mux(packet)
    for path in (avi, tmp_path / "a.mp4"):
        assert np.abs(np.array(shown(path)) - np.arange(20)).max() <= 1
        assert np.abs(np.array(shown(path, 0.5, 1.5)) - np.arange(5, 15)).max() <= 1


def test_flow_is_computed_from_the_best_track(tmp_path):
    path = write_tracks(tmp_path / "a.mp4", (Cover(mark=None), V, A))
    assert len(flow(Source("flow", (path,)), 50, 256, 90)) == 2 * 19
