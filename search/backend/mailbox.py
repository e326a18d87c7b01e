"""What the processes of a training tell the one that started them.

In a file of its own: the actor's process imports this file, and what this imports.
"""

from __future__ import annotations


class Mailbox:
    """An actor: keeps the epochs that are put until they are taken, and the first failure."""

    def __init__(self) -> None:
        self._epochs: list[dict[str, float]] = []
        self._failure: str | None = None

    def put(self, metrics: dict[str, float]) -> None:
        self._epochs.append(metrics)

    def take(self) -> list[dict[str, float]]:
        """Epochs since the last call."""
        epochs, self._epochs = self._epochs, []
        return epochs

    def fail(self, reason: str) -> None:
        self._failure = self._failure or reason

    def failure(self) -> str | None:
        """Why the training has failed, so that another try of it, as after a death, is in vain; None if it has not."""
        return self._failure
