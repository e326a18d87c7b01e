"""Custom encoders and fusions, named as `package.module:factory`: their import, and which of them a trial names."""

from __future__ import annotations

import inspect
import pkgutil
import sys
from collections.abc import Callable
from typing import Any

from ogmge.config import ENCODER_NAMES, FUSION_NAMES, TrialConfig


def import_factory(name: str) -> Callable[..., Any]:
    """Import a custom factory.

    Raises:
        ValueError: if it is not callable, or belongs to Python's standard library, which has neither encoders nor
            fusions but functions that run programs and delete files.
        ImportError, AttributeError: if it does not exist.
    """
    _refuse_standard(name, name.partition(":")[0])
    factory = pkgutil.resolve_name(name)
    if not callable(factory):
        raise ValueError(f"{name} is not callable")
    if inspect.isroutine(factory) or inspect.isclass(factory):
        _refuse_standard(name, factory.__module__ or "builtins")  # another module may import it: `mine:os.system`
    return factory  # type: ignore[no-any-return]


def _refuse_standard(name: str, module: str) -> None:
    if module.partition(".")[0] in sys.stdlib_module_names:
        raise ValueError(f"{name} is part of Python's standard library, which has neither encoders nor fusions")


def custom_factories(config: TrialConfig) -> list[str]:
    """Return the names in a trial that are neither built in nor torchvision's, in the order of their appearance."""
    encoders = config.encoder.values() if isinstance(config.encoder, dict) else [config.encoder]
    named = [name for name in encoders if name not in ENCODER_NAMES and not name.startswith("torchvision:")]
    return list(dict.fromkeys([*named, *([config.fusion] if config.fusion not in FUSION_NAMES else [])]))
