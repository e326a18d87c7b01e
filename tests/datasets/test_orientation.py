"""Pictures and videos that are to be turned, and pictures of every format, are stored as people see them."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image

from datasets.index.clips import Source
from datasets.store.frames import frames
from datasets.store.optical_flow import flow
from datasets.store.source_file import Unusable
from tests.support.films import jpegs, moving, write

ORIENTATION = 0x0112
SEEN = np.zeros((120, 160, 3), np.uint8)  # of four colours, so that each of the eight orientations differs
SEEN[:60, :80], SEEN[:60, 80:], SEEN[60:, :80], SEEN[60:, 80:] = (200, 30, 30), (30, 200, 30), (30, 30, 200), 120
HOW_STORED = {  # orientation tag -> the picture in the file; EXIF says where its first row and column are seen
    1: SEEN,
    2: SEEN[:, ::-1],
    3: SEEN[::-1, ::-1],
    4: SEEN[::-1],
    5: SEEN.swapaxes(0, 1),
    6: np.rot90(SEEN, 1),
    7: SEEN.swapaxes(0, 1)[::-1, ::-1],
    8: np.rot90(SEEN, -1),
}
MATRICES = {  # orientation tag -> the display matrix (a, b, c, d) of a video that is stored in this way
    1: (1, 0, 0, 1), 2: (-1, 0, 0, 1), 3: (-1, 0, 0, -1), 4: (1, 0, 0, -1),
    5: (0, 1, 1, 0), 6: (0, 1, -1, 0), 7: (0, -1, -1, 0), 8: (0, -1, 1, 0),
}  # fmt: skip
LOSSLESS = {"jpg": {"quality": 95}, "webp": {"lossless": True}}


def picture(path: Path, tag: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    exif = Image.Exif()
    exif[ORIENTATION] = tag
    image = Image.fromarray(np.ascontiguousarray(HOW_STORED[tag]))
    image.save(path, exif=exif, **LOSSLESS.get(path.suffix[1:], {}))
    return path


def shows(jpeg: bytes, wanted: np.ndarray) -> bool:
    """Return whether a JPEG shows a picture of four colours."""
    found = simplejpeg.decode_jpeg(jpeg)
    if found.shape != wanted.shape:
        return False
    height, width, _ = found.shape
    places = [(y, x) for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]
    return all(np.abs(found[place].astype(int) - wanted[place]).max() < 12 for place in places)


@pytest.mark.parametrize("tag", HOW_STORED)
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize("kind", ["images", "video"])
def test_a_picture_is_stored_as_people_see_it(tmp_path, kind, ending, tag):
    file = picture(tmp_path / "a" / f"1.{ending}", tag)
    [jpeg] = frames(Source(kind, (file.parent if kind == "images" else file,)), 1, 256, 90)
    assert shows(jpeg, SEEN)
    assert Image.open(io.BytesIO(jpeg)).getexif().get(ORIENTATION, 1) == 1  # it is not turned a second time
    assert (jpeg == file.read_bytes()) == (ending == "jpg" and tag == 1)


@pytest.mark.parametrize("tag", [1, 3, 6, 8])
def test_a_picture_with_the_ending_of_a_video_is_turned(tmp_path, tag):
    file = picture(tmp_path / "1.jpg", tag).rename(tmp_path / "1.mp4")
    [jpeg] = frames(Source("video", (file,)), 1, 256, 90)
    assert shows(jpeg, SEEN)


def test_a_large_picture_is_turned_and_shrunk(tmp_path):
    file = picture(tmp_path / "1.jpg", 6)
    [jpeg] = frames(Source("video", (file,)), 1, 60, 90)
    assert simplejpeg.decode_jpeg_header(jpeg)[:2] == (60, 80)


@pytest.mark.parametrize("tag", [0, 9, 4000])
def test_an_unknown_orientation_is_ignored(tmp_path, tag):
    exif = Image.Exif()
    exif[ORIENTATION] = tag
    Image.fromarray(SEEN).save(tmp_path / "1.jpg", exif=exif, quality=95)
    assert frames(Source("images", (tmp_path,)), 1, 256, 90) == [(tmp_path / "1.jpg").read_bytes()]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_tags_are_ignored(tmp_path):
    file = picture(tmp_path / "1.jpg", 1)
    content = bytearray(file.read_bytes())
    begin = content.index(b"Exif\0\0") + 6
    content[begin : begin + 8] = b"MM\0*\xff\xff\xff\xff"  # the offset of the tags
    file.write_bytes(content)
    assert frames(Source("images", (tmp_path,)), 1, 256, 90) == [bytes(content)]


def test_optical_flow_that_is_to_be_turned_is_refused(tmp_path):
    """Turned displacements would also have to change places."""
    folders = [jpegs(tmp_path / name, [p[..., 0] for p in moving(2, 32, 48)]) for name in "uv"]
    tag = Image.Exif()
    tag[ORIENTATION] = 6
    Image.open(folders[1] / "frame000002.jpg").save(folders[1] / "frame000002.jpg", exif=tag)
    with pytest.raises(Unusable, match=r"^cannot be decoded: frame000002.jpg has an orientation tag"):
        flow(Source("flow", tuple(folders)), 2, 256, 90)


@pytest.mark.parametrize("tag", MATRICES)
def test_a_video_is_stored_as_players_show_it(tmp_path, tag):
    film = write(tmp_path / "a.mp4", [np.ascontiguousarray(HOW_STORED[tag])] * 2)
    content = bytearray(film.read_bytes())
    place = content.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in MATRICES[tag])
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    film.write_bytes(content)
    [jpeg] = frames(Source("video", (film,)), 1, 256, 90)
    assert shows(jpeg, SEEN)


IMAGE = Image.fromarray(SEEN)
GREY = np.asarray(IMAGE.convert("L"))[..., None].repeat(3, axis=2)
NEGATIVE = Image.fromarray(255 - SEEN)


def made(path: Path) -> np.ndarray:
    """Write the picture of four colours as the name says; return what is to be seen."""
    save = {
        "palette.png": lambda: IMAGE.quantize(16).save(path),
        "transparent_palette.png": lambda: IMAGE.quantize(16).save(path, transparency=0),
        "alpha.png": lambda: IMAGE.convert("RGBA").save(path),
        "grey.PNG": lambda: IMAGE.convert("L").save(path),
        "grey_with_alpha.png": lambda: IMAGE.convert("LA").save(path),
        "grey_of_16_bits.png": lambda: Image.fromarray(GREY[..., 0].astype(np.uint16) * 257).save(path),
        "of_16_bits.png": lambda: cv2.imwrite(str(path), SEEN[..., ::-1].astype(np.uint16) * 257),
        "animated.png": lambda: IMAGE.save(path, save_all=True, append_images=[NEGATIVE] * 3),
        "progressive.JPG": lambda: IMAGE.save(path, quality=95, progressive=True),
        "grey.jpeg": lambda: IMAGE.convert("L").save(path, quality=95),
        "cmyk.jpg": lambda: IMAGE.convert("CMYK").save(path, quality=95),
        "rgb.JPEG": lambda: IMAGE.save(path, quality=95, keep_rgb=True),
        "of_a_phone.jpg": lambda: IMAGE.save(path, "MPO", save_all=True, append_images=[NEGATIVE], quality=95),
        "png_called.jpg": lambda: IMAGE.save(path, "PNG"),
        "webp_called.jpg": lambda: IMAGE.save(path, "WEBP", lossless=True),
        "jpeg_called.png": lambda: IMAGE.save(path, "JPEG", quality=95),
        "bitmap.bmp": lambda: IMAGE.save(path),
    }
    path.parent.mkdir(exist_ok=True)
    save[path.name]()
    return GREY if path.name.startswith("grey") else SEEN


@pytest.mark.parametrize("kind", ["images", "video"])
@pytest.mark.parametrize(
    "name",
    [
        "palette.png", "transparent_palette.png", "alpha.png", "grey.PNG", "grey_with_alpha.png",
        "grey_of_16_bits.png", "of_16_bits.png", "animated.png", "progressive.JPG", "grey.jpeg", "cmyk.jpg",
        "rgb.JPEG", "of_a_phone.jpg", "png_called.jpg", "webp_called.jpg", "jpeg_called.png", "bitmap.bmp",
    ],
)  # fmt: skip
def test_a_picture_of_any_format_becomes_one_colour_jpeg(tmp_path, name, kind):
    file = tmp_path / "a" / name
    seen = made(file)
    [jpeg] = frames(Source(kind, (file.parent if kind == "images" else file,)), 10, 256, 90)
    assert shows(jpeg, seen)
    assert simplejpeg.decode_jpeg_header(jpeg)[2] == "YCbCr"


@pytest.mark.parametrize("kind", ["images", "video"])
@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_a_truncated_picture_is_told_by_name(tmp_path, ending, kind):
    file = tmp_path / f"1.{ending}"
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(Unusable, match=rf"^cannot be decoded: 1.{ending} "):
        frames(Source(kind, (tmp_path if kind == "images" else file,)), 1, 256, 90)
