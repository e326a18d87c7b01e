"""Messages from the processes of a training to the process that started them.

This is a separate file because the actor's process imports it with everything it imports.
"""

from __future__ import annotations


class Mailbox:
    """Ray actor that holds reported epochs until they are taken, and the first failure."""

    def __init__(self) -> None:
        self._epochs: list[dict[str, float]] = []
        self._failure: str | None = None

    def put(self, metrics: dict[str, float]) -> None:
        self._epochs.append(metrics)

    def take(self) -> list[dict[str, float]]:
        """Return the epochs reported since the last call."""
        epochs, self._epochs = self._epochs, []
        return epochs

    def fail(self, reason: str) -> None:
        self._failure = self._failure or reason

    def failure(self) -> str | None:
        """Return why the training failed, in which case a retry is useless; None if it has not failed."""
        return self._failure
