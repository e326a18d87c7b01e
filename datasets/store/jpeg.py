"""Pictures: found in a folder, turned as people see them, made small enough, and encoded as JPEG."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from datasets.index.hidden import hidden_note, is_hidden
from datasets.store.container import decode, open_media
from datasets.store.orientation import UPRIGHT, Turn, turn_of_frame, turn_of_picture
from datasets.store.settings import Limits
from datasets.store.source_file import ClipWarning, Unusable, check_size, open_file
from datasets.store.streams import video_stream

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

Pixels = NDArray[np.uint8]  # [height, width, 3], or [height, width] if grey

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")  # endings, in any case
JPEG = b"\xff\xd8\xff"  # first bytes; many files have the ending of another format
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
    """Return the pictures of a folder, sorted by the numbers in their names; warn if files are hidden."""
    found = list(folder.iterdir())
    if hidden := [f.name for f in found if is_hidden(f.name)]:
        warnings.warn(hidden_note(hidden), ClipWarning, stacklevel=2)
    files = [f for f in found if f.suffix.lower() in PICTURES and not is_hidden(f.name)]
    if not files:
        raise Unusable("no picture: the folder has no JPEG or PNG files")
    return sorted(files, key=_numbers)


def _numbers(file: Path) -> tuple[list[int], str]:
    return [int(n) for n in re.findall(r"\d+", file.stem)], file.name


def load_picture(file: Path, short_side: int, quality: int, limits: Limits, *, grey: bool) -> bytes:
    """Return a picture as a JPEG, as people see it.

    A JPEG file is returned unchanged if it is small enough, upright, and has the wanted colours.

    Raises:
        Unusable: if the picture is too large or cannot be decoded, or if a grey one (optical flow) is not upright.
        OSError: if the file cannot be read.
    """
    data = _read_image(file, limits)
    turn, form = turn_of_picture(data), "gray" if grey else "rgb24"
    if grey and turn != UPRIGHT:
        raise Unusable(f"cannot be decoded: {file.name} has an orientation tag, which optical flow cannot have")
    colours, frame = _decode(file, data, form, limits)
    if turn == UPRIGHT and min(frame.width, frame.height) <= short_side and colours == ("GRAY" if grey else "YCBCR"):
        return data
    return encode(pixels(frame, short_side, form, turn), quality)


def _decode(file: Path, data: bytes, form: str, limits: Limits) -> tuple[str, VideoFrame]:
    """Return the colour space of a JPEG file (of other files, an empty text) and the picture, not turned."""
    from av import VideoFrame

    if not data.startswith(JPEG):
        return "", _decode_other(file, limits)
    grey = form == "gray"
    colours, image = _decode_jpeg(file.name, data, "GRAY" if grey else "RGB", limits)
    return colours, VideoFrame.from_ndarray(np.ascontiguousarray(image[..., 0] if grey else image), format=form)


def _decode_other(file: Path, limits: Limits) -> VideoFrame:
    """Return the picture, or the first of several, in a file of any format that FFmpeg decodes."""
    try:
        with open_media(file, limits) as container:
            for frame in decode(container, video_stream(container, limits), 0.0):
                found: VideoFrame = frame
                return found
    except Unusable as reason:
        kind, _, what = str(reason).partition(": ")
        raise Unusable(f"{kind}: {file.name} ({what})") from reason
    raise Unusable(f"cannot be decoded: {file.name} (damaged or truncated)")


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


def pixels(frame: VideoFrame, short_side: int, form: str, turn: Turn | None = None) -> Pixels:
    """Return a frame as `rgb24` or `gray`, its shorter side at most `short_side` pixels.

    Args:
        frame: the frame.
        short_side: maximum length of the shorter side, in pixels.
        form: `rgb24` or `gray`.
        turn: how the frame is turned; None is what its video asks for.
    """
    scale = min(1.0, short_side / min(frame.width, frame.height))
    width, height = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    shown = frame.reformat(width=width, height=height, format=form, interpolation="AREA", threads=1)
    return (turn_of_frame(frame) if turn is None else turn).apply(np.asarray(shown.to_ndarray(), np.uint8))
