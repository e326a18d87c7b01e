"""State of a clip's files: whether a quarantined clip is worth another try."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from datasets.index.clips import Clip
from datasets.store.settings import Limits


def state_of(clip: Clip, limits: Limits) -> str | None:
    """Return a text that changes if a file of the clip is replaced or a limit is changed, or None without the files."""
    paths = dict.fromkeys(path for source in clip.sources.values() for path in source.paths)
    try:
        states = [state for path in paths for state in _states(path)]
    except OSError:
        return None
    return hashlib.sha256(repr((states, limits.max_megapixels, limits.clip_timeout_s)).encode()).hexdigest()[:16]


def _states(path: Path) -> Iterator[tuple[str, int, int]]:
    """Yield the name, size and time of change of a file, or of all files of a folder."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    for file in files:
        now = file.stat()
        yield file.name, now.st_size, now.st_mtime_ns
