"""From a publisher's rows to the index of what is there: each id once, each with its files, or named as missing."""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets.index.clips import SPLITS, Clip, Index, Source, SplitName
from datasets.index.list_files import SHOWN, count, refuse_broken
from datasets.registry import DatasetError

FILMS = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".flv")
POINTER = b"version https://git-lfs"  # how a file begins that git-lfs has not fetched yet


@dataclass(frozen=True, slots=True)
class Listed:
    """One row of a publisher's list; see `Clip`."""

    id: str
    label: str
    split: SplitName
    group: str | None = None
    begin_s: float = 0.0
    end_s: float | None = None


def folder(path: str, holds: str, option: str = "source") -> Path:
    """The folder that an option names.

    Raises:
        DatasetError: there is none.
    """
    found = Path(path).expanduser().absolute()  # workers may be at home elsewhere
    if not found.is_dir():
        raise DatasetError(f"`dataset.{option}` must be the folder that holds {holds}, but there is no folder {found}")
    return found


def list_file(source: Path, name: str, option: str) -> Path:
    """The list file that an option names, looked for from `source`.

    Raises:
        DatasetError: there is none.
    """
    found = source / Path(name).expanduser()
    if not found.is_file():
        raise DatasetError(f"{found}: no such list file; put it there, or set `dataset.{option}` to where it is")
    return found


