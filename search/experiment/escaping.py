"""Text from names, files and errors made safe to show: control characters for terminals, formulas for spreadsheets."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

# what moves the cursor, starts a command of the terminal, reorders or hides text, and halves of surrogate pairs, which
# cannot be written; the joiners of Persian, Hindi and emoji stay
CONTROLS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    r"\U000e0000-\U000e007f]"
)
# where a text begins that a spreadsheet may run: in a cell, and after a `;` or a tab, which may separate cells
FORMULA = re.compile(r"(?:^|(?<=[;\t]))(?=[=@\t\r\n\uff1d\uff20]|[+\-\uff0b\uff0d](?![\d.]+$))")


def escape_controls(text: str) -> str:
    r"""Show control characters as escapes, except line breaks and tabs.

    >>> escape_controls("\x1b]0;title\x07 abc\u202ecba\r\n")
    '\\x1b]0;title\\x07 abc\\u202ecba\\r\n'
    """
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def escape_line(text: str) -> str:
    r"""Show all control characters of a name as escapes, so that it stays on its line.

    >>> escape_line("dog\n\x07cat")
    'dog\\n\\x07cat'
    """
    return escape_controls(text).replace("\n", r"\n").replace("\t", r"\t")


def _cell(value: Any) -> Any:
    """Return a value as a cell that shows as written. An apostrophe marks text that would be run as a formula."""
    return escape_controls(FORMULA.sub("'", value)) if isinstance(value, str) else value


def csv_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    r"""Return a table as CSV that is safe in spreadsheets and terminals. Numbers stay as they are.

    >>> csv_table(["class", "change"], [["=1+1", -1.5], ["-dog", 2], ["\x07", ""]])
    "class,change\n'=1+1,-1.5\n'-dog,2\n\\x07,\n"
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_cell(cell) for cell in row] for row in (columns, *rows))
    return text.getvalue()
