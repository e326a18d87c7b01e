"""JSON schema of the experiment file, for editors and for docs/keys.md.

Like the check of the file, it refuses unknown keys. Unlike it, it does not compare keys, such as the ends of a window.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from datasets import registry
from ogmge.config import ENCODER_NAMES, FUSION_NAMES
from search.experiment.dimensions import Range
from search.experiment.schema import Experiment
from search.reference.docstrings import arguments, flow, summary
from search.reference.members import Schema, members

_OWN = {"type": "string", "pattern": ":"}
_INSIDE = r"^(encoder|fusion)\..+$"  # the encoder of a modality, or an argument of a custom factory
_DEFS = "#/$defs/"


class _Described(GenerateJsonSchema):
    """pydantic's generator, extended by the docstrings of dataclasses and the metadata of their fields."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> Schema:
        found = super().default_schema(schema)
        if isinstance(found.get("default"), dict):  # of a section, whose keys have their own defaults
            del found["default"]
        return found

    def model_schema(self, schema: core_schema.ModelSchema) -> Schema:
        found = super().model_schema(schema)
        for value in (found, *found["properties"].values()):
            if "description" in value:
                value["description"] = flow(value["description"])
        return found

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> Schema:
        found, kind = super().dataclass_schema(schema), schema["cls"]
        found["description"] = summary(kind)
        said = arguments(kind)
        for key, value in found["properties"].items():
            if key in said:
                value["description"] = said[key]
            for number in _numbers(value):
                number.update(kind.__dataclass_fields__[key].metadata)  # its bounds
        return found


def _numbers(schema: Schema) -> list[Schema]:
    """Return the members of a schema that describe numbers."""
    return [member for member in members(schema) if member.get("type") in ("integer", "number")]


def _of(kind: type) -> tuple[Schema, Schema]:
    """Return the schema of a class, and the definitions that it refers to."""
    found = TypeAdapter(kind).json_schema(schema_generator=_Described)
    return found, found.pop("$defs", {})


def _component(names: tuple[str, ...]) -> list[Schema]:
    """Return the alternatives of an encoder or a fusion: a built-in name, a custom factory, or one with arguments."""
    own = _OWN | {"title": "package.module:factory"}
    given = {"type": "object", "title": "{name: package.module:factory, …}", "properties": {"name": own}}
    return [{"enum": list(names)}, own, given | {"required": ["name"]}]


def _allow_components(trial: Schema) -> None:
    """Restrict the encoder and the fusion of a trial; each modality may have its own encoder."""
    one: Schema = {"anyOf": _component(ENCODER_NAMES)}
    each = {"type": "object", "not": {"required": ["name"]}, "additionalProperties": one}
    trial["encoder"]["anyOf"] = [*_component(ENCODER_NAMES), each]
    trial["fusion"]["anyOf"] = _component(FUSION_NAMES)
    trial["fusion"].pop("type", None)


def _dataset(described: str) -> tuple[Schema, Schema]:
    """Return the schema of the section `dataset`: the options of each built-in data set, anything for a custom one."""
    choices: list[Schema] = []
    definitions: Schema = {}
    for name in registry.BUILT_IN:
        kind = registry.find(name)
        options, parts = _of(kind)
        options["properties"]["name"]["description"] = options["description"]
        options["required"] = ["name", *options.get("required", [])]
        order = dict.fromkeys([*options["required"], *arguments(kind)])  # inherited options come last
        options["properties"] = {key: options["properties"][key] for key in order}
        definitions |= {kind.__name__: options, **parts}
        choices.append({"$ref": _DEFS + kind.__name__})
    said = {"title": "package.module:Class", "description": "A custom class; its fields are the options."}
    own: Schema = {"type": "object", "properties": {"name": _OWN | said}, "required": ["name"]}
    return {"description": described, "oneOf": [*choices, own]}, definitions


def _searchable(schema: Schema, definitions: Schema, place: str, prefix: str = "") -> Iterator[tuple[str, str, Schema]]:
    """Yield the dotted path, the place in the schema and the schema of each key below `trial`."""
    for key, value in schema["properties"].items():
        if "$ref" in value:
            inner = definitions[value["$ref"].removeprefix(_DEFS)]
            yield from _searchable(inner, definitions, value["$ref"], f"{prefix}{key}.")
        else:
            yield prefix + key, f"{place}/properties/{key}", value


def _space(described: str, trial: str, definitions: Schema) -> Schema:
    """Return the schema of the section `space`: choices for each key of `trial`, and ranges for numbers."""
    interval, _ = _of(Range)
    properties: Schema = {}
    for path, place, value in _searchable(definitions[trial.removeprefix(_DEFS)], definitions, trial):
        ranges = [_range(interval, {"$ref": place}, number["type"]) for number in _numbers(value)]
        properties[path] = {"description": value["description"], "anyOf": [_choices({"$ref": place}), *ranges]}
    said = "The encoder of one modality, or an argument of a custom factory, if `trial` has it."
    part = {"description": said, "anyOf": [_choices({}), _range(interval, {"type": "number"}, "number")]}
    parts = {_INSIDE: part, r"^weights\.[^.]+$": _of_one(definitions, "weights", trial)}
    return {
        "description": described,
        "type": "object",
        "properties": properties,
        "patternProperties": parts,
        "additionalProperties": False,
    }


def _of_one(definitions: Schema, key: str, trial: str) -> Schema:
    value = definitions[trial.removeprefix(_DEFS)]["properties"][key]
    mapping = next(i for i, member in enumerate(value["anyOf"]) if "additionalProperties" in member)
    choices = _choices({"$ref": f"{trial}/properties/{key}/anyOf/{mapping}/additionalProperties"})
    return {"description": f"{value['description']} This key is for one modality.", **choices}


def _choices(items: Schema) -> Schema:
    return {"type": "array", "items": items, "minItems": 1}


def _range(interval: Schema, number: Schema, kind: str) -> Schema:
    said = {key: {"description": value["description"]} for key, value in interval["properties"].items()}
    step = {"anyOf": [{"type": kind, "exclusiveMinimum": 0}, {"type": "null"}], "default": None}
    properties = {
        "low": number | said["low"],
        "high": number | said["high"],
        "step": step | said["step"],
        "log": interval["properties"]["log"],
    }
    return {
        "type": "object",
        "description": interval["description"],
        "properties": properties,
        "required": interval["required"],
        "additionalProperties": False,
    }


def experiment_schema() -> Schema:
    """Return the JSON schema (draft 2020-12) of an experiment file."""
    root, definitions = _of(Experiment)
    properties = root["properties"]
    trial = properties["trial"]["$ref"]
    _allow_components(definitions[trial.removeprefix(_DEFS)]["properties"])
    properties["dataset"], more = _dataset(properties["dataset"]["description"])
    properties["space"] = _space(properties["space"]["description"], trial, definitions)
    definitions.pop(Range.__name__)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root, "$defs": {**definitions, **more}}
