"""One training run by itself: `python -m search train FILE`."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console
from rich.text import Text

from ogmge import trainable
from search.data import fingerprint_of, open_data
from search.experiment import Experiment
from search.folder import RunFolder, claimed
from search.labels import modalities, percent, shown
from search.rehearsal import rehearse
from search.tracking.store import INTERRUPTED, RunWriter, connect, milliseconds, of_epoch, parameters, versions

log = logging.getLogger(__name__)


class _Recorder:
    """Keeps a run in MLflow in line with the epochs trained so far. MLflow's trouble never stops the training."""

    def __init__(self, experiment: Experiment, folder: RunFolder, fingerprint: str) -> None:
        client, experiment_id = connect(experiment.tracking.uri, folder.path.parent, experiment.name)
        self._writer = RunWriter(client)
        self._delivered = 0
        self.trouble: Exception | None = None
        id_file = folder.path / "mlflow.json"
        if id_file.exists():
            self.run_id = str(json.loads(id_file.read_text())["run_id"])
            self._delivered = self._writer.known_epochs(self.run_id)
            client.update_run(self.run_id, "RUNNING")
            client.delete_tag(self.run_id, "stop_reason") if self._stopped() else None
            return
        tags = {
            "kind": "training",
            "dataset": experiment.dataset["name"],
            "dataset.fingerprint": fingerprint,
            **versions(),
        }
        self.run_id = client.create_run(experiment_id, tags=tags, run_name=experiment.name).info.run_id
        id_file.write_text(json.dumps({"run_id": self.run_id}))
        self._writer.add(self.run_id, params=parameters(asdict(experiment.trial)))

    def _stopped(self) -> bool:
        return "stop_reason" in self._writer.client.get_run(self.run_id).data.tags

    def deliver(self, history: list[dict[str, float]]) -> None:
        """All epochs that MLflow has not had; the next call delivers what this one could not."""
        try:
            while self._delivered < len(history):
                epochs = [of_epoch(metrics, milliseconds()) for metrics in history[self._delivered :]]
                self._delivered += self._writer.add(self.run_id, epochs)
            self.trouble = None
        except Exception as error:
            log.debug("MLflow", exc_info=True)
            self.trouble = error

    def end(self, status: str, reason: str | None, weights: Path) -> None:
        client = self._writer.client
        try:
            if weights.exists():
                client.log_artifact(self.run_id, str(weights))
            if reason is not None:
                client.set_tag(self.run_id, "stop_reason" if status == "KILLED" else "error", reason)
            client.set_terminated(self.run_id, status)
        except Exception as error:
            self.trouble = error


def _line(metrics: dict[str, float], epochs: int, metric: str) -> str:
    names = modalities(metrics)
    alone = "  ".join(f"{name} {percent(metrics[f'val/accuracy/{name}'])}" for name in names)
    k = "/".join(f"{metrics[f'coefficient/{name}']:.2f}" for name in names)
    return (
        f"epoch {int(metrics['epoch']) + 1:>{len(str(epochs))}}/{epochs}  train/loss {metrics['train/loss']:.4f}  "
        f"{metric} {shown(metric, metrics[metric])}  {alone}  k {k}  {metrics['seconds']:.1f} s"
    )


def train(experiment: Experiment, runs: Path, console: Console, *, resume: bool = False) -> None:
    """Trains the experiment's trial in `runs/NAME`, from its last epoch where it is resumed.

    Raises:
        ExperimentError, DatasetError, FolderError, TrackingError: mistakes of whoever asks.
        NonFiniteLoss, NonFiniteMetric: training diverged.
    """
    data = open_data(experiment.dataset)
    for note in rehearse(experiment.model_copy(update={"space": {}}), data):
        console.print(Text(f"note: {note}", style="yellow"))
    folder = RunFolder(runs / experiment.name)
    metric, epochs = experiment.search.objective.metric, experiment.trial.epochs
    history: list[dict[str, float]] = []
    with claimed(folder, experiment, resume=resume):
        recorder = _Recorder(experiment, folder, fingerprint_of(data))

        def report(metrics: dict[str, float]) -> None:
            history.append(metrics)
            console.print(Text(_line(metrics, epochs, metric)), soft_wrap=True)
            recorder.deliver(history)

        status, reason = "FAILED", None
        try:
            trainable.train(
                experiment.trial,
                data,
                report,
                folder=folder.path,
                objective=experiment.search.objective,
                device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
            )
            status = "FINISHED"
        except KeyboardInterrupt:
            status, reason = "KILLED", INTERRUPTED
            raise
        except Exception as error:
            reason = str(error)
            raise
        finally:
            recorder.end(status, reason, folder.path / "best.pt")
    best = next(m for m in history if m[metric] == history[-1]["best"])
    console.print(
        Text(
            f"\nbest {metric} {shown(metric, best[metric])} at epoch {int(best['epoch'])} (epochs count from 0)\n"
            f"weights         {folder.path / 'best.pt'}\n"
            f"MLflow          {experiment.tracking.uri or runs / 'mlflow.db'}\n\n"
            f"next:  uv run python -m search ui {experiment.name}"
        ),
        soft_wrap=True,
    )
    if recorder.trouble is not None:
        console.print(Text(f"note: MLflow lacks a part of this run ({recorder.trouble})", style="yellow"))
