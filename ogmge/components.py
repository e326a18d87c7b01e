"""Encoders and fusions in a configuration: a name, or a mapping with the `name` and keyword arguments of a factory.

Both are plain data, which a YAML file and a checkpoint can hold: `mine:net`, or `{name: mine:net, width: 64}`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

NAME = "name"  # key that tells an encoder with arguments from a mapping with an encoder for each modality
EXPECTED = f"text, or a mapping with `{NAME}` and arguments"


@dataclass(frozen=True)
class Component:
    """Encoder or fusion: the name of its factory, and the keyword arguments of a custom one."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the name with the arguments.

        >>> str(Component("mlp")), str(Component("mine:net", {"width": 64, "act": "relu"}))
        ('mlp', "mine:net(width=64, act='relu')")
        """
        said = ", ".join(f"{key}={value!r}" for key, value in self.arguments.items())
        return f"{self.name}({said})" if said else self.name


def is_component(value: Any) -> bool:
    """Return whether a value is a component, not a mapping with one for each modality, nor invalid.

    >>> is_component("mlp"), is_component({"name": "mine:net", "width": 64}), is_component({"audio": "mlp"})
    (True, True, False)
    """
    return isinstance(value, str) or (isinstance(value, Mapping) and isinstance(value.get(NAME), str))


def parse(value: str | Mapping[str, Any]) -> Component:
    """Return the component that a valid value describes."""
    if isinstance(value, str):
        return Component(value)
    return Component(value[NAME], {key: argument for key, argument in value.items() if key != NAME})


def places(encoder: Any, fusion: Any) -> dict[tuple[str, ...], Any]:
    """Return the value of each encoder and of the fusion, by its path in the configuration.

    >>> places({"audio": "mlp", "visual": "resnet18"}, "sum")
    {('encoder', 'audio'): 'mlp', ('encoder', 'visual'): 'resnet18', ('fusion',): 'sum'}
    """
    found: dict[tuple[str, ...], Any] = {("encoder",): encoder}
    if isinstance(encoder, Mapping) and NAME not in encoder:
        found = {("encoder", name): value for name, value in encoder.items()}
    return {**found, ("fusion",): fusion}


def is_plain(value: Any) -> bool:
    """Return whether a value is one that a YAML file can hold; a checkpoint may come from anyone and hold others."""
    if type(value) in (list, tuple):
        return all(map(is_plain, value))
    if type(value) is dict:
        return {*map(type, value)} <= {str} and all(map(is_plain, value.values()))
    return type(value) in (str, bool, int, type(None)) or (type(value) is float and math.isfinite(value))


def problem(value: Any, known: Iterable[str]) -> str | None:
    """Return what was expected instead of a component; None if it is valid.

    Args:
        value: value in a configuration.
        known: names of the built-in ones, which take no arguments.
    """
    if not is_component(value):
        return EXPECTED
    its, known = parse(value), list(known)
    if its.name not in known and ":" not in its.name:
        return f"{', '.join(known)} or package.module:factory"
    if its.arguments and (its.name in known or its.name.startswith("torchvision:")):
        return f"without arguments ({its.name} takes none, only package.module:factory does)"
    odd = [str(key) for key, argument in its.arguments.items() if not is_plain({key: argument})]
    plain = "with finite numbers, text, true, false, null, lists or mappings as arguments"
    return f"{plain}, which {' and '.join(odd)} is not" if odd else None
