"""Encoding of videos, audio and images: the right frames, audio to the sample, or a reason for quarantine."""

from __future__ import annotations

import io
import os
import socket
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st

from datasets.index.clips import Source
from datasets.store.frames import even_positions, frames
from datasets.store.jpeg import encode
from datasets.store.optical_flow import flow
from datasets.store.settings import Limits
from datasets.store.sound import audio
from datasets.store.source_file import Unusable
from tests.support.films import (
    chirp,
    film_frames,
    jpegs,
    level,
    moving,
    numbered,
    sound_frames,
    texture,
    wav,
    write,
)
from tests.support.reference_audio import RATES, stored, thinned
from tests.support.tells import tells

CODECS = {
    "mp4": ("libx264", "aac"),
    "avi": ("mpeg4", "libmp3lame"),
    "flv": ("flv", "libmp3lame"),
    "mkv": ("libx264", "aac"),
}


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Files of 60 numbered frames and 2.4 s of audio in each container, with odd characters in the path."""
    folder = tmp_path_factory.mktemp("films of ünïcode")
    for ending, codecs in CODECS.items():
        fine = {} if codecs[0] == "libx264" else {"qmin": "1", "qmax": "2"}  # default quality blurs the numbers
        write(folder / f"a b%d.{ending}", numbered(60), chirp(2.4, 44100, 2), codecs=codecs, options=fine)
    return {ending: folder / f"a b%d.{ending}" for ending in CODECS}


def samples(blob: bytes) -> np.ndarray:
    return np.frombuffer(blob, "<i2").astype(np.float64) / 32768


@given(st.integers(1, 500), st.integers(1, 50))
def test_positions_are_evenly_spaced_and_symmetric(there, wanted):
    found = even_positions(there, wanted)
    assert len(found) == min(there, wanted)
    assert sorted(set(found)) == found
    assert found[0] >= 0
    assert found[-1] < there
    gaps = np.diff([-1 - found[0], *found, 2 * there - 1 - found[-1]])  # mirrored at both ends
    assert gaps.max() - gaps.min() <= 2


@pytest.mark.parametrize("ending", CODECS)
@pytest.mark.parametrize(
    ("begin", "end", "inside"), [(0, None, range(60)), (1, 2, range(25, 50)), (2, 9, range(50, 60))]
)
def test_the_frames_are_those_of_the_clip_evenly_spaced(films, ending, begin, end, inside):
    found = [level(jpeg) for jpeg in frames(Source("video", (films[ending],), begin, end), 5, 256, 90)]
    expected = [inside[i] for i in even_positions(len(inside), 5)]
    assert np.abs(np.array(found) - expected).max() <= 1  # AVI and FLV begin one frame late


def test_a_frame_that_does_not_lie_at_the_start_of_a_gop_is_decoded_as_in_the_whole_film(tmp_path):
    film = write(tmp_path / "a.mp4", moving(50, 96, 128), options={"g": "12", "bf": "3"})
    whole = frames(Source("video", (film,)), 50, 256, 90)
    assert len(whole) == 50
    assert frames(Source("video", (film,), 0.8, 1.6), 50, 256, 90) == whole[20:40]


def test_a_film_of_few_frames_gives_all_of_them(tmp_path):
    film = write(tmp_path / "a.mp4", numbered(3))
    assert len(frames(Source("video", (film,)), 10, 256, 90)) == 3


@pytest.mark.parametrize(
    ("wanted", "part", "levels"), [(3, {}, [47, 127, 207]), (1, {"begin_s": 2.0, "end_s": 4.0}, [157])]
)
def test_a_film_of_joined_jpegs_in_which_no_decoder_can_seek_has_its_frames(tmp_path, wanted, part, levels):
    """It has 120 frames in 4.8 seconds, each two grey levels lighter than the one before, and some megabytes."""
    noise = np.random.default_rng(0).integers(0, 16, (256, 256, 3), np.uint8)
    shades = [noise + np.uint8(2 * i) for i in range(120)]
    film = tmp_path / "joined.mjpeg"
    film.write_bytes(b"".join(encode(shade, 95) for shade in shades))
    shown = frames(Source("video", (film,), **part), wanted, 64, 95)
    means = [simplejpeg.decode_jpeg(jpeg).mean() for jpeg in shown]
    assert means == pytest.approx(levels, abs=6)


@pytest.mark.parametrize(
    ("size", "stored"),
    [((340, 256), (340, 256)), ((640, 360), (455, 256)), ((300, 600), (256, 512)), ((96, 64), (96, 64))],
)
def test_frames_are_shrunk_to_the_short_side_and_never_grown(tmp_path, size, stored):
    film = write(tmp_path / "a.mp4", moving(2, size[1], size[0]))
    height, width, colours, sampling = simplejpeg.decode_jpeg_header(frames(Source("video", (film,)), 1, 256, 90)[0])
    assert ((width, height), colours, sampling) == (stored, "YCbCr", "420")


def test_a_stored_frame_shows_the_picture(tmp_path):
    picture = texture(256, 340, np.random.default_rng(0))
    film = write(tmp_path / "a.mp4", [picture] * 5, options={"crf": "5"})
    shown = simplejpeg.decode_jpeg(frames(Source("video", (film,)), 1, 256, 95)[0])
    assert shown.shape == picture.shape
    weights = np.array([0.299, 0.587, 0.114])  # compare brightness, because colour has half the resolution
    assert np.corrcoef((shown @ weights).ravel(), (picture @ weights).ravel())[0, 1] > 0.98
    blocks = [image.reshape(32, 8, 34, 10, 3).mean(axis=(1, 3)).reshape(-1, 3) for image in (shown, picture)]
    assert np.abs(blocks[0] - blocks[1]).mean() < 4  # the channels keep their order


def test_a_film_that_says_it_is_turned_is_turned(tmp_path):
    picture = np.zeros((64, 128, 3), np.uint8)
    picture[:, :64] = 255  # white on the left
    film = write(tmp_path / "a.mp4", [picture] * 3)
    content = bytearray(film.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    quarter = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)  # the rotation of a phone held upright
    content[matrix : matrix + 36] = quarter
    film.write_bytes(content)
    shown = simplejpeg.decode_jpeg(frames(Source("video", (film,)), 1, 256, 90)[0])
    assert shown.shape == (128, 64, 3)
    assert shown[:64].mean() > 240  # turned clockwise, the left side is at the top
    assert shown[64:].mean() < 15


def test_the_same_file_gives_the_same_bytes(films):
    source = Source("video", (films["mp4"],))
    assert frames(source, 10, 256, 90) == frames(source, 10, 256, 90)
    assert audio(source, 16000, 10.0) == audio(source, 16000, 10.0)


def test_jpegs_of_a_folder_are_taken_as_they_are_in_the_order_of_their_numbers(tmp_path):
    folder = jpegs(tmp_path / "a", numbered(12), name="frame{}.jpg")  # alphabetically, frame10 comes before frame2
    (folder / "list.txt").write_text("no picture")
    found = frames(Source("images", (folder,)), 6, 256, 90)
    assert [level(jpeg) for jpeg in found] == [1, 3, 5, 7, 9, 11]
    assert found[0] == (folder / "frame2.jpg").read_bytes()


def test_larger_jpegs_of_a_folder_are_shrunk_and_grey_ones_coloured(tmp_path):
    folder = jpegs(tmp_path / "a", [texture(300, 600, np.random.default_rng(0))])
    height, width, *_ = simplejpeg.decode_jpeg_header(frames(Source("images", (folder,)), 1, 100, 90)[0])
    assert (width, height) == (200, 100)
    grey = jpegs(tmp_path / "b", [np.full((40, 40), 77, np.uint8)])
    _, _, colours, _ = simplejpeg.decode_jpeg_header(frames(Source("images", (grey,)), 1, 100, 90)[0])
    assert colours == "YCbCr"


@pytest.mark.parametrize("kind", ["mp4", "mkv", "wav"])
@pytest.mark.parametrize("rate", [44100, 48000, 16000])
@pytest.mark.parametrize("begin", [0.0, 0.7, 1.25])
def test_sound_is_where_it_was_and_as_long_as_the_clip(tmp_path, kind, rate, begin):
    """Whatever the encoder adds before it, a click at 1.5 s moves by less than a millisecond; the length is exact."""
    wave = 0.001 * np.random.default_rng(0).standard_normal((2, 3 * rate))
    click = round(1.5 * rate)
    wave[:, click : click + rate // 2000] = 0.9
    path = tmp_path / f"a.{kind}"
    if kind == "wav":
        wav(path, wave, rate)
    else:
        write(path, numbered(75), wave, rate=rate)
    found = samples(audio(Source("audio", (path,), begin, begin + 1.0), 16000, 10.0))
    assert len(found) == 16000
    if begin + 1.0 > 1.5:
        assert np.abs(found).argmax() / 16000 == pytest.approx(1.5 - begin, abs=0.001)


@pytest.mark.parametrize(("stored_seconds", "length"), [(10.0, 2.4), (2.0, 2.0), (1.00005, 1.00005)])
def test_no_more_is_kept_than_asked_and_the_encoders_padding_is_cut(films, stored_seconds, length):
    found = audio(Source("audio", (films["mp4"],)), 16000, stored_seconds)
    assert len(found) == 2 * round(length * 16000)


def test_sound_of_the_same_rate_is_kept_bit_for_bit(tmp_path):
    values = np.random.default_rng(0).integers(-32768, 32768, (1, 8000)).astype(np.int16)
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(values, format="s16", layout="mono")
        frame.sample_rate = 16000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert audio(Source("audio", (path,)), 16000, 10.0) == values.astype("<i2").tobytes()


@pytest.mark.parametrize(("rate", "wanted"), RATES)
@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_u8", "pcm_s32le", "pcm_f32le"])
def test_resampled_sound_is_librosas(tmp_path, rate, wanted, codec):
    path = write(tmp_path / "a.wav", None, chirp(1.5, rate, 2), rate=rate, codecs=("", codec))
    found = samples(audio(Source("audio", (path,)), wanted, 10.0))
    assert len(found) == round(1.5 * wanted)
    tolerance = 0.02 if codec == "pcm_u8" else 2e-4
    (expected,) = stored()[f"resampled {rate} {wanted}"]
    assert np.abs(thinned(found[None])[0] - expected).max() < tolerance


def test_sound_that_begins_after_the_pictures_is_preceded_by_silence(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25, width=64, height=64, pix_fmt="yuv420p")
        sound = out.add_stream("pcm_s16le", rate=16000, layout="mono")
        for picture in numbered(50, 64, 64):
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(video.encode(None))
        for first in range(8000, 32000, 800):
            frame = av.AudioFrame.from_ndarray(np.full((1, 800), 16000, np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16000, first
            out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    found = samples(audio(Source("audio", (path,)), 16000, 10.0))
    assert np.abs(found[:7990]).max() == 0
    assert found[8010:31000].min() > 0.4


def damaged(content: bytes, share: float, seed: int = 0) -> bytes:
    """Flip a random share of the bytes after the first tenth."""
    values = np.frombuffer(content, np.uint8).copy()
    rng = np.random.default_rng(seed)
    places = rng.integers(len(values) // 10, len(values) * 9 // 10, int(share * len(values)))
    values[places] ^= rng.integers(1, 255, len(places), dtype=np.uint8)
    return values.tobytes()


def bad(name: str, folder, films):
    """Return a file with the named kind of damage."""
    path = folder / f"{name}.mp4"
    whole = films["mp4"].read_bytes()
    made = {
        "empty": lambda: path.write_bytes(b""),
        "text": lambda: path.write_bytes(b"<html>this video is not available</html>" * 50),
        "zeros": lambda: path.write_bytes(bytes(len(whole))),
        "half": lambda: path.write_bytes(whole[: len(whole) // 2]),
        "silent": lambda: write(path, numbered(10)),
        "blind": lambda: write(path, None, chirp(1, 44100)),
        "short": lambda: write(path, numbered(60), chirp(2.4, 44100)),
        "tiny": lambda: wav(path.with_suffix(".wav"), chirp(0.05, 16000), 16000),
    }
    made[name]()
    return path.with_suffix(".wav") if name == "tiny" else path


@pytest.mark.parametrize(
    ("name", "take", "kind", "facts"),
    [
        ("empty", "frames", "empty file", []),
        ("empty", "audio", "empty file", []),
        ("text", "frames", "cannot be decoded", ["Invalid data"]),  # FFmpeg's wording
        ("text", "audio", "cannot be decoded", ["Invalid data"]),
        ("zeros", "frames", "cannot be decoded", []),
        ("half", "frames", "cannot be decoded", []),
        ("half", "audio", "cannot be decoded", []),
        ("silent", "audio", "no sound", ["track"]),
        ("blind", "frames", "no picture", ["frames"]),
        ("tiny", "audio", "too short", ["0.05 s", "0 s"]),
    ],
)
def test_what_cannot_be_decoded_has_a_reason(tmp_path, films, name, take, kind, facts):
    """The kind of reason, by which reasons are counted, comes before the colon."""
    path = bad(name, tmp_path, films)
    with pytest.raises(Unusable) as found:
        audio(Source("audio", (path,)), 16000, 10.0) if take == "audio" else frames(
            Source("video", (path,)), 5, 256, 90
        )
    assert str(found.value).partition(": ")[0] == kind
    tells(found.value, *facts)
    assert str(tmp_path) not in str(found.value)  # the store's bytes do not depend on the files' location


@pytest.mark.parametrize("take", ["audio", "video"])
def test_a_clip_that_begins_after_its_files_end_is_too_short(films, take):
    source = Source(take, (films["mp4"],), 5.0, 6.0)
    with pytest.raises(Unusable, match=r"^(too short|no sound): "):
        audio(source, 16000, 10.0) if take == "audio" else frames(source, 5, 256, 90)


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_a_file_cut_short_is_no_shorter_clip(tmp_path, codec):
    """The header declares the full length: the missing part is not silence, and the rest is not a short clip."""
    options = {"movflags": "faststart"}
    path = tmp_path / "a.mp4"
    if codec == "aac":
        with av.open(str(path), "w", options=options) as out:
            video = out.add_stream("libx264", rate=25, width=96, height=64, pix_fmt="yuv420p")
            sound = out.add_stream("aac", rate=44100, layout="mono")
            wave = chirp(4, 44100)
            for i, picture in enumerate(moving(100, 64, 96)):
                out.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                part = np.ascontiguousarray(wave[:, i * 1764 : (i + 1) * 1764])
                frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
                frame.sample_rate, frame.pts = 44100, i * 1764
                out.mux(sound.encode(frame))
            out.mux(video.encode(None))
            out.mux(sound.encode(None))
    else:
        path = wav(tmp_path / "a.wav", chirp(4, 44100), 44100)
    assert len(audio(Source("audio", (path,)), 16000, 10.0)) == 2 * 64000
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(Unusable, match=r"^cannot be decoded: "):
        audio(Source("audio", (path,)), 16000, 10.0)
    if codec == "aac":
        with pytest.raises(Unusable, match=r"^cannot be decoded: "):
            frames(Source("video", (path,)), 5, 256, 90)


@pytest.mark.parametrize("share", [0.001, 0.05, 0.5])
@pytest.mark.parametrize("ending", CODECS)
def test_damage_inside_a_file_is_survived_or_told(tmp_path, films, ending, share):
    """The result is always complete JPEGs and audio, or a reason, and the same each time."""
    path = tmp_path / f"a.{ending}"
    path.write_bytes(damaged(films[ending].read_bytes(), share))

    def outcome() -> list[object]:
        found: list[object] = []
        for take in (
            lambda: frames(Source("video", (path,)), 5, 256, 90),
            lambda: audio(Source("audio", (path,)), 16000, 9),
        ):
            try:
                found.append(take())
            except Unusable as reason:
                found.append(str(reason))
        return found

    pictures, sound = outcome()
    if isinstance(pictures, list):
        assert 3 <= len(pictures) <= 5
        assert all(simplejpeg.decode_jpeg(jpeg).shape == (64, 96, 3) for jpeg in pictures)
    if isinstance(sound, bytes):
        assert len(sound) % 2 == 0
        assert len(sound) > 0.1 * 2 * 16000
    assert outcome() == [pictures, sound]


def test_a_stream_that_turns_up_late_does_not_end_the_film(tmp_path):
    """Insert a tag of another type in the middle of the file, on which PyAV raises IndexError."""
    path = write(tmp_path / "a.flv", moving(225, 48, 64), chirp(9, 22050), rate=22050, codecs=("flv", "libmp3lame"))
    content, at, tags = bytearray(path.read_bytes()), 13, []
    while at + 11 < len(content):  # type, length (3 bytes), time and stream (7), data, total length (4)
        tags.append(at)
        at += 11 + int.from_bytes(content[at + 1 : at + 4], "big") + 4
    content[tags[len(tags) * 3 // 5]] = 18
    path.write_bytes(content)
    with av.open(str(path)) as container, pytest.raises(IndexError):
        list(container.demux(container.streams.video[0]))
    assert len(frames(Source("video", (path,)), 225, 256, 90)) >= 224


def declared(image: bytes, height: int, width: int) -> bytes:
    """Return a JPEG whose header declares another size."""
    size = image.index(b"\xff\xc0") + 5
    return image[:size] + struct.pack(">HH", height, width) + image[size + 4 :]


def test_an_image_that_declares_a_huge_size_is_not_decoded(tmp_path):
    folder = jpegs(tmp_path / "a", moving(1, 64, 64))
    file = folder / "frame000001.jpg"
    file.write_bytes(declared(file.read_bytes(), 60_000, 60_000))
    for take in (
        lambda: frames(Source("images", (folder,)), 1, 256, 90),
        lambda: flow(Source("flow", (folder, folder)), 1, 256, 90),
    ):
        with pytest.raises(Unusable, match=r"^too large: frame000001.jpg") as found:
            take()
        tells(found.value, "60,000 x 60,000", "`max_megapixels`", 100)


def test_an_image_file_of_more_bytes_than_its_pixels_can_have_is_not_read(tmp_path):
    folder = jpegs(tmp_path / "a", moving(1, 64, 64))
    os.truncate(folder / "frame000001.jpg", 1 << 40)  # a sparse file
    with pytest.raises(Unusable, match=r"^too large: frame000001.jpg .*\b4,096\b bytes"):
        frames(Source("images", (folder,)), 1, 256, 90, Limits(max_megapixels=0.001024))


@pytest.mark.parametrize("ending", CODECS)
def test_frames_beyond_the_limit_are_not_decoded(films, ending):
    video = Source("video", (films[ending],))
    assert len(frames(video, 2, 256, 90, Limits(max_megapixels=64 * 96 / 1e6))) == 2
    for take in (frames, flow):
        with pytest.raises(Unusable, match=r"^too large: 96 x 64 pixels.*`max_megapixels`"):
            take(video, 2, 256, 90, Limits(max_megapixels=64 * 95 / 1e6))


def late(path, seconds: float):
    """Write one second of loud audio, preceded by silence that the file does not hold."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, width=96, height=64, pix_fmt="yuv420p")
        sound = out.add_stream("pcm_s16le", rate=16000, layout="mono")
        for frame in film_frames(numbered(25), 25):
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        for frame in sound_frames(np.full((1, 16000), 0.5, np.float32), 16000, "mono"):
            frame.pts += round(seconds * 16000)
            out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    return path


