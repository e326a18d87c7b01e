"""Runs of a search in MLflow, each brought in line with the record: one for the search, one for each trial.

What is written depends only on the difference between the record and MLflow, not on the latest event. It can be written
late, again, and by another process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ogmge.components import parse
from search.experiment.formatting import label
from search.experiment.schema import Experiment
from search.experiment.space import with_changes
from search.run.trials import SearchRecord, TrialRecord
from search.tracking.client import INTERRUPTED, TrainingData, keep_run_id, parameters, read_run_id
from search.tracking.curve import EPOCHS, WALL_HOURS, Curve
from search.tracking.lists import DESCRIPTION, VERDICT, set_outcome
from search.tracking.maker import DELETED, Maker, find_run, restore
from search.tracking.run_writer import RUNNING, RunWriter, Values, milliseconds

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

RUN_ID = "run.id"  # tag: id of the folder
PARENT = "mlflow.parentRunId"  # tag: id of the search's run
STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


@dataclass(frozen=True)
class Kind:
    """Kind of a tuner's trainings in MLflow.

    Args:
        name: value of their tag `kind`.
        title: function that returns the title of a training's run.
        tags: function that returns a run's tags, without those that all kinds have.
        own: tags that distinguish these trainings from others of the same kind and search.
        again: option or command that delivers what MLflow lacks.
        curve: whether the search's run has a curve of these trainings.
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
    """Access to the runs of a search, with their common properties.

    Args:
        client: MLflow's client.
        maker: creator of the runs.
        tags: tags of all runs, including `run.id`, which is unique to this search.
        data: data of all runs.
    """

    client: MlflowClient
    maker: Maker
    tags: Mapping[str, str]
    data: TrainingData

    def find_all(self, same: str) -> Iterator[Run]:
        """Yield all runs that a filter finds, those that were deleted on MLflow's page last."""
        yield from self.maker.find(same)
        yield from self.maker.find(same, deleted=True)

    def writer(self, run_id: str, params: Mapping[str, str], known: Run | None = None) -> RunWriter:
        """Return the writer of a run: see `RunWriter`."""
        return RunWriter(self.client, run_id, self.data, params, known)


