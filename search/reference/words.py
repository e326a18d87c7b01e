"""Descriptions in words of the values that a key of the experiment file takes."""

from __future__ import annotations

from collections.abc import Sequence

from search.reference.members import Schema, choices, members

_NAMES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}
_LIMITS = {"minimum": "of at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


def join_words(words: list[str], last: str = "or") -> str:
    """Join words: `a, b or c`, but `a, b, or c of d and e` with a comma if a word contains "or" or "and"."""
    comma = "," if any(" or " in word or " and " in word for word in words) else ""
    return f"{comma} {last} ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _number(schema: Schema) -> str:
    """Describe a number: `whole number of at least 1`, `number above 0 and at most 1`, `number from 0 to 1`."""
    limits = [f"{words} {schema[key]}" for key, words in _LIMITS.items() if key in schema]
    if {"minimum", "maximum"} <= schema.keys():
        limits = [f"from {schema['minimum']} to {schema['maximum']}"]
    return " ".join([_NAMES[schema["type"]], " and ".join(limits)]).strip()


def _scalar(schema: Schema, others: list[str]) -> str:
    return _title(schema) if "title" in schema else _number(schema)


def _title(schema: Schema) -> str:
    return f"`{schema['title']}`"


def _list(schema: Schema, others: list[str]) -> str:
    if "prefixItems" in schema:
        return f"list of {len(schema['prefixItems'])} {takes(schema['prefixItems'][0])}s"
    items = takes(schema["items"])
    if schema["items"].get("type") == "object":
        return f"list of {items.replace('mapping', 'mappings', 1)}"
    return f"list of {items}" + ("" if "enum" in schema["items"] else "s")


def _mapping(schema: Schema, others: list[str]) -> str:
    if "title" in schema:
        return _title(schema)
    if "additionalProperties" not in schema:
        return "mapping of dotted paths to values"
    values = _words(schema["additionalProperties"])
    return f"mapping of names to {'these' if set(values) <= set(others) else join_words(values)}"


def _words(schema: Schema, others: Sequence[str] = ()) -> list[str]:
    """Return the kinds of values that a schema accepts; a mapping comes last, after the kinds in `others`."""
    if "anyOf" in schema:
        words: list[str] = []
        for member in sorted(members(schema), key=lambda member: member.get("type") == "object"):
            words += _words(member, words)
        return words
    if values := choices(schema):
        return [f"`{value}`" for value in values]
    return [{"array": _list, "object": _mapping}.get(schema["type"], _scalar)(schema, [*others])]


def takes(schema: Schema) -> str:
    """Describe the values that a schema accepts.

    >>> takes({"anyOf": [{"type": "integer", "minimum": 1}, {"const": "auto", "type": "string"}, {"type": "null"}]})
    'whole number of at least 1, `auto` or null'
    """
    return join_words(_words(schema))
