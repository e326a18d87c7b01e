"""Writer of one run in MLflow, which may be late, repeat a write, or continue a run of another process."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from types import MappingProxyType
from typing import TYPE_CHECKING

from search.tracking.client import INTERRUPTED, TrainingData
from search.tracking.names import PARAMETER_LENGTH, as_name, as_tags, as_text

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

ENTRIES_A_CALL = 1000  # MLflow's limit for metrics, parameters and tags together
REASONS = ("stop_reason", "error")  # tags of an ended run
RUNNING = "RUNNING"
NO_TAGS: Mapping[str, str] = MappingProxyType({})
# sections of charts on MLflow's page
SECTIONS = {"learning_rate": "optimizer/learning_rate", "seconds": "time/seconds", "best": "val/best"}


@dataclass(frozen=True)
class Values:
    """Metrics of a run at one step.

    Args:
        step: step on MLflow's axis.
        time: time in milliseconds; writing the same values with the same time again makes no duplicates.
        metrics: values by name.
    """

    step: int
    time: int
    metrics: Mapping[str, float]


def milliseconds() -> int:
    """Return the current time in milliseconds."""
    return int(time.time() * 1000)


def epoch_values(metrics: Mapping[str, float], time: int) -> Values:
    """Return all metrics of an epoch, with the epoch as the step."""
    named = {SECTIONS.get(k, k): v for k, v in metrics.items() if k not in ("epoch", "inherited")}
    return Values(int(metrics["epoch"]), time, named)


class RunWriter:
    """Writer of a run. Each call may raise any error of MLflow and can be repeated without duplicates.

    Args:
        client: MLflow's client.
        run_id: id of the run.
        data: data of the run.
        params: parameters of the run; written with the data, unless the run already has parameters.
        known: existing run as MLflow has it; None for a new run.

    Attributes:
        status: status of the run in MLflow, or `INTERRUPTED`.
    """

    def __init__(
        self, client: MlflowClient, run_id: str, data: TrainingData, params: Mapping[str, str], known: Run | None = None
    ) -> None:
        self.run_id, self.status = run_id, RUNNING
        self._client, self._data, self._params = client, data, dict(params)
        self._reasons: dict[str, str] = {}  # of the run in MLflow
        self._due: list[Values] = []
        self._epochs: int | None = 0  # number of epochs written or due; None if only MLflow knows
        if known is not None:
            self._epochs = None
            self._params = {} if known.data.params else self._params
            self._set_status(known.info.status, known.data.tags)

    def reopen(self) -> None:
        """Continue a run that has ended."""
        if self.status == RUNNING:
            return
        self._client.update_run(self.run_id, RUNNING)
        for name in self._reasons:
            self._client.delete_tag(self.run_id, name)
        self._set_status(RUNNING, NO_TAGS)

    def add(self, values: Iterable[Values]) -> None:
        """Add metrics, if there are any, for the next `flush`."""
        self._due += (v for v in values if v.metrics)

    def add_epochs(self, history: Sequence[Mapping[str, float]]) -> None:
        """Add the epochs of a history that MLflow lacks, for the next `flush`."""
        if self._epochs is None:
            steps = self._client.get_metric_history(self.run_id, "train/loss")
            self._epochs = 1 + max((m.step for m in steps), default=-1)
        now, fresh = milliseconds(), history[self._epochs :]
        self.add(epoch_values(metrics, now) for metrics in fresh)
        self._epochs += len(fresh)

    def flush(self, tags: Mapping[str, str] = NO_TAGS) -> None:
        """Write everything that is due, and the tags, in as few calls as possible."""
        if self._params:
            self._client.log_inputs(self.run_id, [self._data.input()])
        if self._params or tags:
            self._log(tags)
        while self._due:
            self._log(NO_TAGS)

    def end(self, status: str, tags: Mapping[str, str] = NO_TAGS) -> None:
        """Write everything that is due, and the final status: FINISHED, FAILED or KILLED."""
        self.flush(tags)
        self._client.set_terminated(self.run_id, status)
        self._set_status(status, tags)

    def _set_status(self, status: str, tags: Mapping[str, str]) -> None:
        self._reasons = {name: tags[name] for name in REASONS if name in tags}
        self.status = INTERRUPTED if INTERRUPTED in self._reasons.values() else status

    def _log(self, tags: Mapping[str, str]) -> None:
        """Write parameters, tags, and as many of the due values as fit in one call.

        All metrics of a step are written in the same call, so that after a failure the next call can repeat this one.
        """
        from mlflow.entities import Metric, Param, RunTag

        room = ENTRIES_A_CALL - len(self._params) - len(tags)
        first = self._due[: max(1, room // max((len(v.metrics) for v in self._due), default=1))]
        self._client.log_batch(
            self.run_id,
            metrics=[Metric(as_name(key), value, v.time, v.step) for v in first for key, value in v.metrics.items()],
            params=[Param(as_name(key), as_text(value, PARAMETER_LENGTH)) for key, value in self._params.items()],
            tags=list(starmap(RunTag, as_tags(tags).items())),
        )
        del self._due[: len(first)]
        self._params = {}
