"""The end of a search or confirmation in MLflow and in its folder, after success, failure or interruption."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from search.report.page import try_write_report
from search.run.folder import RunFolder
from search.tracking.tracker import SearchTracker
from search.tracking.trial_runs import Results
from search.tuner.tuner import Tuner


@dataclass
class Ending:
    """What the search's run in MLflow receives at the end, as far as it is known."""

    files: list[Path]
    results: Results = field(default_factory=Results)
    has_failed: bool = False  # all work is done, without an answer
    lacks: list[str] = field(default_factory=list)  # sentences about what could not be written or delivered
    unwritten: list[Path] = field(default_factory=list)  # files of the folder that are missing or out of date

    def leave_report(self, folder: RunFolder, *, more: bool) -> None:
        """Write the report and use it as the description of the run; see `try_write_report`."""
        outcome = try_write_report(folder, more=more)
        self.results = self.results.with_description(outcome.description)
        if outcome.lack is not None:
            self.lacks.append(outcome.lack)
            self.unwritten.append(folder.report)

    def tell_unwritten(self, file: Path, reason: str) -> None:
        """Add a file that could not be written."""
        self.lacks.append(f"{file} was not written ({reason})")
        self.unwritten.append(file)


@contextmanager
def end_in_mlflow(tuner: Tuner, tracker: SearchTracker, files: list[Path]) -> Iterator[Ending]:
    """Yield an ending for the body to fill, and deliver it to MLflow afterwards, even if the body raises."""
    ending = Ending(files)
    try:
        yield ending
    finally:
        done = "FAILED" if ending.has_failed else "FINISHED"
        lack = tracker.close(done if tuner.complete else "KILLED", ending.files, ending.results)
        ending.lacks += filter(None, [lack])
