"""The unions in a JSON schema. It imports nothing: completion, which a shell waits for, walks them too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def members(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The schemas of which one must hold: of a union those of its members, else the schema itself."""
    union = schema.get("anyOf", schema.get("oneOf"))
    if union is None:
        yield schema
    for member in union or ():
        yield from members(member)
