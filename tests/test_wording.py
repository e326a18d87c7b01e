"""Everything that users are told, word for word: the only place that fixes sentences. See `tests/wording`."""

from __future__ import annotations

import difflib
from functools import cache

import pytest

from tests.wording.catalogue import HERE, RENEW, Chapter, Entry, provoked, written
from tests.wording.chapters import CHAPTERS

every_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.name)


@cache
def entries_of(chapter: Chapter) -> list[Entry]:
    return provoked(chapter)


@every_chapter
def test_what_is_printed_is_what_the_catalogue_holds(chapter):
    """An entry that has changed, is new or is no longer produced counts as a difference."""
    known = chapter.file.read_text(encoding="utf-8") if chapter.file.exists() else ""
    now = written(chapter, entries_of(chapter))
    lines = difflib.unified_diff(
        known.splitlines(), now.splitlines(), f"{chapter.file.name}", "what is printed now", lineterm=""
    )
    if difference := "\n".join(lines):
        pytest.fail(f"If the new wording is intended, record it with:\n  {RENEW}\n{difference}", pytrace=False)


def test_every_file_of_the_catalogue_is_that_of_a_chapter():
    assert {path.name for path in HERE.glob("*.md")} == {chapter.file.name for chapter in CHAPTERS}


@every_chapter
def test_no_mistake_ends_in_a_traceback(chapter):
    for entry in entries_of(chapter):
        assert "Traceback" not in entry.printed, entry
        assert entry.code in (None, 0, 1, 2, 75, 130), entry
        assert entry.printed.strip(), entry


def test_no_two_entries_have_the_same_title():
    titles = [entry.title for chapter in CHAPTERS for entry in entries_of(chapter)]
    assert not {title for title in titles if titles.count(title) > 1}
