"""What the processes of a training tell the one that started them.

In a file of its own: the actor's process imports this file, and what this imports.
"""

from __future__ import annotations

from typing import Any


class Mailbox:
    """An actor: keeps what is put until it is taken."""

    def __init__(self) -> None:
        self._news: list[dict[str, Any]] = []
        self._over = False

    def put(self, news: dict[str, Any]) -> None:
        self._news.append(news)
        self._over = self._over or "failure" in news

    def take(self) -> list[dict[str, Any]]:
        """What came since the last call."""
        news, self._news = self._news, []
        return news

    def over(self) -> bool:
        """Whether the training has failed, so that another try of it, as after a death, is in vain."""
        return self._over
