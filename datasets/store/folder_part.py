"""Part of a folder of images: cut in proportion, as long as the sound of the same clip lasts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from datasets.index.clips import Source
from datasets.store.container import open_media
from datasets.store.extent import declared_end, measure
from datasets.store.part import frames_of_part
from datasets.store.settings import Limits
from datasets.store.source_file import Unusable
from datasets.store.streams import audio_stream

Image = TypeVar("Image")


def images_of_part(images: Sequence[Image], source: Source, limits: Limits) -> Sequence[Image]:
    """Return the images of a part of a folder; all of them if the clip is the whole folder, or there is only one.

    The first image begins with the sound of `source.timed_by`, the last ends with it, and all are shown equally long.

    Raises:
        Unusable: if the length is not known, or the part begins after it.
    """
    if not source.is_part or len(images) == 1:
        return images
    if source.timed_by is None:
        raise Unusable("no length: the clip is a part of a folder of images, but no sound tells how long they last")
    with open_media(source.timed_by, limits) as container:
        stream = audio_stream(container)
        length = declared_end(container, stream) or measure(container, stream).end
    times = [i * length / len(images) for i in range(len(images))]
    part = frames_of_part(times, source, length)
    return images[part.start : part.stop]
