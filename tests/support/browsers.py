"""Debian's chromium, headless and offline."""

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
    """Yield the browser; if it is missing, fail the test and say how to install it."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.fail(
            "chromium is missing; install it: `apt-get install chromium` (Debian) or `snap install chromium` (Ubuntu)"
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watched:
    """A page in the browser, with the errors and requests seen in it.

    Args:
        page: page of the browser.
        origin: the only origin from which the page may load anything.

    Attributes:
        troubles: errors of scripts and in the console.
        outside: refused requests to other origins.
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
        """Return the violations that axe-core finds, by WCAG 2.1 A and AA and best practices or by the named rules."""
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
    """Open a new page and watch it."""
    return Watched(browser.new_page(**options), origin)
