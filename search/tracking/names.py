"""Names and texts of the user, such as names of modalities, as MLflow accepts them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256

NAME_LENGTH = 250  # MLflow's limit for the name of a metric, parameter, tag or run
TAG_LENGTH, PARAMETER_LENGTH = 5000, 6000  # MLflow's limits for values
DIGEST_LENGTH = 8
REFUSED = re.compile(r"[^/\w.\- :]")  # in names
NO_PART = re.compile(r"^\.\.|(?<![^/])\.{0,2}(?![^/])")  # in paths: `..` in front; empty, `.` or `..`


def as_name(name: str) -> str:
    """Return the name of a metric, parameter or tag; if MLflow would refuse it, a similar one with a digest.

    The digest keeps names apart that differ only in characters that are replaced.

    >>> as_name("val/accuracy/audio 2"), as_name("val/accuracy/rgb+flow")
    ('val/accuracy/audio 2', 'val/accuracy/rgb_flow-ab8a4591')
    """
    accepted = NO_PART.sub("_", REFUSED.sub("_", name))
    if accepted == name and len(name) <= NAME_LENGTH:
        return name
    digest = sha256(name.encode(errors="surrogatepass")).hexdigest()[:DIGEST_LENGTH]
    return f"{accepted[: NAME_LENGTH - len(digest) - 1]}-{digest}"


def as_text(text: str, length: int) -> str:
    """Return at most the first `length` characters of a value; those that databases refuse become question marks.

    >>> as_text("take 1 \\udce9", 6), as_text("take 1 \\udce9", 20)
    ('take 1', 'take 1 ?')
    """
    return text[:length].encode(errors="replace").decode().replace("\0", "?")


def as_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return tags with names and values that MLflow accepts."""
    return {as_name(name): as_text(value, TAG_LENGTH) for name, value in tags.items()}
