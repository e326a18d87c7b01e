"""What a class says of itself and of each of its arguments."""

from __future__ import annotations

import inspect
import re

_SECTION = re.compile(r"^(?:Args|Returns|Raises):\n", re.MULTILINE)
_ARGUMENT = re.compile(r"^    (\w+(?:, \w+)*): (.*(?:\n     .*)*)", re.MULTILINE)


def flow(text: str) -> str:
    """Without line breaks, but for those between paragraphs."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text.strip()))


def summary(kind: type) -> str:
    """What stands before the sections of the docstring, each paragraph on a line."""
    return flow(_SECTION.split(inspect.getdoc(kind) or "", maxsplit=1)[0])


def arguments(kind: type) -> dict[str, str]:
    """What the section `Args` says of each, as a sentence; of several that it names together the same. Then what
    the classes say that it inherits from, of what it does not document itself."""
    found: dict[str, str] = {}
    for owner in kind.__mro__:
        _, _, rest = (inspect.getdoc(owner) or "").partition("\nArgs:\n")
        for names, text in _ARGUMENT.findall(_SECTION.split(rest, maxsplit=1)[0]):
            said = flow(text)
            for name in names.split(", "):
                found.setdefault(name, said[:1].upper() + said[1:])
    return found
