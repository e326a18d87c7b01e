"""Creation of runs in MLflow without duplicates, and their restoration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from search.tracking.names import NAME_LENGTH, as_tags, as_text

GONE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # MLflow's errors for an id: unknown, and no id at all

DELETED = "deleted"  # stage of a run or an experiment that was deleted on MLflow's page

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def find_run(client: MlflowClient, run_id: str) -> Run | None:
    """Return a run by its id; None if it no longer exists. A run that was deleted on MLflow's page is restored."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code in GONE:
            return None
        raise
    restore(client, run)
    return run


def restore(client: MlflowClient, run: Run) -> None:
    """Restore a run, and its experiment, if they were deleted on MLflow's page."""
    if client.get_experiment(run.info.experiment_id).lifecycle_stage == DELETED:
        client.restore_experiment(run.info.experiment_id)
    if run.info.lifecycle_stage == DELETED:
        client.restore_run(run.info.run_id)


class Maker:
    """Creator of runs without duplicates: a failed call may have created a run, if only its answer was lost.

    Args:
        client: MLflow's client.
        experiment_id: id of the experiment that the runs belong to.
    """

    def __init__(self, client: MlflowClient, experiment_id: str) -> None:
        self._client, self.experiment_id = client, experiment_id
        self._doubtful: dict[str, str | None] = {}  # filter of a run -> id of the run that counts

    def make(self, same: str, name: str, tags: Mapping[str, str], start_time: int | None = None) -> str:
        """Create a run, unless an earlier call already did, and return its id.

        Args:
            same: filter that finds this run and no other.
            name, tags, start_time: properties of the run.
        """
        found = next(self.find(same), None) if same in self._doubtful else None
        try:
            run = found or self._client.create_run(
                self.experiment_id, start_time, as_tags(tags), as_text(name, NAME_LENGTH)
            )
        except Exception:
            self._doubtful[same] = None
            raise
        run_id = str(run.info.run_id)
        if same in self._doubtful:
            self._doubtful[same] = run_id
        return run_id

    def find(self, same: str, *, deleted: bool = False) -> Iterator[Run]:
        """Yield all runs that a filter finds, or those of them that were deleted, the oldest first."""
        from mlflow.entities import ViewType

        token, view = None, ViewType.DELETED_ONLY if deleted else ViewType.ACTIVE_ONLY
        while True:
            page = self._client.search_runs(
                [self.experiment_id], same, view, order_by=["attributes.start_time"], page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def tidy(self) -> None:
        """Delete duplicate runs, created by calls whose answers were lost."""
        for same, counts in self._doubtful.items():
            for run in self.find(same) if counts else ():
                if run.info.run_id != counts:
                    self._client.delete_run(run.info.run_id)
