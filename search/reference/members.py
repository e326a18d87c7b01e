"""The unions in a JSON schema. It imports nothing: completion, which a shell waits for, walks them too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Schema = dict[str, Any]


def members(schema: Schema, definitions: Mapping[str, Schema] | None = None) -> Iterator[Schema]:
    """The schemas of which one must hold: of a union those of its members, else the schema itself.

    Args:
        schema: the whole, or a part of it.
        definitions: schemas by name, which take the place of references to them.
    """
    if definitions and "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    union = schema.get("anyOf", schema.get("oneOf"))
    if union is None:
        yield schema
        return
    for member in union:
        yield from members(member, definitions)


def choices(schema: Schema) -> list[Any]:
    """The values that a schema names one by one; none where it names none."""
    values: list[Any] = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return values
