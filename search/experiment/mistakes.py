"""Base class of the errors that a user can fix; the command line prints their sentences and exits with code 2."""

from __future__ import annotations

from collections.abc import Sequence


class UserError(Exception):
    """Invalid input: an error in the request, or in the files and data that it needs.

    Args:
        sentences: one sentence per error; all are shown at once.
    """

    def __init__(self, *sentences: str) -> None:
        self.sentences: Sequence[str] = sentences
        super().__init__("\n".join(sentences))