def test_sound_that_begins_after_the_clip_is_none(tmp_path):
    """A gap of 100 hours would be 23 GB of silence."""
    hours = late(tmp_path / "a.mkv", 360_000)
    with pytest.raises(Unusable, match=r"^no sound: ") as found:
        audio(Source("audio", (hours,)), 16000, 10.0)
    tells(found.value, "360,000.0 s", "10 s")
    found = samples(audio(Source("audio", (late(tmp_path / "b.mkv", 1),)), 16000, 10.0))
    assert np.abs(found[:15990]).max() == 0
    assert found[16010:31990].min() > 0.4


@pytest.mark.parametrize(
    ("kind", "known", "unknown"),
    [("video", b"V_MPEG4/ISO/ASP", b"V_XPEG4/ISO/ASP"), ("audio", b"A_PCM/INT/LIT", b"A_XCM/INT/LIT")],
)
def test_a_codec_without_a_decoder_is_told(tmp_path, kind, known, unknown):
    path = write(tmp_path / "a.mkv", numbered(10), chirp(1, 16000), rate=16000, codecs=("mpeg4", "pcm_s16le"))
    content = path.read_bytes()
    assert known in content
    path.write_bytes(content.replace(known, unknown))
    with pytest.raises(Unusable, match=rf"^cannot be decoded: .*\bdecoder\b.*\b{kind}"):
        audio(Source(kind, (path,)), 16000, 9) if kind == "audio" else frames(Source(kind, (path,)), 5, 256, 90)


