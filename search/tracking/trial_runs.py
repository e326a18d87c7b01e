"""A search's runs in MLflow, each brought in line with the search's record: one for the search, one for each trial.

What is written follows from what the record has and MLflow has not, never from what just happened: it can be done late,
again, and by another process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from search.experiment.formatting import label
from search.experiment.schema import Experiment
from search.experiment.space import with_changes
from search.run.journal import SearchRecord, TrialRecord
from search.tracking.client import INTERRUPTED, Maker, TrainingData, keep_run_id, parameters, read_run_id
from search.tracking.curve import EPOCHS, WALL_HOURS, Curve
from search.tracking.run_writer import RUNNING, TAG_LENGTH, RunWriter, Values, milliseconds

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

RUN_ID = "run.id"  # a tag: of the folder
DESCRIPTION = "mlflow.note.content"  # a tag: what MLflow's page shows as such, in Markdown
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
        client: of MLflow.
        maker: of the runs.
        tags: `run.id` among them, which no other search's runs have.
        data: that are trained on.
    """

    client: MlflowClient
    maker: Maker
    tags: Mapping[str, str]
    data: TrainingData

    def writer(self, run_id: str, params: Mapping[str, str], known: Run | None = None) -> RunWriter:
        """Return what writes a run: see `RunWriter`."""
        return RunWriter(self.client, run_id, self.data, params, known)


