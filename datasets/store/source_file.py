"""Files of a clip: how they are opened, and why a clip cannot be used."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from datasets.index.regular_file import IrregularFile, open_regular
from datasets.store.settings import Limits


class Unusable(Exception):
    """Clip that cannot be used. Its reason begins with fixed words ("no sound: …"), by which reasons are counted."""


class ClipWarning(UserWarning):
    """Warning about a clip that is stored. Its text begins with fixed words ("hidden files are skipped: …").

    Warnings are counted by these words, for the notes of a preparation.
    """


@contextmanager
def open_file(path: Path, name: str = "") -> Iterator[BinaryIO]:
    """Open a file that holds something: every file of a clip is opened here first.

    Args:
        path: the file.
        name: name of the file in reasons, if the clip has several.

    Raises:
        Unusable: if it is empty or no regular file.
        OSError: if the file cannot be read.
    """
    try:
        file = open_regular(path)
    except IrregularFile as error:
        raise Unusable(f"no regular file: {name or 'it'} is {error.strerror}") from error
    with file:
        if not os.fstat(file.fileno()).st_size:
            raise Unusable(f"empty file: {name}" if name else "empty file")
        yield file


def check_size(width: int, height: int, limits: Limits, what: str = "") -> None:
    """Check the size of an image or frame before it is decoded.

    Raises:
        Unusable: if it is too large.
    """
    if width * height > limits.max_pixels:
        limit = f"`max_megapixels` is {limits.max_megapixels:g}"
        raise Unusable(f"too large: {what}{width:,} x {height:,} pixels, but {limit}")
