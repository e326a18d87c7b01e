"""A search's runs in MLflow, each brought in line with the search's record: one for the search, one for each trial.

What is written follows from what the record has and MLflow has not, never from what just happened: it can be done late,
again, and by another process.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from search.experiment.formatting import label
from search.experiment.schema import Experiment
from search.experiment.space import with_changes
from search.run.folder import write
from search.run.journal import SearchRecord, TrialRecord
from search.tracking.client import (
    INTERRUPTED,
    Maker,
    RunWriter,
    TrainedOn,
    Values,
    milliseconds,
    of_epoch,
    parameters,
)
from search.tracking.curve import EPOCHS, WALL_HOURS, Curve

if TYPE_CHECKING:
    from mlflow.entities import Run

RUN_ID = "run.id"  # a tag: of the folder
DESCRIPTION = "mlflow.note.content"  # ditto: what MLflow's page shows as such, in Markdown
TAG_LENGTH = 5000  # MLflow's limit
STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


@dataclass(frozen=True)
class Kind:
    """What the trainings of a tuner are in MLflow.

    Args:
        name: their tag `kind`.
        title: of the run of each.
        tags: of the run of each, beside those that all kinds have.
        own: tags of all of them, by which they are told from the same search's other trainings of this kind.
        again: what a user does to have delivered what could not be.
        curve: whether the search's own run has a curve of them.
    """

    name: str
    title: Callable[[TrialRecord], str]
    tags: Callable[[TrialRecord], Mapping[str, str]] = lambda trial: {}
    own: Mapping[str, str] = field(default_factory=dict)
    again: str = "--resume"
    curve: bool = False


TRIALS = Kind("trial", lambda trial: f"{trial.number:03} {label(trial.changes)}", curve=True)


@dataclass(frozen=True)
class Ledger:
    """Where the runs of a search are written, and what all of them have.

    Args:
        writer, maker: of MLflow.
        tags: `run.id` among them, which no other search's runs have.
        data: that are trained on.
    """

    writer: RunWriter
    maker: Maker
    tags: Mapping[str, str]
    data: TrainedOn


class SearchRun:
    """The run of the search as a whole: its settings, its curve, and what came of it.

    Args:
        ledger: of the search.
        experiment: what is searched.
        record: what came of it.
        id_file: where its id is kept for a resume.
        description: as long as nothing has come of it, in Markdown.
        curve: whether the record makes one.
    """

    def __init__(
        self,
        ledger: Ledger,
        experiment: Experiment,
        record: SearchRecord,
        id_file: Path,
        *,
        description: str,
        curve: bool,
    ) -> None:
        self._writer, self._maker, self._experiment, self._id_file = ledger.writer, ledger.maker, experiment, id_file
        self._tags, self._description = {**ledger.tags, "kind": "search"}, description
        self._data = ledger.data
        self._curve = Curve(record, experiment.search.objective.mode) if curve else None
        self._began = milliseconds()
        self._described = self._ended = False
        self._due: list[Values] = []
        self._last, self._known = -1, dict[str, float]()  # the last step that MLflow has, and what is known there
        self.run_id: str | None = None

    def find(self) -> str | None:
        """The run of a search that is resumed, which goes on; None where there is none."""
        run_id = self._kept()
        if run_id is not None:
            run = self._writer.client.get_run(run_id)
            data = run.data
            self._described, self._ended, self.run_id = bool(data.params), run.info.status != "RUNNING", run_id
            self._last, self._known = int(data.metrics.get(EPOCHS, -1)), dict(data.metrics)
        return self.run_id

    def _kept(self) -> str | None:
        """The id from its file; where that is lost or damaged, MLflow is asked for the run."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            return str(json.loads(self._id_file.read_text())["parent_run_id"])
        same = f"tags.kind = 'search' and tags.`{RUN_ID}` = '{self._tags[RUN_ID]}'"
        found = next(self._maker.find(same), None)
        if found is None:
            return None
        self._keep(str(found.info.run_id))
        return str(found.info.run_id)

    def _keep(self, run_id: str) -> None:
        write(self._id_file, json.dumps({"parent_run_id": run_id}))

    def begin(self) -> str:
        """The run's id. It is made with the first trial, so that a search that never began leaves none, and one that
        could not go on leaves it as it was."""
        if self.run_id is None:
            same = f"tags.kind = 'search' and attributes.start_time = {self._began}"
            self.run_id = self._maker.make(same, self._experiment.name, self._tags, self._began)
            self._keep(self.run_id)
        if not self._described:
            settings = self._experiment.model_dump(mode="json", exclude={"name", "tracking"})
            self._writer.client.log_inputs(self.run_id, [self._data.input()])
            self._writer.add(
                self.run_id, params=parameters(settings), tags={DESCRIPTION: self._description[:TAG_LENGTH]}
            )
            self._described = True
        if self._ended:
            self._writer.client.update_run(self.run_id, "RUNNING")
            self._ended = False
        return self.run_id

    def align(self) -> None:
        """What of the curve has become certain."""
        if self._curve is not None:
            self._write(self._curve.points())

    def end(self, status: str, results: Results) -> None:
        """The rest of the curve, and how the search ended; nothing where it has ended before, and did not go on."""
        if self._ended:
            return
        if self._curve is not None:
            self._write(self._curve.end())
        if results.metrics or results.tags:
            values = [Values(0, milliseconds(), results.metrics)] if results.metrics else []
            self._writer.add(self.begin(), values, tags=results.tags)
        self._writer.client.set_terminated(self.begin(), status)

    def _write(self, points: Mapping[int, Mapping[str, float]]) -> None:
        now = milliseconds()
        self._due += [Values(step, now, news) for step, values in points.items() if (news := self._news(step, values))]
        while self._due:
            done = self._writer.add(self.begin(), self._due)
            for values in self._due[:done]:
                self._last, self._known = values.step, {**self._known, **values.metrics}
            del self._due[:done]

    def _news(self, step: int, values: Mapping[str, float]) -> Mapping[str, float]:
        """What MLflow lacks of a point.

        The last one of a search that was closed may not have been the last word, and later time is no news.
        """
        if step != self._last:
            return values if step > self._last else {}
        return {name: v for name, v in values.items() if v != self._known.get(name) and name != WALL_HOURS}


