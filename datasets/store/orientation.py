"""Orientation of pictures and video frames: how stored pixels are turned to be shown as people see them."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

EXIF_ORIENTATION = 0x0112
TAGGED = re.compile(rb"exif|\A(II|MM)", re.IGNORECASE)  # JPEG, PNG and WebP name their tags; TIFF consists of them


class Turn(NamedTuple):
    """Exchange of rows and columns, then reversal of the order of the rows and of the columns."""

    transposed: bool = False
    flipped: bool = False
    mirrored: bool = False

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn an image [H, W, ...]."""
        turned = image.swapaxes(0, 1) if self.transposed else image
        return np.ascontiguousarray(turned[:: -1 if self.flipped else 1, :: -1 if self.mirrored else 1])


UPRIGHT = Turn()
QUARTERS = (UPRIGHT, Turn(True, True, False), Turn(False, True, True), Turn(True, False, True))  # anticlockwise
BY_TAG: dict[object, Turn] = {
    2: Turn(mirrored=True), 3: QUARTERS[2], 4: Turn(flipped=True),
    5: Turn(transposed=True), 6: QUARTERS[3], 7: Turn(True, True, True), 8: QUARTERS[1],
}  # fmt: skip


def turn_of_picture(content: bytes) -> Turn:
    """Return the turn that the orientation tag of a picture file asks for (EXIF 2.32, tag 274).

    A tag that is damaged, or holds no known value, is ignored, as viewers do.
    """
    if not TAGGED.search(content):
        return UPRIGHT
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # `max_megapixels` is the limit
    try:
        with Image.open(io.BytesIO(content)) as image:
            return BY_TAG.get(image.getexif().get(EXIF_ORIENTATION), UPRIGHT)
    except Exception:  # damaged tags raise errors of many kinds; the pixels are decoded elsewhere
        return UPRIGHT


def turn_of_frame(frame: VideoFrame) -> Turn:
    """Return the turn that a video's display matrix asks for, to the nearest quarter."""
    try:
        matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # the frame also has data of a type that PyAV does not know, such as EXIF
        return QUARTERS[round(frame.rotation / 90) % 4]
    if matrix is None:
        return UPRIGHT
    a, b, _, c, d, *_ = np.frombuffer(memoryview(matrix), np.int32).tolist()  # x' = a x + c y, y' = b x + d y
    if abs(b) > abs(a):
        return Turn(True, b < 0, c < 0)
    return Turn(False, d < 0, a < 0)
