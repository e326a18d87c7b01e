"""Access to the unions in a JSON schema. Shell completion uses it too, so it imports nothing slow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Schema = dict[str, Any]


def members(schema: Schema, definitions: Mapping[str, Schema] | None = None) -> Iterator[Schema]:
    """Yield the alternatives of a schema: the members of a union, or the schema itself.

    Args:
        schema: a schema or a part of one.
        definitions: schemas by name, used to resolve references.
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
    """Return the values that a schema enumerates; empty if it enumerates none."""
    values: list[Any] = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return values
