"""The drawings of a terminal show what was on it."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console
from rich.live import Live
from rich.text import Text

from tests.docs.images import draw_terminal
from tests.support.terminals import drawn_text, frame, screen


@pytest.fixture
def written() -> str:
    """A table of two lines that changes three times, and what is printed before and after it."""
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system="standard")
    console.print("before")
    with Live(console=console, transient=True, auto_refresh=False) as live:
        for ended in (1, 2, 3):
            live.update(Text(f"{ended} of 3 trials ended\n  trial   {ended}", style="dim"), refresh=True)
    console.print("[bold]after[/bold]  it")
    return console.file.getvalue()


def test_a_live_table_is_gone_once_it_has_ended(written, tmp_path):
    draw_terminal(screen(written), tmp_path / "end.svg", "title")
    assert drawn_text((tmp_path / "end.svg").read_text()) == "before\nafter  it"


def test_a_live_table_is_shown_as_it_was_at_a_moment(written, tmp_path):
    draw_terminal(frame(written, "2 of 3 trials ended"), tmp_path / "live.svg", "title")
    assert drawn_text((tmp_path / "live.svg").read_text()) == "before\n2 of 3 trials ended\n  trial   2"


def test_a_drawing_asks_for_nothing_outside_it(written, tmp_path):
    draw_terminal(screen(written), tmp_path / "end.svg", "title")
    svg = (tmp_path / "end.svg").read_text()
    addresses = re.findall(r"""(?:url\(|href=|src=|@import)\s*["']?([^"')]*)""", svg)
    assert addresses
    assert [address for address in addresses if not address.startswith("#")] == []