@dataclass(frozen=True)
class Results:
    """What came of a tuner as a whole, for the search's own run."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    def with_description(self, text: str | None) -> Results:
        """With a description in Markdown."""
        return self if text is None else replace(self, tags={**self.tags, DESCRIPTION: text[:TAG_LENGTH]})


@dataclass
class _Known:
    """What MLflow has of a trial."""

    run_id: str
    described: bool = False
    epochs: int | None = 0  # None where it has to be asked
    status: str = "RUNNING"
    due: list[Values] = field(default_factory=list)  # the epochs after these, as far as they were seen


class TrialRuns:
    """The runs of the trials.

    Args:
        ledger: of the search.
        experiment: what is searched.
        kind: of trainings.
    """

    def __init__(self, ledger: Ledger, experiment: Experiment, kind: Kind) -> None:
        self._writer, self._maker, self._experiment, self._kind = ledger.writer, ledger.maker, experiment, kind
        self._tags, self._data = ledger.tags, ledger.data
        self._known: dict[int, _Known] = {}

    def find(self, parent: str) -> None:
        """The runs of a search that is resumed. Of two for a trial, as a lost answer may leave them, one stays."""
        runs: dict[int, Run] = {}
        for run in self._maker.find(self._children(parent)):
            number = int(run.data.tags["trial"])
            first, second = sorted((runs.get(number, run), run), key=lambda r: not r.data.params)
            runs[number] = first
            if first is not second:
                self._writer.client.delete_run(second.info.run_id)
        for number, run in runs.items():
            status = INTERRUPTED if run.data.tags.get("stop_reason") == INTERRUPTED else run.info.status
            self._known[number] = _Known(run.info.run_id, bool(run.data.params), None, status)

    def align(self, trial: TrialRecord, parent: str) -> str:
        """Brings the trial's run in line; returns its id."""
        ended, epochs = trial.is_over, len(trial.epochs)  # read once: the search goes on meanwhile
        run = self._run(trial, parent)
        if not ended or run.status != STATUS[trial.status]:
            self._reopen(run)
            tags = _reason(trial) | _inherited_tags(trial) if ended else {}
            self._write(run, trial, epochs, tags)
            if ended:
                self._writer.client.set_terminated(run.run_id, STATUS[trial.status])
                run.status = STATUS[trial.status]
        return run.run_id

    def interrupt(self, running: Iterator[TrialRecord]) -> None:
        """Ends the runs of trials that a resume goes on with."""
        for trial in running:
            run = self._known.get(trial.number)
            if run is not None and run.status == "RUNNING":
                self._writer.add(run.run_id, tags={"stop_reason": INTERRUPTED})
                self._writer.client.set_terminated(run.run_id, "KILLED")
                run.status = INTERRUPTED

    def _children(self, parent: str) -> str:
        tags = {"mlflow.parentRunId": parent, "kind": self._kind.name, **self._kind.own}
        return " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())

    def _run(self, trial: TrialRecord, parent: str) -> _Known:
        if trial.number not in self._known:
            config = with_changes(self._experiment.trial, trial.changes)
            tags = {
                **self._tags,
                "mlflow.parentRunId": parent,
                "kind": self._kind.name,
                "trial": str(trial.number),
                "arm": trial.arm,
                "fusion": config.fusion,
                "method": config.modulation.method,
                **self._kind.own,
                **self._kind.tags(trial),
            }
            same = f"{self._children(parent)} and tags.trial = '{trial.number}'"
            self._known[trial.number] = _Known(self._maker.make(same, self._kind.title(trial), tags))
        return self._known[trial.number]

    def _reopen(self, run: _Known) -> None:
        if run.status != "RUNNING":
            self._writer.client.update_run(run.run_id, "RUNNING")
            if run.status == INTERRUPTED:
                self._writer.client.delete_tag(run.run_id, "stop_reason")
            run.status = "RUNNING"

    def _write(self, run: _Known, trial: TrialRecord, epochs: int, tags: Mapping[str, str]) -> None:
        """Its settings, its epochs, its tags, in as few calls as they go in."""
        if run.epochs is None:
            run.epochs = self._writer.epoch_count(run.run_id)
        now = milliseconds()
        run.due += [of_epoch(metrics, now) for metrics in trial.epochs[run.epochs + len(run.due) : epochs]]
        if not run.described:
            self._writer.client.log_inputs(run.run_id, [self._data.input()])
        params = {} if run.described else parameters(asdict(with_changes(self._experiment.trial, trial.changes)))
        while run.due or params or tags:
            done = self._writer.add(run.run_id, run.due, params, tags)
            run.epochs += done
            del run.due[:done]
            run.described, params, tags = True, {}, {}


def _inherited_tags(trial: TrialRecord) -> dict[str, str]:
    """How many of its first epochs another trial trained."""
    return {"inherited_epochs": str(trial.inherited_epochs)} if trial.inherited_epochs else {}


def _reason(trial: TrialRecord) -> dict[str, str]:
    name = "error" if trial.status == "failed" else "stop_reason"
    return {name: str(trial.reason)[:TAG_LENGTH]} if trial.reason else {}
