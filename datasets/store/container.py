"""Media containers: their packets and frames, with the errors of FFmpeg as reasons."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.store.declared_size import check_declared_size
from datasets.store.settings import Limits
from datasets.store.source_file import Unusable, open_file
from datasets.store.streams import pixel_limit, start

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.frame import Frame
    from av.stream import Stream

PRE_ROLL_S = 0.5  # decoded before a clip's begin and dropped: audio needs the packets before it


@contextmanager
def open_media(path: Path, limits: Limits) -> Iterator[InputContainer]:
    """Open a media file; FFmpeg's errors become `Unusable`.

    Raises:
        Unusable: if the file is empty, truncated, or FFmpeg fails.
        MemoryError: if memory is short.
        OSError: if the file cannot be read.
    """
    import av
    from av.error import FFmpegError

    with open_file(path) as file:
        check_declared_size(file)
    # Other files that it refers to are not opened, and the first frames, which are decoded here, are not too large.
    options = {"protocol_whitelist": "file", **pixel_limit(limits)}
    try:
        with av.open(f"file:{path}", options=options, metadata_errors="replace") as container:
            yield container
    except MemoryError:
        raise
    except FFmpegError as error:
        raise Unusable(f"cannot be decoded: {error.strerror}") from error


def format_name(container: InputContainer) -> str:
    """Return FFmpeg's first name of a container's format: `mov` for MPEG-4, `matroska` for WebM."""
    return container.format.name.partition(",")[0]


def is_picture(container: InputContainer) -> bool:
    """Return True for a single picture, such as a PNG file, which has no time."""
    return container.format.name.endswith("_pipe") or container.format.name == "image2"


def time_of(frame: Frame) -> float:
    return float(frame.pts * frame.time_base) if frame.pts is not None and frame.time_base else float("inf")


def packets(container: InputContainer, *streams: Stream) -> Iterator[Any]:
    """Yield packets up to the end of the file, or up to the first that cannot be read: of all streams, or of some."""
    from av.error import FFmpegError

    for _ in range(2):
        # PyAV raises IndexError once, when it flushes, if the header does not list all streams.
        with suppress(FFmpegError, IndexError):
            yield from container.demux(*streams)
            return


def decode(container: InputContainer, stream: Any, begin: float) -> Iterator[Any]:
    """Yield frames from shortly before `begin`, with one thread; packets that the decoder rejects are skipped."""
    from av.error import FFmpegError

    stream.thread_type, stream.codec_context.thread_count = "NONE", 1
    if begin > PRE_ROLL_S:
        # Without seeking, the container is decoded from its begin.
        with suppress(FFmpegError):
            container.seek(round((begin - PRE_ROLL_S + start(container)) * 1e6))
    for packet in packets(container, stream):
        with suppress(FFmpegError):
            yield from packet.decode()