def test_a_drawing_called_jpg_is_told(tmp_path):
    path = tmp_path / "a" / "a.jpg"
    path.parent.mkdir()
    path.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"/>')
    for source in (Source("images", (path.parent,)), Source("video", (path,))):
        with pytest.raises(Unusable, match=r"^cannot be decoded: "):
            frames(source, 5, 256, 90)


def irregular(kind: str, path: Path) -> Path:
    """Make something that can be opened and is no file."""
    path.parent.mkdir()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    else:
        path.symlink_to("/dev/zero")
    return path


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "folder"])
def test_only_regular_files_are_opened(tmp_path, kind):
    path = irregular(kind, tmp_path / "a" / "a.jpg")
    takes = [lambda: frames(Source("images", (path.parent,)), 5, 256, 90)]
    if kind != "folder":  # a folder is a source of images
        takes += [lambda: flow(Source("flow", (path,)), 5, 256, 90)]
    takes += [lambda: frames(Source("video", (path,)), 5, 256, 90), lambda: audio(Source("audio", (path,)), 16000, 9)]
    for take in takes:
        with pytest.raises(Unusable, match=rf"^no regular file: .*\b{kind}\b"):
            take()


def test_a_damaged_image_is_told_by_name(tmp_path):
    folder = jpegs(tmp_path / "a", moving(2, 64, 64))
    file = folder / "frame000002.jpg"
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(Unusable, match=r"^cannot be decoded: frame000002.jpg"):
        frames(Source("images", (folder,)), 5, 256, 90)
    file.write_bytes(b"")
    with pytest.raises(Unusable, match=r"^empty file: frame000002.jpg"):
        frames(Source("images", (folder,)), 5, 256, 90)
    with pytest.raises(Unusable, match=r"^no picture: .*\bJPEG\b"):
        frames(Source("images", (tmp_path,)), 5, 256, 90)


def test_a_file_that_is_gone_is_no_unusable_clip(tmp_path):
    """An unmounted disk must not quarantine a whole data set."""
    with pytest.raises(FileNotFoundError):
        frames(Source("video", (tmp_path / "a.mp4",)), 5, 256, 90)
    with pytest.raises(FileNotFoundError):
        frames(Source("images", (tmp_path / "a",)), 5, 256, 90)


def test_a_file_that_names_others_is_not_followed(tmp_path, films):
    """A playlist disguised as a video opens no other file and no network connection."""
    inner = write(tmp_path / "in.ts", numbered(10), codecs=("libx264", "aac"))
    path = tmp_path / "a.mp4"
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/{inner.name}\n#EXT-X-ENDLIST\n")
    with pytest.raises(Unusable):
        frames(Source("video", (path,)), 5, 256, 90)


def test_a_grey_picture_is_stored_grey():
    data = encode(np.full((16, 24), 99, np.uint8), 90)
    assert simplejpeg.decode_jpeg_header(data)[2].upper() == "GRAY"
    assert io.BytesIO(data).getbuffer().nbytes == len(data)
