"""What a key of the experiment file takes, in words."""

from __future__ import annotations

from search.reference.json_schema import Schema
from search.reference.members import members

_NAMES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}
_LIMITS = {"minimum": "of at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


def join_words(words: list[str], last: str = "or") -> str:
    """`a, b or c`; `a, b, or c of d and e`."""
    comma = "," if any(" or " in word or " and " in word for word in words) else ""
    return f"{comma} {last} ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _number(schema: Schema) -> str:
    """`whole number of at least 1`, `number above 0 and at most 1`, `number from 0 to 1`."""
    limits = [f"{words} {schema[key]}" for key, words in _LIMITS.items() if key in schema]
    if {"minimum", "maximum"} <= schema.keys():
        limits = [f"from {schema['minimum']} to {schema['maximum']}"]
    return " ".join([_NAMES[schema["type"]], " and ".join(limits)]).strip()


def _list(schema: Schema) -> str:
    if "prefixItems" in schema:
        return f"list of {len(schema['prefixItems'])} {takes(schema['prefixItems'][0])}s"
    return f"list of {takes(schema['items'])}" + ("" if "enum" in schema["items"] else "s")


def _words(schema: Schema) -> list[str]:
    """What may stand in a key's place, each kind by itself."""
    if "anyOf" in schema:
        words = [word for member in members(schema) if member.get("type") != "object" for word in _words(member)]
        mappings = [_mapping(member, words) for member in members(schema) if member.get("type") == "object"]
        return words + mappings
    if "enum" in schema or "const" in schema:
        return [f"`{value}`" for value in schema.get("enum", [schema.get("const")])]
    if schema["type"] == "array":
        return [_list(schema)]
    if schema["type"] == "object":
        return [_mapping(schema, [])]
    return [f"`{schema['title']}`" if "title" in schema else _number(schema)]


def _mapping(schema: Schema, others: list[str]) -> str:
    values = _words(schema["additionalProperties"])
    return f"mapping of names to {'these' if set(values) <= set(others) else join_words(values)}"


def takes(schema: Schema) -> str:
    """What may stand in a key's place.

    >>> takes({"anyOf": [{"type": "integer", "minimum": 1}, {"const": "auto", "type": "string"}, {"type": "null"}]})
    'whole number of at least 1, `auto` or null'
    """
    return join_words(_words(schema))
