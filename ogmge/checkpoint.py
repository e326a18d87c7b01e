"""Checkpoint files: written atomically, verified by checksum, and loaded without executing code from them."""

from __future__ import annotations

import os
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

VERSION = 1


class CheckpointError(RuntimeError):
    """Error: the file is missing, corrupt, of another version, or not a checkpoint of this project."""


class WriteError(OSError):
    """Error: the file cannot be written. An earlier file of this name is unchanged."""


def save(state: dict[str, Any], path: Path) -> None:
    """Write a state to a temporary file next to `path`, flush it to disk, then rename it to `path`.

    Args:
        state: tensors and plain values.
        path: file to write; its folder is created if missing.

    Raises:
        WriteError: if the file cannot be written. An earlier file at `path` is then unchanged.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save({"version": VERSION, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        refused = error if isinstance(error, OSError) else error.__context__  # torch hides the OSError behind its own
        if isinstance(refused, OSError):
            raise WriteError(refused.errno, refused.strerror, str(path)) from error
        raise
    finally:
        with suppress(OSError):  # the first error counts
            temporary.unlink(missing_ok=True)


def _read(path: Path) -> Any:
    """Return the content of a file after verifying its checksums, which torch does not do."""
    if path.exists() and not path.is_file():  # a pipe would block
        raise OSError(f"{path} is not a regular file")
    with zipfile.ZipFile(path) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise zipfile.BadZipFile("it is compressed, as torch's files never are")  # a small file could fill memory
        if (damaged := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")
    return torch.load(path, map_location="cpu", weights_only=True)


def load(path: Path) -> dict[str, Any]:
    """Return the state that `save` wrote, with its tensors on the CPU.

    Raises:
        CheckpointError: if the file is missing, corrupt, of another version, or not a checkpoint of this project.
    """
    try:
        state = _read(path)
    except Exception as error:  # on corrupt bytes the unpickler may raise any exception
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {error}") from error
    if not isinstance(state, dict) or "version" not in state:
        raise CheckpointError(f"{path} is not a checkpoint of this project")
    if state["version"] != VERSION:
        raise CheckpointError(f"{path} has format version {state['version']}, but this program reads version {VERSION}")
    return state
