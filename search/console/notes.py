"""Lines, paragraphs and notes on the screen."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from search.backend.notices import collect_notices
from search.verdict.next_step import NextStep

NO_BREAK = "\N{NO-BREAK SPACE}"
# spaces without a line break: 82.4 ± 0.9 %, 2.0 points, p = 0.031, 2 h 02 min
GLUE = re.compile(
    r"(?<=\d) (?=%|(?:points?|seeds?|pairs?|trials?|epochs?|examples?|classes|h|min|s)\b(?!=))"
    r"|(?<=\bh) (?=\d)|(?<=\bmin) (?=\d)|(?<=±) | (?=±)|(?<=\bp) (?==)|(?<=\bp =) "
)


def print_note(console: Console, text: str) -> None:
    """Print a note: wrapped on a terminal, a line elsewhere."""
    said = f"note: {text}"
    print_line(console, wrap_message(said, console.width) if console.is_terminal else said, "yellow")


def wrap_message(text: str, width: int, hang: str = "") -> str:
    """Wrap the lines of a message between words. Indented lines are commands and stay whole, so that one can copy them.

    >>> wrap_message("Resume with:\\n  uv run search", 8)
    'Resume\\nwith:\\n  uv run search'
    """
    lines = text.splitlines()
    return "\n".join("\n".join([line] if line[:1] in ("", " ") else wrap(line, width, hang=hang)) for line in lines)


def print_line(console: Console, text: str, style: str = "") -> None:
    """Print a text as written: no markup, no wrapping."""
    console.print(Text(text, style=style), soft_wrap=True)


def print_paragraph(console: Console, text: str, style: str = "") -> None:
    """Print a paragraph, wrapped to the screen; a number stays with its unit."""
    for line in wrap(text, console.width):
        print_line(console, line, style)


def print_step(console: Console, step: NextStep) -> None:
    """Print what to do next, the command on a line of its own."""
    print_paragraph(console, step.text, "bold")
    if step.command is not None:
        print_line(console, f"\n    {step.command}")


def glue(text: str) -> str:
    """Return a text with no-break spaces between numbers and their units."""
    return GLUE.sub(NO_BREAK, text)


def wrap(text: str, width: int, indent: str = "", *, hang: str = "", fold: bool = False) -> list[str]:
    """Wrap a text between words; a number stays with its unit.

    Args:
        text: text without line breaks.
        width: width of a line, in columns.
        indent: text at the beginning of every line.
        hang: further text at the beginning of every line but the first.
        fold: whether words longer than a line are broken too. Otherwise they stay whole, so a path can be copied.

    >>> wrap("82.4 ± 0.9 % of all", 14), wrap("batch_size=16 epochs=20", 16)
    (['82.4 ± 0.9 %', 'of all'], ['batch_size=16', 'epochs=20'])
    """
    wrapper = textwrap.TextWrapper(width, indent, indent + hang, break_long_words=fold, break_on_hyphens=False)
    lines = wrapper.wrap(glue(text))
    return [line.replace(NO_BREAK, " ") for line in lines]


@contextmanager
def notes_at_the_end(console: Console) -> Iterator[None]:
    """Collect the warnings given inside, and print each once at the end, with its count."""
    with collect_notices() as notices:
        try:
            yield
        finally:
            for text, times in Counter(notices.take()).items():
                print_note(console, f"{text} ({times} times)" if times > 1 else text)
