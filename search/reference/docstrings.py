"""Descriptions of classes and their arguments, read from docstrings."""

from __future__ import annotations

import inspect
import re

_SECTION = re.compile(r"^(?:Args|Returns|Raises):\n", re.MULTILINE)
_ARGUMENT = re.compile(r"^    (\w+(?:, \w+)*): (.*(?:\n     .*)*)", re.MULTILINE)


def flow(text: str) -> str:
    """Join the lines of each paragraph; keep the breaks between paragraphs."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text.strip()))


def summary(kind: type) -> str:
    """Return the text before the first section of the docstring, one line per paragraph."""
    return flow(_SECTION.split(inspect.getdoc(kind) or "", maxsplit=1)[0])


def arguments(kind: type) -> dict[str, str]:
    """Return the description of each argument in the `Args` section, with a capital letter.

    Arguments named together share one description. Arguments that the class does not document take the description of
    the nearest base class.
    """
    found: dict[str, str] = {}
    for owner in kind.__mro__:
        _, _, rest = (inspect.getdoc(owner) or "").partition("\nArgs:\n")
        for names, text in _ARGUMENT.findall(_SECTION.split(rest, maxsplit=1)[0]):
            said = flow(text)
            for name in names.split(", "):
                found.setdefault(name, said[:1].upper() + said[1:])
    return found
