"""Assertion that a message names the facts that it must contain, regardless of its wording."""

from __future__ import annotations

import re


def tells(text: object, *facts: object) -> None:
    """Assert that a text contains each of the facts as whole words, with any text between and around them.

    Facts are what a reader acts on: the key (`trial.epochs`), the file, the line, the value that came, the expected
    value, the choices, the command to run. Any whitespace counts as one space, so that tables and wrapped lines match
    like plain ones.

    Args:
        text: printed text, an exception, or any object whose `str` is the text.
        facts: facts that must all be found; a number does not match within another number, nor a word within a word.

    >>> tells("`trial.epochs` must be at least 1, but got 0 (a.yaml, line 12)", "`trial.epochs`", 1, 0, "line 12")
    >>> tells("at most 10", 1)
    Traceback (most recent call last):
    ...
    AssertionError: 1 is missing in: at most 10
    """
    plain = " ".join(str(text).split())
    for fact in facts:
        words = " ".join(str(fact).split())
        before = r"(?<![\w.])" if re.match(r"\w", words) else ""
        after = r"(?!\w|\.\d)" if re.search(r"\w$", words) else ""
        assert re.search(before + re.escape(words) + after, plain), f"{words} is missing in: {plain}"
