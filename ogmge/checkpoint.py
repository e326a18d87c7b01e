"""Files that hold training state: written whole or not at all, read without running anything from them."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import torch

VERSION = 1


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be read: damaged, of another version, or none of ours."""


def save(state: dict[str, Any], path: Path) -> None:
    """Writes `state` (tensors and plain values) beside `path`, flushes it to the disk, then renames it.

    Raises:
        OSError: the disk refuses it; what was at `path` stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save({"version": VERSION, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        refused = error if isinstance(error, OSError) else error.__context__  # torch has an error of its own over it
        if isinstance(refused, OSError):
            raise OSError(refused.errno, refused.strerror, str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _read(path: Path) -> Any:
    """The file's content; its checksums first, which torch does not look at."""
    with zipfile.ZipFile(path) as archive:
        if (damaged := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")
    return torch.load(path, map_location="cpu", weights_only=True)


def load(path: Path) -> dict[str, Any]:
    """What `save` wrote, on the CPU.

    Raises:
        CheckpointError: with the file and what is wrong with it.
    """
    try:
        state = _read(path)
    except Exception as error:  # damaged bytes make the unpickler raise anything
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {error}") from error
    if not isinstance(state, dict) or "version" not in state:
        raise CheckpointError(f"{path} is no checkpoint of this project")
    if state["version"] != VERSION:
        raise CheckpointError(f"{path} has version {state['version']} of the format, but this program reads {VERSION}")
    return state
