"""Index of a data set: each listed id once, with its files or as missing."""

from __future__ import annotations

import difflib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from datasets.index.clips import SPLITS, Clip, Index, Source, SplitName
from datasets.index.hidden import hidden_note, is_hidden
from datasets.index.list_files import SHOWN, count, raise_errors
from datasets.index.one_file import one_file_each
from datasets.registry import DatasetError, expand

VIDEOS = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".flv")
AS_BEFORE, CHANGED = "with the same label", {"label": "with a different label", "split": "in a different split"}
GIT = ".git"  # start of the names of Git's files
POINTER = b"version https://git-lfs"  # first bytes of a file that Git LFS has not fetched yet


@dataclass(frozen=True, slots=True)
class Row:
    """Row of a publisher's list; see `Clip` for the fields."""

    id: str
    label: str
    split: SplitName
    group: str | None = None
    begin_s: float = 0.0
    end_s: float | None = None


RowT = TypeVar("RowT", bound=Row)


def folder(path: str, holds: str, option: str = "source") -> Path:
    """Return the folder that an option names.

    Raises:
        DatasetError: if there is no such folder.
    """
    found = expand(path).absolute()  # workers may have another home folder
    if not found.is_dir():
        raise DatasetError(f"`dataset.{option}` must be the folder that holds {holds}, but there is no folder {found}")
    return found


def list_file(source: Path, name: str, option: str) -> Path:
    """Return the list file that an option names, relative to `source`.

    Raises:
        DatasetError: if there is no such file.
    """
    found = source / expand(name)
    if not found.is_file():
        raise DatasetError(f"{found}: list file not found; put it there, or set `dataset.{option}` to its location")
    return found


def walk(top: Path, hidden: set[str], suffixes: Collection[str] = VIDEOS) -> Iterator[Path]:
    """Yield the files with these suffixes in `top` and its subfolders, sorted; links are followed once each.

    Args:
        top: folder to search.
        hidden: set to which the paths of hidden files and folders are added, except Git's; they are skipped.
        suffixes: endings, in lower case.
    """
    for where, names in _walk_folders(top, hidden):
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in suffixes:
                yield Path(where, name)


