"""From a publisher's rows to the index of what is there: each id once, each with its files, or named as missing."""

from __future__ import annotations

import difflib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets.index.clips import SPLITS, Clip, Index, Source, SplitName
from datasets.index.list_files import SHOWN, count, raise_errors
from datasets.registry import DatasetError

VIDEOS = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".flv")
AS_BEFORE, CHANGED = "with the same label", {"label": "with another label", "split": "in another split"}
POINTER = b"version https://git-lfs"  # how a file begins that git-lfs has not fetched yet


@dataclass(frozen=True, slots=True)
class Row:
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
    found = Path(path).expanduser().absolute()  # a worker's home may be elsewhere
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


def walk(top: Path, suffixes: Collection[str] = VIDEOS) -> Iterator[Path]:
    """Files of these suffixes in `top` and its folders, in the order of their names; links are followed, once each."""
    for where, names in _walk_folders(top):
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in suffixes:
                yield Path(where, name)


def _walk_folders(top: Path) -> Iterator[tuple[str, list[str]]]:
    """Each folder that is not hidden, and the names of its files."""
    seen: set[str] = set()
    for where, folders, names in os.walk(top, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        yield where, names


def youtube_start(stem: str, numbers: int) -> tuple[str, int] | None:
    """Id and start of a file's stem that ends in `numbers` numbers, padded with zeros or not.

    >>> youtube_start("-0_aB_3_4x9_000030", 1), youtube_start("-0_aB_3_4x9_000030_000040", 2)
    (('-0_aB_3_4x9', 30), ('-0_aB_3_4x9', 30))
    """
    parts = re.fullmatch("(.+)_([0-9]+)" + "_[0-9]+" * (numbers - 1), stem, re.DOTALL)
    return (parts[1], int(parts[2])) if parts else None


def youtube_finder(top: Path, numbers: int) -> Callable[[Row], dict[str, Source] | None]:
    """What finds the video of a row whose id is `{id}_{start}`, in files named so or `{id}_{start}_{end}`.

    Args:
        top: folder of the videos.
        numbers: how many the files' names end in.
    """
    videos: dict[tuple[str, int] | None, Path] = {}
    for path in walk(top):
        videos.setdefault(youtube_start(path.stem, numbers), path)
    videos.pop(None, None)
    return lambda row: audiovisual(videos.get(youtube_start(row.id, 1)))


def audiovisual(video: Path | None, begin_s: float = 0.0, end_s: float | None = None) -> dict[str, Source] | None:
    """Audio and frames of one video, or None where there is none."""
    if video is None:
        return None
    return {
        "audio": Source("audio", (video,), begin_s, end_s),
        "visual": Source("video", (video,), begin_s, end_s),
    }


def gather(
    listed: Sequence[Row],
    find: Callable[[Row], Mapping[str, Source] | None],
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
        notes: come before those that are made here.
        allow_empty_classes: whether classes may be without any clip.

    Raises:
        DatasetError: a label that is no class, no clip there at all, or classes without any.
    """
    _check_labels(listed, set(classes), where)
    rows, repeats = drop_repeats(listed)
    clips, missing = _find_clips(rows, find)
    if not clips:
        raise DatasetError(
            f"{where}: expected the files of {count(len(rows), 'listed clip')} (`{rows[0].id}` is the first), but none "
            f"is there; `dataset.source` must be the folder that holds them"
        )
    empty = sorted(set(classes) - {clip.label for clip in clips})
    if empty and not allow_empty_classes:
        raise _empty_error(empty, Counter(row.label for row in rows), where)
    said = (*notes, *repeats, *_surprises(len(listed), expected_rows, empty))
    return Index(tuple(sorted(classes)), tuple(clips), tuple(missing), said, len(listed), expected_rows)


def _find_clips(
    rows: Sequence[Row], find: Callable[[Row], Mapping[str, Source] | None]
) -> tuple[list[Clip], list[str]]:
    """The clips whose files are there, and the ids of the others."""
    clips: list[Clip] = []
    missing: list[str] = []
    for row in rows:
        sources = find(row)
        if sources is None:
            missing.append(row.id)
        else:
            clips.append(Clip(row.id, row.label, row.split, row.group, sources))
    return clips, missing


def drop_repeats(rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """Each id once, as it is listed first, and what to say of those that were listed again."""
    first: dict[str, Row] = {}
    repeats: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        for how in _repeats(first.setdefault(row.id, row), row):
            repeats[how].append(row.id)
    notes = [
        f"rows that list an id again {how}: {len(repeats[how]):,}; its first row is kept ({_examples(repeats[how])})"
        for how in (AS_BEFORE, *CHANGED.values())
        if how in repeats
    ]
    return list(first.values()), notes


def _repeats(first: Row, row: Row) -> list[str]:
    """How a row lists an id again; nothing where it is the first."""
    if row is first:
        return []
    return [how for name, how in CHANGED.items() if getattr(row, name) != getattr(first, name)] or [AS_BEFORE]


def check_not_lfs(paths: Sequence[Path]) -> None:
    """Looks at the first 20 files that are there: git-lfs must have fetched them.

    Raises:
        DatasetError: one is a pointer.
    """
    for path in [p for p in paths[:SHOWN] if p.is_file()]:
        with path.open("rb") as file:
            if file.read(len(POINTER)) == POINTER:
                raise DatasetError(
                    f"{path}: expected a media file, but it is a pointer of git-lfs; run `git lfs pull` in its folder"
                )


def split_counts(rows: Sequence[Row]) -> str:
    """
    >>> split_counts([Row("a", "x", "train"), Row("b", "x", "test"), Row("c", "x", "train")])
    'train 2, test 1'
    """
    counts = Counter(row.split for row in rows)
    return ", ".join(f"{split} {counts[split]:,}" for split in SPLITS if counts[split])


def _examples(names: Sequence[str]) -> str:
    return ", ".join([*names[:5], *(["…"] if len(names) > 5 else [])])


def _check_labels(listed: Sequence[Row], classes: set[str], where: Path) -> None:
    wrong: dict[str, str] = {}
    for row in listed:
        if row.label not in classes:
            wrong.setdefault(row.label, row.id)
    raise_errors(
        [
            f"{where}: the label of `{id_}` must be one of the {len(classes)} classes, but is {label!r}"
            f"{_suggestion(label, classes)}"
            for label, id_ in wrong.items()
        ]
    )


def _suggestion(label: str, classes: Collection[str]) -> str:
    close = difflib.get_close_matches(label, classes, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _empty_error(empty: Sequence[str], listed: Mapping[str, int], where: Path) -> DatasetError:
    of = "; ".join(
        f"{label!r}: {listed[label]:,} listed, none there" if listed[label] else f"{label!r}: none listed"
        for label in empty[:SHOWN]
    )
    more = f"; and {len(empty) - SHOWN} more" if len(empty) > SHOWN else ""
    return DatasetError(
        f"{where}: expected clips of every class, but there are none of {len(empty)} ({of}{more}); bring their files, "
        f"or set `dataset.allow_empty_classes: true` to go on without them (the ids of the classes stay as they are)"
    )


def _surprises(rows: int, expected: int | None, empty: Sequence[str]) -> Iterator[str]:
    if expected is not None and rows != expected:
        yield f"the lists hold {count(rows, 'row')}, where {expected:,} are expected"
    if empty:
        yield f"classes without any clip: {_examples(empty)}"
