"""How busy the machine is while a run goes on, as MLflow's page shows it: processors, memory, disk, network, GPUs."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor


class SystemMetrics:
    """Samples the machine of this process, every 10 s, into a run, where that is asked for.

    Args:
        wanted: whether it is.
        uri: of MLflow's store.
    """

    def __init__(self, uri: str, *, wanted: bool) -> None:
        self._uri, self._wanted = uri, wanted
        self._monitor: SystemMetricsMonitor | None = None

    def start(self, run_id: str) -> None:
        """Begin, where that has not happened yet; in a run that is resumed the samples go on.

        An MLflow that is away for a sample gets no more of them.
        """
        if not self._wanted:
            return
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self._wanted = False  # once
        with suppress(Exception):
            monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=self._uri)
            monitor.start()
            self._monitor = monitor

    def finish(self) -> None:
        """Write the last samples, where MLflow takes them."""
        if self._monitor is not None:
            with suppress(Exception):
                self._monitor.finish()
            self._monitor = None
