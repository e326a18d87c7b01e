"""JPEG files: found in a folder, made small enough, and encoded."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from datasets.store.settings import Limits
from datasets.store.source_file import Unusable, check_size, open_file

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

Pixels = NDArray[np.uint8]  # [height, width, 3], or [height, width] if grey

BYTES_PER_PIXEL = 4  # more than a JPEG has


def encode(image: Pixels, quality: int) -> bytes:
    """Encode an image as a JPEG with three channels, or grey."""
    import simplejpeg

    grey = image.ndim == 2
    data: bytes = simplejpeg.encode_jpeg(
        image[..., None] if grey else image,
        quality=quality,
        colorspace="GRAY" if grey else "RGB",
        colorsubsampling="Gray" if grey else "420",
    )
    return data


def list_images(folder: Path) -> list[Path]:
    """Return the JPEG files of a folder, sorted by the numbers in their names; the path of a file gives that file."""
    if folder.is_file():
        return [folder]
    files = [f for f in folder.iterdir() if f.suffix.lower() in {".jpg", ".jpeg"}]
    if not files:
        raise Unusable("no picture: the folder has no JPEG files")
    return sorted(files, key=_numbers)


def _numbers(file: Path) -> tuple[list[int], str]:
    return [int(n) for n in re.findall(r"\d+", file.stem)], file.name


def load_small(file: Path, short_side: int, quality: int, limits: Limits, *, grey: bool) -> bytes:
    """Return a JPEG file unchanged if it is small enough and has the wanted colours; else encode it again."""
    from av import VideoFrame

    data = _read_image(file, limits)
    colorspace, form = ("GRAY", "gray") if grey else ("RGB", "rgb24")
    colours, image = _decode_jpeg(file.name, data, colorspace, limits)
    if min(image.shape[:2]) <= short_side and grey == (colours == "GRAY"):
        return data
    shown = VideoFrame.from_ndarray(np.ascontiguousarray(image[..., 0] if grey else image), format=form)
    return encode(pixels(shown, short_side, form), quality)


def _read_image(file: Path, limits: Limits) -> bytes:
    """Return the bytes of an image file; no JPEG has more bytes than the largest one has uncompressed."""
    with open_file(file, file.name) as opened:
        longest = BYTES_PER_PIXEL * limits.max_pixels
        if os.fstat(opened.fileno()).st_size > longest:
            raise Unusable(f"too large: {file.name} has more than {longest:,} bytes")
        return opened.read()


def _decode_jpeg(name: str, data: bytes, colorspace: str, limits: Limits) -> tuple[str, Pixels]:
    """Return a JPEG file's own colour space, and its pixels [H, W, C] in the given one."""
    import simplejpeg

    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        check_size(width, height, limits, f"{name} has ")
        return str(colours).upper(), simplejpeg.decode_jpeg(data, colorspace=colorspace)
    except ValueError as error:
        raise Unusable(f"cannot be decoded: {name} ({error})") from error


def pixels(frame: VideoFrame, short_side: int, form: str) -> Pixels:
    """Return a frame as `rgb24` or `gray`, with the video's rotation, its shorter side at most `short_side` pixels."""
    scale = min(1.0, short_side / min(frame.width, frame.height))
    width, height = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    shown = frame.reformat(width=width, height=height, format=form, interpolation="AREA", threads=1).to_ndarray()
    return np.ascontiguousarray(np.rot90(shown, round(frame.rotation / 90)))
