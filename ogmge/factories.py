"""Custom encoders and fusions, named as `package.module:factory`: their import, and which of them a trial names."""

from __future__ import annotations

import inspect
import os
import pkgutil
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ogmge.config import ENCODER_NAMES, FUSION_NAMES, TrialConfig

PYTHON = tuple(Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "platstdlib", "purelib", "platlib"))


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


def custom_factories(config: TrialConfig) -> list[str]:
    """Return the names in a trial that are neither built in nor torchvision's, in the order of their appearance."""
    encoders = config.encoder.values() if isinstance(config.encoder, dict) else [config.encoder]
    named = [name for name in encoders if name not in ENCODER_NAMES and not name.startswith("torchvision:")]
    return list(dict.fromkeys([*named, *([config.fusion] if config.fusion not in FUSION_NAMES else [])]))
