"""Wrapping of texts between words, without the libraries of the screen."""

from __future__ import annotations

import re
import textwrap

from search.experiment.escaping import escape_controls

NO_BREAK = "\N{NO-BREAK SPACE}"
# spaces without a line break: 82.4 ± 0.9 %, 2.0 points, p = 0.031, 2 h 02 min
GLUE = re.compile(
    r"(?<=\d) (?=%|(?:points?|seeds?|pairs?|trials?|epochs?|examples?|classes|h|min|s)\b(?!=))"
    r"|(?<=\bh) (?=\d)|(?<=\bmin) (?=\d)|(?<=±) | (?=±)|(?<=\bp) (?==)|(?<=\bp =) "
)


def glue(text: str) -> str:
    """Return a text with no-break spaces between numbers and their units."""
    return GLUE.sub(NO_BREAK, text)


def wrap(text: str, width: int, indent: str = "", *, hang: str = "", fold: bool = False) -> list[str]:
    """Wrap a text between words; a number stays with its unit.

    Args:
        text: text without line breaks.
        width: width of a line, in columns.
        indent: text at the start of every line.
        hang: further text at the start of every line but the first.
        fold: whether words longer than a line are broken too. Otherwise they stay whole, so a path can be copied.

    >>> wrap("82.4 ± 0.9 % of all", 14), wrap("batch_size=16 epochs=20", 16)
    (['82.4 ± 0.9 %', 'of all'], ['batch_size=16', 'epochs=20'])
    """
    wrapper = textwrap.TextWrapper(width, indent, indent + hang, break_long_words=fold, break_on_hyphens=False)
    lines = wrapper.wrap(glue(escape_controls(text)))
    return [line.replace(NO_BREAK, " ") for line in lines]


def wrap_message(text: str, width: int, hang: str = "") -> str:
    """Wrap the lines of a message between words. Indented lines are commands and stay whole, so that one can copy them.

    >>> wrap_message("Resume with:\\n  uv run search", 8)
    'Resume\\nwith:\\n  uv run search'
    """
    lines = escape_controls(text).split("\n")
    return "\n".join("\n".join([line] if line[:1] in ("", " ") else wrap(line, width, hang=hang)) for line in lines)