def walk(top: Path, suffixes: Collection[str] = FILMS) -> Iterator[Path]:
    """Files of these suffixes in `top` and its folders, in the order of their names; links are followed, once each."""
    seen: set[str] = set()
    for where, folders, names in os.walk(top, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in suffixes:
                yield Path(where, name)


def youtube_start(stem: str, numbers: int) -> tuple[str, int] | None:
    """Id and start of a file's stem that ends in `numbers` numbers, padded with zeros or not.

    >>> youtube_start("-0_aB_3_4x9_000030", 1), youtube_start("-0_aB_3_4x9_000030_000040", 2)
    (('-0_aB_3_4x9', 30), ('-0_aB_3_4x9', 30))
    """
    name, *ends = stem.rsplit("_", numbers)
    if not name or len(ends) != numbers or not all(e.isascii() and e.isdigit() for e in ends):
        return None
    return name, int(ends[0])


def films(top: Path, numbers: int) -> dict[tuple[str, int], Path]:
    """YouTube id and start -> film, of files named `{id}_{start}` or `{id}_{start}_{end}`."""
    found: dict[tuple[str, int], Path] = {}
    for path in walk(top):
        key = youtube_start(path.stem, numbers)
        if key is not None:
            found.setdefault(key, path)
    return found


def audiovisual(film: Path | None, begin_s: float = 0.0, end_s: float | None = None) -> dict[str, Source] | None:
    """Sound and pictures of one film, or None where there is none."""
    if film is None:
        return None
    return {
        "audio": Source("audio", (film,), begin_s, end_s),
        "visual": Source("video", (film,), begin_s, end_s),
    }


def gather(
    listed: Sequence[Listed],
    find: Callable[[Listed], Mapping[str, Source] | None],
    *,
    classes: Collection[str],
    where: Path,
    expected_rows: int | None = None,
    notes: Sequence[str] = (),
    allow_empty_classes: bool = False,
) -> Index:
    """The index of what is there.

    Args:
        listed: the publisher's rows.
        find: a row's files, or None where they are not there.
        classes: all of them.
        where: the folder looked in, for errors.
        expected_rows: how many the publisher's list is known to hold.
        notes: goes before what is noted here.
        allow_empty_classes: whether classes may be without any clip.

    Raises:
        DatasetError: a label that is no class, no clip there at all, or classes without any.
    """
    _refuse_labels(listed, set(classes), where)
    rows, doubled = once(listed)
    clips: list[Clip] = []
    missing: list[str] = []
    for row in rows:
        sources = find(row)
        if sources is None:
            missing.append(row.id)
        else:
            clips.append(Clip(row.id, row.label, row.split, row.group, sources))
    if not clips:
        raise DatasetError(
            f"{where}: expected the files of {count(len(rows), 'listed clip')} (`{rows[0].id}` is the first), but none "
            f"is there; `dataset.source` must be the folder that holds them"
        )
    ordered = tuple(sorted(classes))
    there = {clip.label for clip in clips}
    empty = [c for c in ordered if c not in there]
    if empty and not allow_empty_classes:
        _refuse_empty(empty, Counter(row.label for row in rows), where)
    said = [*notes, *doubled, *_surprises(len(listed), expected_rows, empty)]
    return Index(ordered, tuple(clips), tuple(missing), tuple(said), len(listed), expected_rows)


def once(listed: Sequence[Listed]) -> tuple[list[Listed], list[str]]:
    """Each id once, as it is listed first, and what to say of those that were listed again."""
    first: dict[str, Listed] = {}
    again: list[Listed] = []
    for row in listed:
        if first.setdefault(row.id, row) is not row:
            again.append(row)
    same = [r for r in again if (first[r.id].label, first[r.id].split) == (r.label, r.split)]
    relabelled = [r for r in again if first[r.id].label != r.label]
    moved = [r for r in again if first[r.id].split != r.split]
    notes = [
        f"rows that list an id again {text}: {len(rows):,}; its first row is kept ({_examples([r.id for r in rows])})"
        for rows, text in (
            (same, "with the same label"),
            (relabelled, "with another label"),
            (moved, "in another split"),
        )
        if rows
    ]
    return list(first.values()), notes


def not_lfs(paths: Sequence[Path]) -> None:
    """Refuses files that git-lfs has not fetched; the first 20 that are there are looked at.

    Raises:
        DatasetError: one is a pointer.
    """
    for path in [p for p in paths[:SHOWN] if p.is_file()]:
        with path.open("rb") as file:
            if file.read(len(POINTER)) == POINTER:
                raise DatasetError(
                    f"{path}: expected a media file, but it is a pointer of git-lfs; run `git lfs pull` in its folder"
                )


def split_counts(rows: Sequence[Listed]) -> str:
    """
    >>> split_counts([Listed("a", "x", "train"), Listed("b", "x", "test"), Listed("c", "x", "train")])
    'train 2, test 1'
    """
    counts = Counter(row.split for row in rows)
    return ", ".join(f"{split} {counts[split]:,}" for split in SPLITS if counts[split])


def _examples(names: Sequence[str]) -> str:
    return ", ".join([*names[:5], *(["…"] if len(names) > 5 else [])])


def _refuse_labels(listed: Sequence[Listed], classes: set[str], where: Path) -> None:
    wrong: dict[str, str] = {}
    for row in listed:
        if row.label not in classes:
            wrong.setdefault(row.label, row.id)
    refuse_broken(
        [
            f"{where}: the label of `{id_}` must be one of the {len(classes)} classes, but is {label!r}"
            f"{_closest(label, classes)}"
            for label, id_ in wrong.items()
        ]
    )


def _closest(label: str, classes: Collection[str]) -> str:
    close = difflib.get_close_matches(label, classes, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _refuse_empty(empty: Sequence[str], listed: Mapping[str, int], where: Path) -> None:
    of = "; ".join(
        f"{label!r}: {listed[label]:,} listed, none there" if listed[label] else f"{label!r}: none listed"
        for label in empty[:SHOWN]
    )
    more = f"; and {len(empty) - SHOWN} more" if len(empty) > SHOWN else ""
    raise DatasetError(
        f"{where}: expected clips of every class, but there are none of {len(empty)} ({of}{more}); bring their files, "
        f"or set `dataset.allow_empty_classes: true` to go on without them (the ids of the classes stay as they are)"
    )


def _surprises(rows: int, expected: int | None, empty: Sequence[str]) -> list[str]:
    found = []
    if expected is not None and rows != expected:
        found.append(f"the lists hold {count(rows, 'row')}, where {expected:,} are expected")
    if empty:
        found.append(f"classes without any clip: {_examples(empty)}")
    return found
