"""Readings of a test split, each on record and a second one said aloud."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from datasets.registry import DatasetError
from ogmge.trainer import Batch
from search.run.folder import RunFolder


def check_test(data: Any) -> None:
    """Looks whether there is a test split, and not into it.

    Raises:
        DatasetError: there is none.
    """
    if not hasattr(data, "test"):
        raise DatasetError(
            "this data set has no test split: its class needs `test(*, batch_size, reason)`, which gives each test "
            "sample once, as `validation` does"
        )


def read_test(
    data: Any, folder: RunFolder, reason: str, batch_size: int, note: Callable[[str], None]
) -> tuple[Iterable[Batch], dict[str, str]]:
    """The test split's batches, and the line that puts the reading on record in the run's folder.

    Args:
        data: a data set with `test(batch_size=…, reason=…)`.
        folder: of the run that it is read for.
        reason: what for.
        batch_size: samples.
        note: told of each earlier reading.

    Raises:
        DatasetError: the data have no test split.
    """
    check_test(data)
    tell_earlier(folder, note, "this run")
    batches = data.test(batch_size=batch_size, reason=f"{folder.path.name}: {reason}")
    line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "reason": reason}
    record(folder, line)
    return batches, line


def tell_earlier(folder: RunFolder, note: Callable[[str], None], who: str) -> None:
    """Says which readings there were for a run, which is called `who`."""
    for line in readings(folder):
        note(
            f"{who} has read the test split before ({line['time']}, {line['reason']}): whatever is chosen by what it "
            "says is no longer tested by it"
        )


def record(folder: RunFolder, line: Mapping[str, str]) -> None:
    """Puts a reading on record in a run's folder."""
    with folder.readings.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def readings(folder: RunFolder) -> list[dict[str, str]]:
    """Those on record, the oldest first."""
    if not folder.readings.exists():
        return []
    found = []
    for text in folder.readings.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
            found.append({"time": str(line["time"]), "reason": str(line["reason"])})
        except (ValueError, KeyError, TypeError):
            found.append({"time": "at some time", "reason": "the record is damaged"})
    return found
