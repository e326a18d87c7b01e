"""Log of the readings of a test split. Users are told of earlier readings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from datasets.index.json_text import parse_json
from datasets.index.regular_file import read_regular
from datasets.registry import DatasetError
from ogmge.batches import Batch
from search.run.disk import require_own_links
from search.run.folder import RunFolder


def check_test(data: Any) -> None:
    """Raise if the data set has no test split. The split itself is not read.

    Raises:
        DatasetError: if there is no test split.
    """
    if not hasattr(data, "test"):
        raise DatasetError(
            "this data set has no test split: its class needs a method `test(*, batch_size, reason)` that yields each "
            "test sample once, as `validation` does"
        )


def read_test(
    data: Any, folder: RunFolder, reason: str, batch_size: int, note: Callable[[str], None]
) -> tuple[Iterable[Batch], dict[str, str]]:
    """Log a reading of the test split in the run's folder; return the split's batches and the logged line.

    Args:
        data: data set with a method `test(batch_size=…, reason=…)`.
        folder: folder of the run that reads the split.
        reason: purpose of the reading.
        batch_size: number of samples per batch.
        note: function that is called with a sentence about earlier readings, if there are any.

    Raises:
        DatasetError: if the data have no test split.
    """
    check_test(data)
    require_own_links(folder.path)
    tell_earlier(folder, note)
    batches = data.test(batch_size=batch_size, reason=f"{folder.path.name}: {reason}")
    line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "reason": reason}
    record(folder, line)
    return batches, line


def tell_earlier(folder: RunFolder, note: Callable[[str], None]) -> None:
    """Report the earlier readings of a run in one sentence, if there are any."""
    found = readings(folder)
    if not found:
        return
    last = _minute(found[-1]["time"])
    often = f"once ({last})" if len(found) == 1 else f"{len(found)} times (last {last})"
    note(
        f"{folder.path.resolve().name} has read the test split {often}: choices made after seeing those results can no "
        "longer be tested on it"
    )


def _minute(time: str) -> str:
    """Return a logged time to the minute; as logged if it is none.

    >>> _minute("2026-11-30T20:39:12+00:00"), _minute("time unknown")
    ('2026-11-30 20:39 UTC', 'time unknown')
    """
    try:
        return f"{datetime.fromisoformat(time).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return time


def record(folder: RunFolder, line: Mapping[str, str]) -> None:
    """Log a reading in a run's folder."""
    with folder.readings.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def readings(folder: RunFolder) -> list[dict[str, str]]:
    """Return the logged readings, the oldest first."""
    if not folder.readings.exists():
        return []
    found = []
    for text in read_regular(folder.readings).decode(errors="replace").splitlines():
        try:
            line = parse_json(text)
            found.append({"time": str(line["time"]), "reason": str(line["reason"])})
        except (ValueError, KeyError, TypeError):
            found.append({"time": "time unknown", "reason": "corrupt log entry"})
    return found
