"""Files that MLflow keeps with its runs, sent on a thread of their own."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

AGAIN_AFTER_S = 5.0


class Uploads:
    """Sends files one after the other, however long each takes. What fails is tried again later."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, Path], bool] = {}
        self._changed = threading.Condition()
        self._closing = self._given_up = False
        self._trouble: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="mlflow-uploads", daemon=True)

    def connected(self, client: MlflowClient) -> None:
        """It can begin."""
        self._client = client
        self._thread.start()

    def add(self, run_id: str, file: Path, *, look: bool = False) -> None:
        """A file to be kept with a run; where there is none by that name, nothing.

        Args:
            run_id: of the run.
            file: to be sent.
            look: whether it may be there already, as after a resume; one that was cut off is sent again.
        """
        with self._changed:
            self._waiting[run_id, file] = look
            self._changed.notify()

    def finish(self) -> None:
        """Each file that is left is tried once more."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def lack(self, seconds: float) -> list[str]:
        """Waits for the end, so long at most; returns what MLflow has not got, if anything, in words."""
        if self._thread.is_alive():
            self._thread.join(max(0.0, seconds))
        self._given_up = True
        count = len(self._waiting)
        return [f"{count} file{'s' * (count > 1)} ({self._trouble or 'there was no time'})"] if count else []

    # ---- on the thread ----

    def _work(self) -> None:
        while not self._given_up:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                closing, batch = self._closing, dict(self._waiting)
            failed = [item for item, look in batch.items() if not self._sent(*item, look)]
            if closing:
                return
            if failed:
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, AGAIN_AFTER_S)

    def _sent(self, run_id: str, file: Path, look: bool) -> bool:
        if self._given_up:
            return False
        try:
            if file.exists() and not (look and self._there(run_id, file)):
                self._client.log_artifact(run_id, str(file))
        except Exception as error:
            log.debug("%s", file, exc_info=True)
            self._trouble = error
            return False
        with self._changed:
            del self._waiting[run_id, file]
        return True

    def _there(self, run_id: str, file: Path) -> bool:
        kept = {item.path: item.file_size for item in self._client.list_artifacts(run_id)}
        return kept.get(file.name) == file.stat().st_size
