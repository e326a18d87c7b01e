"""Contents of the pages for users: README, CONTRIBUTING and `docs/`."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FOUND = re.compile(r"^```(\w+)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
AND = re.compile(r" && (?=(?:[^']*'[^']*')*[^']*$)")  # outside quotes


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: str, language: str) -> list[str]:
    """Return the code blocks in a language of a page, given by its path from the root."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [content for kind, content in FOUND.findall(text) if kind == language]


def block(page: str, language: str, holds: str) -> str:
    """Return the only code block that contains a text."""
    [found] = [content for content in blocks(page, language) if holds in content]
    return found


def commands() -> dict[str, set[str]]:
    """Return every command of an `sh` block -> the pages that show it. Comments are removed; `a && b` is split."""
    found: dict[str, set[str]] = {}
    for page in PAGES:
        for text in blocks(name_of(page), "sh"):
            for line in text.replace("\\\n", " ").splitlines():
                for command in AND.split(re.sub(r"(^|\s+)#.*", "", line)):
                    if command.strip():
                        found.setdefault(" ".join(command.split()), set()).add(name_of(page))
    return found


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page, as GitHub derives them from the headings."""
    text = FOUND.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
