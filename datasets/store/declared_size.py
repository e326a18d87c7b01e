"""Sizes that media files declare: evidence in their bytes that they are whole, or that their end is missing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from datasets.store.source_file import Unusable, open_file

CUT_SHORT = 0.9  # a file or track with less than this share of what it declares counts as truncated
HEAD = 1024  # bytes in which the size stands
TAIL = 512  # last bytes of a whole file; they are zero if a download reserved the space and stopped
SEGMENT = b"\x18\x53\x80\x67"  # of Matroska: the element that holds everything
SYNC = 0x47  # first byte of each MPEG-TS packet
TS_PACKETS = {188: 0, 192: 4, 204: 0}  # size of a packet -> where its sync byte is


def check_declared_size(file: BinaryIO) -> None:
    """Check that a file is as long as it declares; FFmpeg accepts shorter files.

    Raises:
        Unusable: if bytes are missing at its end.
    """
    size = os.fstat(file.fileno()).st_size
    head = file.read(HEAD)
    declared = _declared_size(head)
    if declared and size < CUT_SHORT * declared:
        raise Unusable(f"cannot be decoded: truncated, {size:,} of {declared:,} bytes")
    packet = _ts_packet_size(head)
    if packet and size % packet:
        raise Unusable(f"cannot be decoded: truncated, the last packet has {size % packet} of {packet} bytes")
    missing = _missing_of_fragment(file, size) if head[4:8] == b"ftyp" else 0
    if missing:
        raise Unusable(f"cannot be decoded: truncated, {missing:,} bytes of the last fragment are missing")


def has_its_end(path: Path) -> bool:
    """Return True if the bytes of a file prove that nothing is missing at its end.

    False means that this is unknown. An MPEG-4 file needs no such proof: it declares the length of each track.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(HEAD)
        file.seek(max(size - TAIL, 0))
        tail = file.read()
        if head.startswith(b"FLV"):
            return _ends_with_tag(file, size)
    declared = _declared_size(head)
    return declared is not None and declared <= size < declared + TAIL and any(tail)


def _declared_size(head: bytes) -> int | None:
    """Return the bytes that a RIFF, Wave64 or Matroska file declares, or None."""
    if head.startswith(b"RIFF"):
        size = int.from_bytes(head[4:8], "little")
        return size + 8 if 0 < size < 2**32 - 1 else None  # both ends mean: unknown
    if head.startswith((b"RF64", b"BW64")) and head[12:16] == b"ds64":
        return int.from_bytes(head[20:28], "little") + 8
    if head.startswith(b"riff\x2e\x91\xcf\x11"):
        return int.from_bytes(head[16:24], "little")
    return _segment_end(head) if head.startswith(b"\x1a\x45\xdf\xa3") else None


def _segment_end(head: bytes) -> int | None:
    """Return where a Matroska segment ends; its size is a number of variable length (RFC 8794), all ones if unknown."""
    at = head.find(SEGMENT) + len(SEGMENT)
    if at < len(SEGMENT) or at + 8 > len(head) or not head[at]:
        return None
    length = 9 - head[at].bit_length()
    mask = (1 << 7 * length) - 1
    size = int.from_bytes(head[at : at + length], "big") & mask
    return at + length + size if size != mask else None


def _ts_packet_size(head: bytes) -> int | None:
    for size, at in TS_PACKETS.items():
        marks = head[at::size][:5]
        if len(marks) == 5 and set(marks) == {SYNC}:
            return size
    return None


def _ends_with_tag(file: BinaryIO, size: int) -> bool:
    """Return True if a Flash video ends with a whole tag: its last four bytes are the tag's size."""
    file.seek(max(size - 4, 0))
    tag = int.from_bytes(file.read(4), "big")
    file.seek(max(size - 4 - tag, 0))
    return tag > 11 and int.from_bytes(file.read(4)[1:], "big") == tag - 11


def _missing_of_fragment(file: BinaryIO, size: int) -> int:
    """Return how many bytes are missing of the last fragment of an MPEG-4 file; 0 if it is not fragmented."""
    at, is_fragmented = 0, False
    while at + 8 <= size:
        file.seek(at)
        box = file.read(16)
        length, kind = int.from_bytes(box[:4], "big"), box[4:8]
        if length == 1:
            length = int.from_bytes(box[8:], "big")
        is_fragmented |= kind == b"moof"
        at += length
        if at > size:
            return at - size if is_fragmented and kind in {b"moof", b"mdat"} else 0
        if length < 8:  # to the end of the file
            return 0
    return 0
