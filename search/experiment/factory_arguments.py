"""Keyword arguments of custom encoders and fusions: the check of what a file gives them against their signatures."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from inspect import Parameter
from typing import Any

from pydantic import PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError, TypeAdapter

from ogmge import components
from ogmge.config import STRICT, TrialConfig
from ogmge.factories import ENCODER_TAKES, FUSION_TAKES, accepted, describe, import_factory, is_custom
from search.experiment.messages import Fault, validate
from search.experiment.own_code import MODEL_PATHS
from search.experiment.space import Entry, extremes, with_changes
from search.experiment.yaml_source import Place, format_path

_NOT_PLAIN = (PydanticUserError, PydanticSchemaGenerationError, PydanticUndefinedAnnotation)


def argument_faults(trial: TrialConfig) -> list[Fault]:
    """Return the faults in the arguments of a trial's encoders and fusion, by path in `trial`.

    Only a factory that is given as a mapping is imported. One that cannot be imported has no faults here: the check
    that builds each model reports it.
    """
    given = components.places(trial.encoder, trial.fusion)
    return [fault for place, value in given.items() if isinstance(value, Mapping) for fault in _faults(place, value)]


def _faults(place: Place, value: Mapping[str, Any]) -> Iterator[Fault]:
    component = components.parse(value)
    try:
        factory = import_factory(component.name) if is_custom(component.name) else None
    except Exception:  # the user's module may raise any exception when it is imported
        return
    taken = FUSION_TAKES if place == ("fusion",) else ENCODER_TAKES
    if factory is None or (parameters := accepted(factory, len(taken))) is None:
        return
    _, faults = validate(_kind(parameters), dict(component.arguments), below=("trial", *place))
    for path, text in faults:
        yield (*place, *path), f"{text}; {component.name} accepts {describe(parameters)}"


def _kind(parameters: list[Parameter]) -> type:
    """Return a dataclass whose fields are the keyword arguments of a factory."""
    named = [each for each in parameters if each.kind is not Parameter.VAR_KEYWORD]
    extra = "forbid" if len(named) == len(parameters) else "ignore"
    return dataclasses.make_dataclass(
        "Arguments",
        [(p.name, _type(p), _field(p)) for p in named],
        namespace={"__pydantic_config__": STRICT | {"extra": extra}},
        kw_only=True,
    )


def _field(parameter: Parameter) -> Any:
    """Return a field that is required if the parameter is; defaults are the factory's own matter."""
    return dataclasses.field() if parameter.default is parameter.empty else dataclasses.field(default=None)


def _type(parameter: Parameter) -> Any:
    """Return the annotated type of a parameter, or `Any` without one that a value of a file can be checked against."""
    if parameter.annotation is parameter.empty or isinstance(parameter.annotation, str):
        return Any
    try:
        TypeAdapter(parameter.annotation)
    except _NOT_PLAIN:
        return Any
    return parameter.annotation


def choice_faults(space: Mapping[str, Entry], trial: TrialConfig) -> list[Fault]:
    """Return the faults in the arguments that the choices and ranges of a valid space lead to, by path in `space`."""
    own = {path for path, _ in argument_faults(trial)}
    return [
        ((path, key, *rest), text)
        for path, entry in space.items()
        if path.startswith(MODEL_PATHS)
        for key, value in extremes(entry).items()
        for rest, text in _faults_with(trial, path, value)
        if (*path.split("."), *rest) not in own
    ]


def _faults_with(trial: TrialConfig, path: str, value: Any) -> Iterator[Fault]:
    """Yield the faults in the arguments of a trial with another value at a dotted path, by path below it."""
    for place, text in argument_faults(with_changes(trial, {path: value})):
        here = tuple(path.split("."))
        if place[: len(here)] == here:
            yield place[len(here) :], text
        elif here[-1] == components.NAME:
            yield (), f"does not fit the arguments in `trial`: `{format_path(place)}` {text}"
