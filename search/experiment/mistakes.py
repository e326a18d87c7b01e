"""What a user can fix: the one base of all of our errors that are answered with a sentence and exit code 2."""

from __future__ import annotations

from collections.abc import Sequence


class UserError(Exception):
    """A mistake in what was asked for, or in what it was to be done with.

    Args:
        sentences: one for each mistake; all are shown at once.
    """

    def __init__(self, *sentences: str) -> None:
        self.sentences: Sequence[str] = sentences
        super().__init__("\n".join(sentences))
