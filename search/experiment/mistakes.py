"""Base class of the errors that a user can fix; the command line prints their sentences and exits with code 2."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from search.experiment.start_command import as_argument


class UserError(Exception):
    """Invalid input: an error in the request, or in the files and data that it needs.

    Args:
        sentences: one sentence per error; all are shown at once.
    """

    def __init__(self, *sentences: str) -> None:
        self.sentences: Sequence[str] = sentences
        super().__init__("\n".join(sentences))

    @property
    def listing(self) -> tuple[str, Sequence[str]]:
        """Heading of a list of these errors, and its items."""
        return f"{len(self.sentences)} errors:", self.sentences


IGNORED = {"prepare": r"(?!dataset\b)", "train": r"(space|confirm)\b", "run_search.py": "(?!)"}  # assignments


def name_file(text: str, words: Sequence[str]) -> str:
    r"""Return a message with the user's file in the commands that it shows, which say FILE.

    Args:
        text: message.
        words: file and assignments, as typed; a command gets those that it uses. Empty if they are unknown.

    >>> name_file("run `uv run python -m search train FILE`", ["-x/it's.yaml", "space={}"])
    'run `uv run python -m search train \'./-x/it\'"\'"\'s.yaml\'`'
    """

    def named(match: re.Match[str]) -> str:
        file, *assignments = words
        used = [word for word in assignments if not re.match(IGNORED[match[1]], word)]
        return f"{match[1]} {shlex.join([as_argument(file), *used])}"

    return re.sub(r"\b(prepare|train|run_search\.py) FILE\b", named, text) if words else text
