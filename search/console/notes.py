"""Plain lines, and notes: what is said beside the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from search.backend.notices import collect_notices


def print_note(console: Console, text: str) -> None:
    """Print a note, whose lines are not wrapped."""
    console.print(Text(f"note: {text}", style="yellow"), soft_wrap=True)


def print_line(console: Console, text: str) -> None:
    """Print a text as it is: nothing in it is markup, and its lines are not wrapped."""
    console.print(Text(text), soft_wrap=True)


@contextmanager
def notes_at_the_end(console: Console) -> Iterator[None]:
    """Keep the warnings that come meanwhile, and print each once, with how often it came."""
    with collect_notices() as notices:
        try:
            yield
        finally:
            for text, count in Counter(notices.take()).items():
                print_note(console, f"{text} ({count} times)" if count > 1 else text)
