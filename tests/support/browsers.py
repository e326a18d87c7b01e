"""Debian's chromium, without a screen and without a network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, sync_playwright

AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser; where it is missing, the test that asks for it says how to get it."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.fail(
            "chromium is missing: `apt-get install chromium` has it on Debian, `snap install chromium` on Ubuntu"
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watched:
    """A page, and what went on in it.

    Args:
        page: of the browser.
        origin: where alone it may ask for anything.

    Attributes:
        troubles: errors in the console and of scripts.
        outside: what was asked for elsewhere, and refused.
    """

    page: Page
    origin: str
    troubles: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.route("**/*", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.troubles.append(f"{message.text} ({message.location.get('url')})")

    def _request(self, route: Route) -> None:
        url = route.request.url
        if url.startswith((self.origin, "data:", "blob:")):
            route.continue_()
        else:
            self.outside.append(url)
            route.abort()

    def audit(self, *rules: str) -> list[str]:
        """What axe-core finds wrong, by the rules of WCAG 2.1 A and AA or by those named."""
        self.page.evaluate(AXE.read_text(encoding="utf-8"))
        wanted = {"type": "rule", "values": list(rules)}
        if not rules:
            wanted = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
        found = self.page.evaluate("options => axe.run(document, {runOnly: options})", wanted)
        return [
            f"{violation['id']}: {violation['help']} at {node['target']}: {node['failureSummary']}"
            for violation in found["violations"]
            for node in violation["nodes"]
        ]


def watched(browser: Browser, origin: str, **options: Any) -> Watched:
    """A new page."""
    return Watched(browser.new_page(**options), origin)