@dataclass(frozen=True)
class Results:
    """What came of a tuner as a whole, for the search's own run."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    def with_description(self, text: str | None) -> Results:
        """Return these results with a description in Markdown."""
        return self if text is None else replace(self, tags={**self.tags, DESCRIPTION: text[:TAG_LENGTH]})


class SearchRun:
    """The run of the search as a whole: its settings, its curve, and what came of it.

    Args:
        ledger: of the search.
        experiment: what is searched.
        record: what came of it.
        folder: of the search, where the run's id is kept for a resume.
        description: as long as nothing has come of it, in Markdown.
        curve: whether the record makes one.
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
        self._tags = {**ledger.tags, "kind": "search", DESCRIPTION: description[:TAG_LENGTH]}
        self._params = parameters(experiment.model_dump(mode="json", exclude={"name", "tracking"}))
        self._curve = Curve(record, experiment.search.objective.mode) if curve else None
        self._began = milliseconds()
        self._writer: RunWriter | None = None
        self._last, self._values = -1, dict[str, float]()  # of the curve: the last step that is written or due

    @property
    def run_id(self) -> str | None:
        return None if self._writer is None else self._writer.run_id

    def find(self) -> str | None:
        """Find the run of a search that is resumed, which goes on; return its id, or None where there is none."""
        run = self._find()
        if run is None:
            return None
        self._writer = self._ledger.writer(run.info.run_id, self._params, run)
        self._last, self._values = int(run.data.metrics.get(EPOCHS, -1)), dict(run.data.metrics)
        return self._writer.run_id

    def _find(self) -> Run | None:
        """Return the run by its id; where that is lost or damaged, MLflow is asked for the search's."""
        run_id = read_run_id(self._folder)
        if run_id is not None:
            return self._ledger.client.get_run(run_id)
        same = f"tags.kind = 'search' and tags.`{RUN_ID}` = '{self._tags[RUN_ID]}'"
        run = next(self._ledger.maker.find(same), None)
        if run is not None:
            keep_run_id(self._folder, parent_run_id=run.info.run_id)
        return run

    def align(self) -> str:
        """Go on with the run, or make it, and write what of the curve has become certain; return its id.

        It is made with the first trial, so that a search that never began leaves none, and one that could not go on
        leaves it as it was.
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
        """Write the rest of the curve, and how the search ended; nothing where it has not begun, or not gone on."""
        if self._writer is None or self._writer.status != RUNNING:
            return
        self._add(self._writer, self._curve.end() if self._curve is not None else {})
        self._writer.add([Values(0, milliseconds(), results.metrics)])
        self._writer.end(status, results.tags)

    def _add(self, writer: RunWriter, points: Mapping[int, Mapping[str, float]]) -> None:
        now = milliseconds()
        for step, values in points.items():
            news = self._news(step, values)
            writer.add([Values(step, now, news)])
            self._last, self._values = max(step, self._last), {**self._values, **news}

    def _news(self, step: int, values: Mapping[str, float]) -> Mapping[str, float]:
        """Return what MLflow lacks of a point.

        The last one of a search that was closed may not have been the last word, and later time is no news.
        """
        if step != self._last:
            return values if step > self._last else {}
        return dict(values.items() - {**self._values, WALL_HOURS: values[WALL_HOURS]}.items())


class TrialRuns:
    """The runs of the trials.

    Args:
        ledger: of the search.
        experiment: what is searched.
        kind: of trainings.
    """

    def __init__(self, ledger: Ledger, experiment: Experiment, kind: Kind) -> None:
        self._ledger, self._experiment, self._kind = ledger, experiment, kind
        self._writers: dict[int, RunWriter] = {}

    def find(self, parent: str, trials: Mapping[int, TrialRecord]) -> None:
        """Find the runs of a search that is resumed. Of two for a trial, as a lost answer may leave them, one stays.

        Args:
            parent: the search's run.
            trials: of the search, by number.
        """
        runs = self._ledger.maker.find(self._children(parent))
        for run in sorted(runs, key=lambda run: not run.data.params):
            number = int(run.data.tags["trial"])
            if number in self._writers:
                self._ledger.client.delete_run(run.info.run_id)
            elif number in trials:
                self._writers[number] = self._ledger.writer(run.info.run_id, self._params(trials[number]), run)

    def align(self, trial: TrialRecord, parent: str) -> str:
        """Bring the trial's run in line; return its id."""
        ended = trial.is_over  # read first: the search goes on meanwhile
        writer = self._writers.get(trial.number) or self._make(trial, parent)
        if ended and writer.status == STATUS[trial.status]:
            return writer.run_id
        writer.reopen()
        writer.add_epochs(trial.epochs)
        if ended:
            writer.end(STATUS[trial.status], _reason(trial) | _prefix_tags(trial))
        else:
            writer.flush()
        return writer.run_id

    def interrupt(self, trials: Iterable[TrialRecord]) -> None:
        """End the runs of those trials that a resume goes on with."""
        for trial in trials:
            writer = self._writers.get(trial.number)
            if writer is not None and not trial.is_over and writer.status == RUNNING:
                writer.end("KILLED", {"stop_reason": INTERRUPTED})

    def _children(self, parent: str) -> str:
        tags = {"mlflow.parentRunId": parent, "kind": self._kind.name, **self._kind.own}
        return " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())

    def _params(self, trial: TrialRecord) -> dict[str, str]:
        return parameters(asdict(with_changes(self._experiment.trial, trial.changes)))

    def _make(self, trial: TrialRecord, parent: str) -> RunWriter:
        config = with_changes(self._experiment.trial, trial.changes)
        tags = {
            **self._ledger.tags,
            "mlflow.parentRunId": parent,
            "kind": self._kind.name,
            "trial": str(trial.number),
            "arm": trial.arm,
            **({} if trial.source is None else {"source": trial.source.value}),
            "fusion": config.fusion,
            "method": config.modulation.method,
            **self._kind.own,
            **self._kind.tags(trial),
        }
        same = f"{self._children(parent)} and tags.trial = '{trial.number}'"
        run_id = self._ledger.maker.make(same, self._kind.title(trial), tags)
        self._writers[trial.number] = self._ledger.writer(run_id, self._params(trial))
        return self._writers[trial.number]


def _prefix_tags(trial: TrialRecord) -> dict[str, str]:
    """Return how many of its first epochs another trial trained."""
    return {"inherited_epochs": str(trial.inherited_epochs)} if trial.inherited_epochs else {}


def _reason(trial: TrialRecord) -> dict[str, str]:
    name = "error" if trial.status == "failed" else "stop_reason"
    return {name: str(trial.reason)[:TAG_LENGTH]} if trial.reason else {}
