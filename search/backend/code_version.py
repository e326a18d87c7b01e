"""Version of the code that trains: recorded in the journal, and compared when trials are resumed."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from search.experiment.program import PACKAGES, ROOT, project
from search.tracking.client import versions

CODE, VERSION, COMMIT, MODULE = "code", "program", "commit", "module"  # keys; a module's is followed by its name
GIT_S = 10.0


def digest(places: Iterable[Path]) -> str:
    """Return a digest of the Python files in files and folders."""
    found = hashlib.blake2b(digest_size=16)
    for place in places:
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            found.update(f"{file.relative_to(place.parent)}\n".encode() + file.read_bytes())
    return found.hexdigest()


def code_version(own: Iterable[str]) -> dict[str, str]:
    """Return the version of this program, of the user's own modules, and of the packages that results depend on.

    Args:
        own: files or folders of the user's own modules.
    """
    program = {CODE: digest(ROOT / name for name in PACKAGES), VERSION: project()["version"], COMMIT: _commit()}
    modules = {f"{MODULE}.{Path(place).stem}": digest([Path(place)]) for place in own}
    return {**program, **modules, **versions()}


def _commit() -> str:
    """Return the checkout's git commit, and whether files differ from it; empty if this is no checkout."""
    if not (ROOT / ".git").exists():
        return ""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=, with changes", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=GIT_S).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def describe_changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return a phrase for each part of the code that differs.

    A commit that changes no code, such as one of the documentation, is not named.

    >>> describe_changes({"version.torch": "2.14", "module.mine": "1f"}, {"version.torch": "2.15", "module.mine": "2e"})
    ['torch (2.14 then, 2.15 now)', 'your module mine']
    """
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key) and key not in (VERSION, COMMIT)]
    return [_describe(key, before, now) for key in keys]


def code_note(before: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """Return a note if trials began with other code than the remaining ones will; None if `before` is unknown."""
    if not (before and (changed := describe_changes(before, now))):
        return None
    return (
        f"the code has changed since the last trial began: {'; '.join(changed)}. Trials before and after the change "
        "may not be comparable: to be sure, restore the code or start again under another name"
    )


def _describe(key: str, before: Mapping[str, str], now: Mapping[str, str]) -> str:
    kind, _, name = key.partition(".")
    if kind == MODULE:
        return f"your module {name}"
    if kind == CODE:
        return f"this program ({_program(before)} then, {_program(now)} now)"
    return f"{name} ({before.get(key, 'not installed')} then, {now.get(key, 'not installed')} now)"


def _program(version: Mapping[str, str]) -> str:
    return " ".join(filter(None, [version.get(VERSION), version.get(COMMIT)]))
