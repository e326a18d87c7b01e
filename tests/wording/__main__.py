"""Rewrite all chapters: `uv run python -m tests.wording`."""

from __future__ import annotations

from tests.wording.catalogue import provoked, written
from tests.wording.chapters import CHAPTERS


def main() -> None:
    """Write each chapter, and print whether it has changed."""
    for chapter in CHAPTERS:
        before = chapter.file.read_text(encoding="utf-8") if chapter.file.exists() else ""
        text = written(chapter, provoked(chapter))
        chapter.file.write_text(text, encoding="utf-8")
        print(f"{chapter.file.name}: {'unchanged' if text == before else 'written'}")


if __name__ == "__main__":
    main()
