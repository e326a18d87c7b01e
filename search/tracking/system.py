"""Load of the machine during a run, for MLflow's page: processors, memory, disk, network and GPUs."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor


class SystemMetrics:
    """Monitor that writes the load of this machine to a run every 10 s.

    Args:
        uri: URI of MLflow's store.
        wanted: whether to monitor.
    """

    def __init__(self, uri: str, *, wanted: bool) -> None:
        self._uri, self._wanted = uri, wanted
        self._monitor: SystemMetricsMonitor | None = None

    def start(self, run_id: str) -> None:
        """Start the samples, unless they have started already; a resumed run continues its samples.

        If MLflow cannot be reached for one sample, there are no further samples.
        """
        if not self._wanted:
            return
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self._wanted = False  # start only once
        with suppress(Exception):
            monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=self._uri)
            monitor.start()
            self._monitor = monitor

    def finish(self) -> None:
        """Write the last samples, if MLflow can be reached."""
        if self._monitor is not None:
            with suppress(Exception):
                self._monitor.finish()
            self._monitor = None
