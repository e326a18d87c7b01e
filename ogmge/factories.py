"""Custom encoders and fusions, named as `package.module:factory`: their import, their arguments, and which a trial
names."""

from __future__ import annotations

import inspect
import os
import pkgutil
import sys
import sysconfig
from collections.abc import Callable
from inspect import Parameter
from pathlib import Path
from typing import Any

from ogmge import components
from ogmge.components import Component
from ogmge.config import ENCODER_NAMES, FUSION_NAMES, TrialConfig

INSTALLED = ("stdlib", "platstdlib", "purelib", "platlib", "scripts")  # kinds of folders that no user's module is in
PYTHON = tuple(Path(sysconfig.get_path(kind)).resolve() for kind in INSTALLED)
ENCODER_TAKES = ("shape",)  # what an encoder's factory is called with, before its keyword arguments
FUSION_TAKES = ("dims", "classes")  # and a fusion's


def import_factory(name: str) -> Callable[..., Any]:
    """Import a custom factory.

    Raises:
        ValueError: if it is not callable, or belongs to Python's standard library, which has neither encoders nor
            fusions but functions that run programs and delete files.
        ImportError, AttributeError: if it does not exist.
    """
    _refuse_standard(name, name.partition(":")[0])
    try:
        factory = pkgutil.resolve_name(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}{searched()}", name=error.name) from error
    if not callable(factory):
        raise ValueError(f"{name} is not callable")
    if inspect.isroutine(factory) or inspect.isclass(factory):
        _refuse_standard(name, factory.__module__ or "builtins")  # another module may import it: `mine:os.system`
    return factory  # type: ignore[no-any-return]


def own_folders() -> list[str]:
    """Return the folders of `sys.path` without Python's own and those of installed packages."""
    folders = dict.fromkeys(path or os.getcwd() for path in sys.path)
    return [folder for folder in folders if not is_installed(folder)]


def is_installed(path: str) -> bool:
    """Return True for Python's own modules, also zipped ones, and for modules in site-packages."""
    return path.endswith(".zip") or any(map(Path(path).resolve().is_relative_to, PYTHON))


def searched() -> str:
    """Return a clause that names the folders in which Python looks for a module."""
    return f"; searched in {', '.join(own_folders())} and the installed packages"


def _refuse_standard(name: str, module: str) -> None:
    if module.partition(".")[0] in sys.stdlib_module_names:
        raise ValueError(f"{name} is part of Python's standard library, which has neither encoders nor fusions")


def is_custom(name: str) -> bool:
    """Return whether a name is neither built in nor torchvision's."""
    return name not in (*ENCODER_NAMES, *FUSION_NAMES) and not name.startswith("torchvision:")


def say_error(error: Exception) -> str:
    """Return the text of an error, with its type if the text is no sentence, as that of a `KeyError` is not."""
    return f"{type(error).__name__}: {error}" if isinstance(error, LookupError) or not str(error) else str(error)


def custom_factories(config: TrialConfig) -> list[str]:
    """Return the names in a trial that are neither built in nor torchvision's, in the order of their appearance."""
    given = components.places(config.encoder, config.fusion).values()
    return list(dict.fromkeys(filter(is_custom, (components.parse(value).name for value in given))))


def call_factory(component: Component, *positional: Any) -> Any:
    """Import a custom factory and return what it makes of the positional and the component's keyword arguments.

    Raises:
        ValueError: if its signature does not allow these arguments; the message lists what it accepts.
        Exception: whatever the import or the factory raises.
    """
    factory = import_factory(component.name)
    if (signature := _signature(factory)) is not None:
        try:
            signature.bind(*positional, **component.arguments)
        except TypeError as error:
            accepts = describe(accepted(factory, len(positional)))
            raise ValueError(f"{error}: {component.name} accepts {accepts}") from error
    return factory(*positional, **component.arguments)


def _signature(factory: Callable[..., Any]) -> inspect.Signature | None:
    """Return a signature, with annotations as objects where they can be evaluated; None for a callable in C."""
    try:
        return inspect.signature(factory, eval_str=True)
    except (ValueError, TypeError):
        return None
    except Exception:  # an annotation may be any expression: names that only type checkers import, for example
        return inspect.signature(factory)


def accepted(factory: Callable[..., Any], positional: int) -> list[Parameter] | None:
    """Return the keyword arguments that a factory accepts after its positional ones; None if it does not tell.

    One of the kind `VAR_KEYWORD` stands for any others.
    """
    if (signature := _signature(factory)) is None:
        return None
    every = list(signature.parameters.values())
    fixed = [each for each in every if each.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)]
    taken = [*fixed[:positional], *(each for each in every if each.kind is Parameter.VAR_POSITIONAL)]
    return [each for each in every if each not in taken and each.kind is not Parameter.POSITIONAL_ONLY]


def describe(parameters: list[Parameter] | None) -> str:
    """Return the keyword arguments that a factory accepts as text.

    >>> def net(shape, width: int = 64, *, act="relu"): ...
    >>> describe(accepted(net, 1)), describe([])
    ("width: int = 64, act='relu'", 'no arguments')
    """
    return ", ".join(map(str, parameters or [])) or "no arguments"
