"""What a message must say, whatever its words: the facts in it."""

from __future__ import annotations

import re


def tells(text: object, *facts: object) -> None:
    """Assert that a text names each of the facts, as whole words, whatever stands between and around them.

    Facts are what a reader acts on: the key (`trial.epochs`), the file, the line, the value that came, what was
    expected, the choices, the command to run. Spaces and line breaks count as one space, so that a table or a wrapped
    line tells the same as a plain one.

    Args:
        text: what was printed, an exception, or anything with such a `str`.
        facts: each must be found; a number is not found within another number, nor a word within a longer one.

    >>> tells("`trial.epochs` must be at least 1, but got 0 (a.yaml, line 12)", "`trial.epochs`", 1, 0, "line 12")
    >>> tells("at most 10", 1)
    Traceback (most recent call last):
    ...
    AssertionError: 1 is not told in: at most 10
    """
    plain = " ".join(str(text).split())
    for fact in facts:
        words = " ".join(str(fact).split())
        before = r"(?<![\w.])" if re.match(r"\w", words) else ""
        after = r"(?!\w|\.\d)" if re.search(r"\w$", words) else ""
        assert re.search(before + re.escape(words) + after, plain), f"{words} is not told in: {plain}"
