"""Which numbers an option takes, found by trying.

`ogmge` and `datasets` check their options when they are made, in plain Python, and no annotation says what is allowed.
So they are asked, and what a page says of them is what they do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any


def refuses(kind: type, key: str) -> Callable[[float], bool]:
    """Whether a dataclass takes a number for `key`: where it does not, a sentence of its error begins with the name."""
    needed: dict[str, Any] = {
        field.name: "x"
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }

    def refused(value: float) -> bool:
        try:
            kind(**needed, **{key: value})
        except ValueError as error:
            return any(sentence.startswith(f"`{key}`") for sentence in str(error).split("; "))
        return False

    return refused


def limits(refused: Callable[[float], bool], *, whole: bool) -> dict[str, int]:
    """The limits of a number in JSON Schema's words, as far as they are 0 or 1; whole numbers have no upper one.

    >>> limits(lambda x: not 0 < x <= 1, whole=False)
    {'exclusiveMinimum': 0, 'maximum': 1}
    >>> limits(lambda x: x < 1, whole=True)
    {'minimum': 1}
    """
    found: dict[str, int] = {}
    if refused(-1):
        least = next((n for n in (0, 1) if not refused(n)), None)
        if not whole and refused(0) and not refused(1e-9):
            found["exclusiveMinimum"] = 0
        elif least is not None:
            found["minimum"] = least
    if not whole and refused(2):
        found["exclusiveMaximum" if refused(1) else "maximum"] = 1
    return found