def _walk_folders(top: Path, hidden: set[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder and the names of its files, without hidden ones."""
    seen: set[str] = set()
    for where, folders, names in os.walk(top, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        hidden.update(os.path.join(where, n) for n in (*folders, *names) if is_hidden(n) and not n.startswith(GIT))
        folders[:] = sorted(f for f in folders if not is_hidden(f))
        yield where, [n for n in names if not is_hidden(n)]


def youtube_start(stem: str, numbers: int) -> tuple[str, int] | None:
    """Return the id and start in a file's stem that ends in `numbers` numbers, zero-padded or not.

    >>> youtube_start("-0_aB_3_4x9_000030", 1), youtube_start("-0_aB_3_4x9_000030_000040", 2)
    (('-0_aB_3_4x9', 30), ('-0_aB_3_4x9', 30))
    """
    parts = re.fullmatch("(.+)_([0-9]+)" + "_[0-9]+" * (numbers - 1), stem, re.DOTALL)
    return (parts[1], int(parts[2])) if parts else None


def youtube_finder(
    top: Path, numbers: int, hidden: set[str]
) -> tuple[Callable[[Row], dict[str, Source] | None], list[str]]:
    """Return a function that finds the video of a row with the id `{id}_{start}`, and notes on the videos.

    Args:
        top: folder of the videos.
        numbers: number of numbers at the end of a file's name: 1 for `{id}_{start}`, 2 for `{id}_{start}_{end}`.
        hidden: set to which the paths of hidden files are added.
    """
    videos, notes = one_file_each(walk(top, hidden), lambda path: youtube_start(path.stem, numbers), top)

    def find(row: Row) -> dict[str, Source] | None:
        key = youtube_start(row.id, 1)
        return audiovisual(videos.get(key)) if key else None

    return find, notes


def audiovisual(video: Path | None, begin_s: float = 0.0, end_s: float | None = None) -> dict[str, Source] | None:
    """Return the sources of audio and frames in one video, or None if there is no video."""
    if video is None:
        return None
    return {
        "audio": Source("audio", (video,), begin_s, end_s),
        "visual": Source("video", (video,), begin_s, end_s),
    }


def gather(
    listed: Sequence[RowT],
    find: Callable[[RowT], Mapping[str, Source] | None],
    *,
    classes: Collection[str],
    where: Path,
    expected_rows: int | None = None,
    notes: Sequence[str] = (),
    hidden: Collection[str] = (),
    allow_empty_classes: bool = False,
) -> Index:
    """Return the index of the listed clips whose files exist.

    Args:
        listed: the publisher's rows.
        find: function that returns a row's files, or None if any is missing.
        classes: names of all classes.
        where: folder that is searched, for errors.
        expected_rows: known number of rows in the publisher's list.
        notes: notes to put before those made here.
        hidden: paths of the hidden files that were skipped.
        allow_empty_classes: whether classes may have no clips.

    Raises:
        DatasetError: if a label is not a class, no clip has its files, or a class has no clips.
    """
    _check_labels(listed, set(classes), where)
    rows, repeats = drop_repeats(listed)
    clips, missing = _find_clips(rows, find)
    if not clips:
        raise DatasetError(
            f"{where}: found none of the files of {count(len(rows), 'listed clip')} (the first is `{rows[0].id}`); "
            f"`dataset.source` must be, or lie in, the folder that holds them"
        )
    empty = sorted(set(classes) - {clip.label for clip in clips})
    if empty and not allow_empty_classes:
        raise _empty_error(empty, Counter(row.label for row in rows), where)
    skipped = [hidden_note([os.path.basename(path) for path in hidden])] if hidden else []
    said = (*notes, *skipped, *repeats, *_surprises(len(listed), expected_rows, empty))
    return Index(tuple(sorted(classes)), tuple(clips), tuple(missing), said, len(listed), expected_rows)


def _find_clips(
    rows: Sequence[RowT], find: Callable[[RowT], Mapping[str, Source] | None]
) -> tuple[list[Clip], list[str]]:
    """Return the clips whose files exist, and the ids of the others."""
    clips: list[Clip] = []
    missing: list[str] = []
    for row in rows:
        sources = find(row)
        if sources is None:
            missing.append(row.id)
        else:
            clips.append(Clip(row.id, row.label, row.split, row.group, sources))
    return clips, missing


def drop_repeats(rows: Sequence[RowT]) -> tuple[list[RowT], list[str]]:
    """Return the first row of each id, and notes on the rows that repeat an id."""
    first: dict[str, RowT] = {}
    repeats: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        for how in _repeats(first.setdefault(row.id, row), row):
            repeats[how].append(row.id)
    notes = [
        f"rows that repeat an id {how}: {len(repeats[how]):,}; the first is kept ({_examples(repeats[how])})"
        for how in (AS_BEFORE, *CHANGED.values())
        if how in repeats
    ]
    return list(first.values()), notes


def _repeats(first: Row, row: Row) -> list[str]:
    """Say how a row differs from the first with its id; empty for the first itself."""
    if row is first:
        return []
    return [how for name, how in CHANGED.items() if getattr(row, name) != getattr(first, name)] or [AS_BEFORE]


def check_not_lfs(paths: Sequence[Path]) -> None:
    """Check the first 20 existing files: Git LFS must have fetched them.

    Raises:
        DatasetError: if one is a Git LFS pointer.
    """
    for path in [p for p in paths[:SHOWN] if p.is_file()]:
        with path.open("rb") as file:
            if file.read(len(POINTER)) == POINTER:
                raise DatasetError(
                    f"{path}: expected a media file, but this is a Git LFS pointer; in its folder run:\n  git lfs pull"
                )


def split_counts(rows: Sequence[Row]) -> str:
    """Format the number of rows in each split.

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
            f"{where}: the label of `{id_}` must be in the list of {count(len(classes), 'class')}, but is {label!r}"
            f"{_suggestion(label, classes)}"
            for label, id_ in wrong.items()
        ]
    )


def _suggestion(label: str, classes: Collection[str]) -> str:
    close = difflib.get_close_matches(label, classes, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _empty_error(empty: Sequence[str], listed: Mapping[str, int], where: Path) -> DatasetError:
    of = "; ".join(
        f"{label!r}: {listed[label]:,} listed, none found" if listed[label] else f"{label!r}: none listed"
        for label in empty[:SHOWN]
    )
    more = f"; and {len(empty) - SHOWN} more" if len(empty) > SHOWN else ""
    return DatasetError(
        f"{where}: expected clips of every class, but found none for {count(len(empty), 'class')} ({of}{more}); add "
        f"the files, or set `dataset.allow_empty_classes: true` to continue without them (class ids stay the same)"
    )


def _surprises(rows: int, expected: int | None, empty: Sequence[str]) -> Iterator[str]:
    if expected is not None and rows != expected:
        yield f"the lists hold {count(rows, 'row')}; {expected:,} were expected"
    if empty:
        yield f"classes without clips: {_examples(empty)}"
