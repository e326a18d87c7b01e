"""Make the pictures in docs/images: `uv run python -m tests.docs.images` runs the demo and shows what a user sees.

The browser of the tests takes the screenshots. The terminals are drawn from what the demo writes to one. It takes
five minutes on two cores.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, Page
from rich.console import Console
from rich.text import Text

from search.experiment.start_command import NAMES
from tests.support import ROOT
from tests.support.browsers import chromium
from tests.support.served import served
from tests.support.terminals import COLUMNS, frame, run_in_terminal, screen

IMAGES = ROOT / "docs/images"
COMMAND = "uv run run_search.py experiments/demo.yaml"
WAIT_MS = 3000  # for plots and MLflow's tables to be drawn


def draw_terminal(text: str, file: Path, title: str = COMMAND) -> None:
    """Write what a terminal shows as an SVG, in a font that every machine has."""
    with Path(os.devnull).open("w", encoding="utf-8") as nothing:
        console = Console(record=True, width=COLUMNS, file=nothing, force_terminal=True)
        console.print(Text.from_ansi(text.strip("\n")))
        svg = console.export_svg(title=title, unique_id=file.stem)
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    file.write_text(svg.replace("Fira Code, monospace", "monospace"), encoding="utf-8")


def open_page(browser: Browser, address: str, width: int, height: int) -> Page:
    """Open a page and wait until its plots and tables are drawn."""
    page = browser.new_page(viewport={"width": width, "height": height})
    page.goto(address)
    page.wait_for_timeout(WAIT_MS)
    return page


def photograph_run(run: Path, images: Path) -> None:
    """Take a screenshot of the head of a run's report, and one of its page in MLflow."""
    with chromium() as browser:
        open_page(browser, (run / "report.html").resolve().as_uri(), 1100, 1160).screenshot(path=images / "report.png")
        images = images.resolve()
        with chdir(run.parent.parent), served("ui", run.name) as address:
            page = open_page(browser, address, 1280, 1000)
            for button in ("Close", "Expand description"):  # MLflow's chat panel; the verdict in full
                page.get_by_role("button", name=button, exact=True).click()
            page.wait_for_timeout(WAIT_MS)
            page.screenshot(path=images / "mlflow.png")


def main(overrides: Sequence[str], images: Path = IMAGES) -> None:
    """Run the demo with some overrides and make every picture of it."""
    with TemporaryDirectory() as folder:
        for name in NAMES:  # the commands in the pictures are those of the clone
            (Path(folder) / name).symlink_to(ROOT / name)
        command = [sys.executable, str(ROOT / "run_search.py"), str(ROOT / "experiments/demo.yaml"), *overrides]
        written = run_in_terminal(command, Path(folder))
        counts = [tuple(map(int, found)) for found in re.findall(r"(\d+) of (\d+) trials ended", written)]
        ended, trials = max((ended, trials) for ended, trials in counts if 3 * ended <= 2 * trials)
        draw_terminal(frame(written, f"{ended} of {trials} trials ended"), images / "search.svg")
        draw_terminal(screen(written), images / "verdict.svg")
        photograph_run(Path(folder) / "runs/demo", images)


if __name__ == "__main__":
    main(sys.argv[1:])
