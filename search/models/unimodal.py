"""Training of encoders alone, each on one modality with a trial's settings, as a comparison for joint training."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from ogmge import fit, inference
from ogmge.config import ConfigError, TrialConfig
from ogmge.factories import custom_factories
from ogmge.fit import BEST, LAST
from ogmge.inference import TrainedModel
from search.experiment.formatting import format_value
from search.experiment.space import with_changes
from search.models.lookup import Model, ModelError
from search.run.folder import write
from search.run.open_data import fingerprint_of
from search.tracking.client import TrackingError, TrainingData, read_run_id
from search.tracking.training_run import TrainingTracker
from search.verdict.probe_policy import alone_changes

Tell = Callable[[str], None]


def alone(config: TrialConfig, modality: str) -> TrialConfig:
    """Return the same training on one modality: without modulation and with a linear head."""
    return with_changes(config, alone_changes(modality))


def _objective(model: Model) -> fit.Objective:
    """Return the objective that selects the best epoch: the run's, if a single modality has that metric."""
    own = model.experiment.search.objective if model.experiment else fit.Objective()
    return own if own.metric in ("val/accuracy", "val/loss") else fit.Objective()


def _claim(folder: Path, config: TrialConfig, data: fit.Data, objective: fit.Objective) -> None:
    """Check that a folder is empty or holds a part of this training, and record what is trained in it.

    Raises:
        ModelError: if it holds another training.
    """
    note = folder / "training.json"
    about = {"trial": asdict(config), "objective": asdict(objective), "fingerprint": fingerprint_of(data)}
    wanted = json.dumps(about, sort_keys=True)
    if (folder / LAST).exists() and (not note.exists() or note.read_text(encoding="utf-8", errors="replace") != wanted):
        raise ModelError(f"{folder} holds a training with other settings or data: delete it or move it away")
    folder.mkdir(parents=True, exist_ok=True)
    write(note, wanted)


def check(model: Model, data: fit.Data) -> None:
    """Check that `train` can train each encoder, by building it.

    Raises:
        ModelError: if it cannot.
    """
    if len(model.trained.names) < 2:
        [only] = model.trained.names
        raise ModelError(f"{model.file} takes one modality, {only}, and was trained alone already: omit --unimodal")
    for name in model.trained.names:
        try:
            fit.start(alone(model.trained.config, name), data, torch.device("cpu"))
        except ConfigError as error:
            raise ModelError(f"{name} cannot be trained alone with the settings of {model.file}: {error}") from error


def train(
    model: Model, data: fit.Data, folder: Path, device: torch.device, tell: Tell, note: Tell
) -> list[TrainedModel]:
    """Train an encoder on each of the model's modalities, or resume its training; return their best epochs.

    Args:
        model: model whose settings are used.
        data: data of the trainings.
        folder: folder that gets a subfolder for each modality.
        device: device that the encoders are trained on.
        tell: function called with a line for each epoch.
        note: function called with a sentence on what MLflow lacks at the end.

    Raises:
        ModelError: if a folder holds another training.
        NonFiniteLoss, NonFiniteMetric: if training diverges.
    """
    objective = _objective(model)
    trials = {name: alone(model.trained.config, name) for name in model.trained.names}
    for name, config in trials.items():
        _claim(folder / name, config, data, objective)
    for name, config in trials.items():
        with _track(model, folder / name, config, data, note) as deliver:
            tell_epoch = partial(_tell_epoch, tell, f"{name} alone", config.epochs, objective.metric)
            report = partial(_report, [], tell_epoch, deliver)
            fit.train(config, data, report, folder=folder / name, objective=objective, device=device)
    trusted = custom_factories(model.trained.config)
    return [inference.load(folder / name / BEST, device, trusted=trusted) for name in trials]


Deliver = Callable[[list[dict[str, float]]], None]


@contextmanager
def _track(model: Model, folder: Path, config: TrialConfig, data: fit.Data, note: Tell) -> Iterator[Deliver]:
    """Deliver the epochs to MLflow, if the model belongs to a run and MLflow can be reached."""
    try:
        tracker = _tracker_of(model, folder, config, data)
    except TrackingError as error:  # the MLflow of an old run may be gone, and probes do not need it
        note(f"this training is not recorded ({error})")
        tracker = None
    if tracker is None:
        yield lambda history: None
        return
    with tracker:
        yield tracker.deliver
    if tracker.trouble is not None:
        note(f"MLflow lacks part of this training ({tracker.trouble})")


def _tracker_of(model: Model, folder: Path, config: TrialConfig, data: fit.Data) -> TrainingTracker | None:
    """Return a tracker for a child run of the model's search or training; None without a run."""
    run, experiment = model.run, model.experiment
    if run is None or experiment is None:
        return None
    [modality] = config.modalities or ()
    parent = read_run_id(run.path)
    tags = {"kind": "probe", "modality": modality, "model": str(model.file)}
    tags |= {} if parent is None else {"mlflow.parentRunId": parent}
    title, origin = f"probe {modality} alone", TrainingData(experiment.dataset, fingerprint_of(data))
    return TrainingTracker(experiment, run.path.parent, title, folder, asdict(config), tags, origin)


def _report(history: list[dict[str, float]], tell: fit.Report, deliver: Deliver, metrics: dict[str, float]) -> None:
    history.append(metrics)
    tell(metrics)
    deliver(history)


def _tell_epoch(tell: Tell, title: str, epochs: int, metric: str, metrics: dict[str, float]) -> None:
    epoch = f"{int(metrics['epoch']) + 1:>{len(str(epochs))}}/{epochs}"
    tell(f"{title}  epoch {epoch}  {metric} {format_value(metric, metrics[metric])}  {metrics['seconds']:.1f} s")