@dataclass(frozen=True)
class Results:
    """Metrics and tags of a whole search, for its run."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    def with_description(self, text: str | None) -> Results:
        """Return these results with a description in Markdown."""
        return self if text is None else replace(self, tags={**self.tags, DESCRIPTION: text})


class SearchRun:
    """Run of the search as a whole: its settings, curve and results.

    Args:
        ledger: ledger of the search.
        experiment: experiment that is searched.
        record: record of the search.
        folder: folder of the search, where the run's id is kept for a resume.
        description: description until there are results, in Markdown.
        curve: whether the run has a curve.
    """

    def __init__(
        self,
        ledger: Ledger,
        experiment: Experiment,
        record: SearchRecord,
        folder: Path,
        *,
        description: str,
        curve: bool,
    ) -> None:
        self._ledger, self._folder, self._name = ledger, folder, experiment.name
        self._tags = {**ledger.tags, "kind": "search", DESCRIPTION: description}
        self._params = parameters(experiment.model_dump(mode="json", exclude={"name", "tracking"}))
        self._objective = experiment.search.objective
        self._curve = Curve(record, self._objective.mode) if curve else None
        self._began = milliseconds()
        self._writer: RunWriter | None = None
        self._last, self._values = -1, dict[str, float]()  # of the curve: last step that is written or due

    @property
    def run_id(self) -> str | None:
        return None if self._writer is None else self._writer.run_id

    def find(self) -> None:
        """Find the run of a resumed search, if there is one, to continue it in its experiment."""
        run = self._find()
        if run is None:
            return
        self._ledger.maker.experiment_id = run.info.experiment_id  # its name may have been changed on MLflow's page
        self._writer = self._ledger.writer(run.info.run_id, self._params, run)
        self._last, self._values = int(run.data.metrics.get(EPOCHS, -1)), dict(run.data.metrics)

    def _find(self) -> Run | None:
        """Return the run by its id in the folder or, if that is of no use, by the search's tag; or None.

        A run that was deleted on MLflow's page is restored.
        """
        if (run := self._kept()) is not None:
            return run
        same = f"tags.kind = 'search' and tags.`{RUN_ID}` = '{self._tags[RUN_ID]}'"
        run = next(self._ledger.find_all(same), None)
        if run is not None:
            restore(self._ledger.client, run)
            keep_run_id(self._folder, parent_run_id=run.info.run_id)
        return run

    def _kept(self) -> Run | None:
        """Return the run whose id is in the folder, unless it is gone or belongs to another search."""
        run_id, own = read_run_id(self._folder), self._tags[RUN_ID]
        run = None if run_id is None else find_run(self._ledger.client, run_id)
        return run if run is not None and run.data.tags.get(RUN_ID, own) == own else None

    def align(self) -> str:
        """Continue or create the run, write the final points of its curve, and return its id.

        This happens when the first trial reports. A search that fails before that creates no run, and a resumed one
        leaves its run unchanged.
        """
        if self._writer is None:
            same = f"tags.kind = 'search' and attributes.start_time = {self._began}"
            run_id = self._ledger.maker.make(same, self._name, self._tags, self._began)
            self._writer = self._ledger.writer(run_id, self._params)
            keep_run_id(self._folder, parent_run_id=run_id)
        self._writer.reopen()
        self._add(self._writer, self._curve.points() if self._curve is not None else {})
        self._writer.flush()
        return self._writer.run_id

    def end(self, status: str, results: Results) -> None:
        """Write the rest of the curve and how the search ended, if its run was created or continued."""
        if self._writer is None or self._writer.status != RUNNING:
            return
        self._add(self._writer, self._curve.end() if self._curve is not None else {})
        self._writer.add([Values(0, milliseconds(), results.metrics)])
        self._list(results)
        self._writer.end(status, results.tags)

    def _list(self, results: Results) -> None:
        """Show a new verdict in the list of experiments."""
        if VERDICT in results.tags:
            maker, metric = self._ledger.maker, self._objective.metric
            set_outcome(self._ledger.client, maker.experiment_id, metric, results.tags[VERDICT], results.metrics)

    def _add(self, writer: RunWriter, points: Mapping[int, Mapping[str, float]]) -> None:
        now = milliseconds()
        for step, values in points.items():
            news = self._news(step, values)
            writer.add([Values(step, now, news)])
            self._last, self._values = max(step, self._last), {**self._values, **news}

    def _news(self, step: int, values: Mapping[str, float]) -> Mapping[str, float]:
        """Return the values of a point that MLflow lacks.

        A closed search has written its current point, whose values may have changed since. A later wall time is not
        written again.
        """
        if step != self._last:
            return values if step > self._last else {}
        return dict(values.items() - {**self._values, WALL_HOURS: values[WALL_HOURS]}.items())


class TrialRuns:
    """Runs of the trials.

    Args:
        ledger: ledger of the search.
        experiment: experiment that is searched.
        kind: kind of the trainings.
    """

    def __init__(self, ledger: Ledger, experiment: Experiment, kind: Kind) -> None:
        self._ledger, self._experiment, self._kind = ledger, experiment, kind
        self._writers: dict[int, RunWriter] = {}
        self._parents: dict[int, str] = {}  # number of a trial -> id of the search's run that its own belongs to

    def find(self, trials: Mapping[int, TrialRecord]) -> None:
        """Find the runs of a resumed search, and delete duplicates, which a lost answer may have left.

        A run that was deleted on MLflow's page is restored.

        Args:
            trials: trials of the search by number.
        """
        client = self._ledger.client
        runs = self._ledger.find_all(self._same())
        for run in sorted(runs, key=lambda run: (run.info.lifecycle_stage == DELETED, not run.data.params)):
            number = int(run.data.tags["trial"])
            if number not in self._writers and number in trials:
                restore(client, run)
                params = {} if run.data.params else self._params(trials[number])
                self._writers[number] = self._ledger.writer(run.info.run_id, params, run)
                self._parents[number] = run.data.tags.get(PARENT, "")
            elif number in self._writers and run.info.lifecycle_stage != DELETED:
                client.delete_run(run.info.run_id)

    def align(self, trial: TrialRecord, parent: str) -> str:
        """Bring the trial's run in line with its record; return its id."""
        ended = trial.is_over  # read first, because the search continues meanwhile
        writer = self._writers.get(trial.number) or self._make(trial, parent)
        self._adopt(trial.number, parent)
        if ended and writer.status == STATUS[trial.status]:
            return writer.run_id
        writer.reopen()
        writer.add_epochs(trial.epochs)
        if ended:
            writer.end(STATUS[trial.status], _reason(trial) | _prefix_tags(trial))
        else:
            writer.flush()
        return writer.run_id

    def _adopt(self, number: int, parent: str) -> None:
        """Make a run a child of the search's run: the search's first one may be gone."""
        if self._parents[number] != parent:
            self._ledger.client.set_tag(self._writers[number].run_id, PARENT, parent)
            self._parents[number] = parent

    def interrupt(self, trials: Iterable[TrialRecord]) -> None:
        """End the runs of unfinished trials, which a resume continues."""
        for trial in trials:
            writer = self._writers.get(trial.number)
            if writer is not None and not trial.is_over and writer.status == RUNNING:
                writer.end("KILLED", {"stop_reason": INTERRUPTED})

    def _same(self) -> str:
        """Return the filter that finds the runs of these trainings."""
        tags = {RUN_ID: self._ledger.tags[RUN_ID], "kind": self._kind.name, **self._kind.own}
        return " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())

    def _params(self, trial: TrialRecord) -> dict[str, str]:
        return parameters(asdict(with_changes(self._experiment.trial, trial.changes)))

    def _make(self, trial: TrialRecord, parent: str) -> RunWriter:
        config = with_changes(self._experiment.trial, trial.changes)
        tags = {
            **self._ledger.tags,
            PARENT: parent,
            "kind": self._kind.name,
            "trial": str(trial.number),
            "arm": trial.arm,
            **({} if trial.source is None else {"source": trial.source.value}),
            "fusion": parse(config.fusion).name,
            "method": config.modulation.method,
            **self._kind.own,
            **self._kind.tags(trial),
        }
        same = f"{self._same()} and tags.trial = '{trial.number}'"
        run_id = self._ledger.maker.make(same, self._kind.title(trial), tags)
        self._writers[trial.number] = self._ledger.writer(run_id, self._params(trial))
        self._parents[trial.number] = parent
        return self._writers[trial.number]


def _prefix_tags(trial: TrialRecord) -> dict[str, str]:
    """Return the tag with the number of epochs that another trial trained; empty if there are none."""
    return {"inherited_epochs": str(trial.inherited_epochs)} if trial.inherited_epochs else {}


def _reason(trial: TrialRecord) -> dict[str, str]:
    name = "error" if trial.status == "failed" else "stop_reason"
    return {name: str(trial.reason)} if trial.reason else {}
