"""What stands in the pages for users: README, CONTRIBUTING and `docs/`."""

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
    """The examples in a language of a page, by its path from the root."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [content for kind, content in FOUND.findall(text) if kind == language]


def block(page: str, language: str, holds: str) -> str:
    """The one example that holds some text."""
    [found] = [content for content in blocks(page, language) if holds in content]
    return found


def commands() -> dict[str, set[str]]:
    """Every command of an `sh` example -> the pages that show it; comments are no part of it, `a && b` is two."""
    found: dict[str, set[str]] = {}
    for page in PAGES:
        for text in blocks(name_of(page), "sh"):
            for line in text.replace("\\\n", " ").splitlines():
                for command in AND.split(re.sub(r"(^|\s+)#.*", "", line)):
                    if command.strip():
                        found.setdefault(" ".join(command.split()), set()).add(name_of(page))
    return found


def anchors(page: Path) -> set[str]:
    """What a link can point to in a page, as GitHub makes it of the headings."""
    text = FOUND.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
