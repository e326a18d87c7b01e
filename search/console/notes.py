"""Lines, paragraphs and notes on the screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from search.backend.notices import collect_notices
from search.console.tables import shown
from search.console.wrapping import wrap, wrap_message
from search.experiment.start_command import start_from_here

if TYPE_CHECKING:  # a command that only prints notes need not load the samplers
    from search.verdict.next_step import NextStep


def print_note(console: Console, text: str) -> None:
    """Print a note: wrapped on a terminal, a line elsewhere; its commands work in the working folder."""
    said = start_from_here(f"note: {text}")
    print_line(console, wrap_message(said, console.width) if console.is_terminal else said, "yellow")


def print_line(console: Console, text: str, style: str = "") -> None:
    """Print a text as written: no markup, no wrapping. Its commands work in the working folder."""
    console.print(shown(start_from_here(text), style), soft_wrap=True)


def print_paragraph(console: Console, text: str, style: str = "") -> None:
    """Print a paragraph, wrapped to the screen; a number stays with its unit."""
    for line in wrap(start_from_here(text), console.width):
        print_line(console, line, style)


def print_step(console: Console, step: NextStep) -> None:
    """Print what to do next, the command on a line of its own."""
    print_paragraph(console, step.text, "bold")
    if step.command is not None:
        print_line(console, f"\n    {step.command}")


@contextmanager
def notes_at_the_end(console: Console) -> Iterator[None]:
    """Collect the warnings given inside, and print each once at the end, with its count."""
    with collect_notices() as notices:
        try:
            yield
        finally:
            for text, times in Counter(notices.take()).items():
                print_note(console, f"{text} ({times} times)" if times > 1 else text)
