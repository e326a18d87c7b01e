"""State of a clip's files: whether a quarantined clip is worth another try."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from datasets.index.clips import Clip
from datasets.index.hidden import is_hidden
from datasets.store.settings import Limits
from datasets.store.sound import SILENT


def state_of(clip: Clip, limits: Limits, reason: str) -> str | None:
    """Return a text that changes if a file of the clip is replaced or a limit is changed, or None without the files.

    The level of silence counts only for clips that are quarantined because they are silent.
    """
    paths = dict.fromkeys(path for source in clip.sources.values() for path in source.paths)
    try:
        states = [state for path in paths for state in _states(path)]
    except OSError:
        return None
    silence = (limits.silence_dbfs,) if reason.startswith(SILENT) else ()
    known = (states, limits.max_megapixels, limits.clip_timeout_s, *silence)
    return hashlib.sha256(repr(known).encode()).hexdigest()[:16]


def _states(path: Path) -> Iterator[tuple[str, int, int]]:
    """Yield the name, size and time of change of a file, or of all files of a folder that are not hidden."""
    files = sorted(f for f in path.iterdir() if not is_hidden(f.name)) if path.is_dir() else [path]
    for file in files:
        now = file.stat()
        yield file.name, now.st_size, now.st_mtime_ns
