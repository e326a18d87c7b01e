"""One training run by itself: `python -m search train FILE`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.text import Text

from datasets.registry import DatasetError
from ogmge import fit, inference
from ogmge.fit import BEST
from search.backend import ddp
from search.backend.cluster import nodes, own_modules
from search.backend.ddp import Job
from search.backend.preflight import check_models
from search.backend.resources import cores_each
from search.commands.run_trials import engine, everywhere
from search.console.notes import print_line, print_note
from search.experiment.formatting import format_value, modalities, percent
from search.experiment.schema import Experiment, ExperimentError
from search.models.registry import register
from search.run.checkpoints import storage_of
from search.run.folder import FolderError, RunFolder, claim_folder, identify, require_unchanged, write
from search.run.open_data import fingerprint_of, open_data
from search.run.test_log import read_test, readings
from search.tracking.client import TrainedOn, store_uri
from search.tracking.training_run import TrainingTracker, store_of


@dataclass(frozen=True)
class How:
    """How a trial is trained, beside what its experiment says.

    Args:
        resume: go on with the run of this name.
        workers: processes; None is one for each GPU, or one.
        all_data: on the validation samples too, so that there are none to choose an epoch by.
        epochs: end after so many.
        test: read the test split at the end.
    """

    resume: bool = False
    workers: int | None = None
    all_data: bool = False
    epochs: int | None = None
    test: bool = True


def train(experiment: Experiment, runs: Path, console: Console, how: How | None = None) -> None:
    """Trains the experiment's trial in `runs/NAME`, from its last epoch where it is resumed; asks the test split once,
    and registers the model.

    Raises:
        ExperimentError, DatasetError, FolderError, ClusterError, ResourceError, TrackingError: mistakes of whoever
            asks.
        NonFiniteLoss, NonFiniteMetric, TrainingFailed: training diverged, or its processes failed.
    """
    how = how or How()
    data, fingerprint = _data(experiment)
    for note in check_models(experiment.model_copy(update={"space": {}}), data):
        print_note(console, note)
    folder = RunFolder(runs / experiment.name)
    job = _job(experiment, folder, how, data)
    with claim_folder(folder, experiment, resume=how.resume):
        identify(folder, fingerprint)
        asked = _same_job(folder, job)
        if experiment.search.storage is not None:
            job = replace(job, storage=storage_of(experiment, folder))
        recorder = _recorder(experiment, folder, fingerprint, job)

        def told(history: list[dict[str, float]]) -> None:
            if len(history) == 1:
                write(folder.training, asked)
            recorder.deliver(history)

        history = _Told(experiment, job, console, told)
        with recorder:
            _run(experiment, job, how, data, history)
            _fetch(job, folder)
            tested = _test(experiment, data, folder, console, how)
            recorder.add(tested or {}, {"test": "read" if readings(folder) else "not read"})
            said = _end_of(experiment, job, history.epochs, tested)
            model = _register(experiment, folder, recorder, _about(experiment, said))
    print_line(console, f"\n{said}")
    console.print(_files(experiment, folder, model), soft_wrap=True)
    if recorder.trouble is not None:
        print_note(console, f"MLflow lacks a part of this run ({recorder.trouble})")


def _data(experiment: Experiment) -> tuple[fit.Data, str]:
    data = open_data(experiment.dataset)
    fingerprint, origin = fingerprint_of(data), experiment.origin
    if origin is not None:
        require_unchanged(
            origin.fingerprint,
            fingerprint,
            f"the search `{origin.run}` found this configuration",
            "which need not be the best on these: put them back, or take `origin` out of the file if these are the "
            "data you mean",
        )
    return data, fingerprint


def _job(experiment: Experiment, folder: RunFolder, how: How, data: fit.Data) -> Job:
    if how.all_data and not hasattr(data, "all_for_training"):
        raise DatasetError(
            "this data set cannot train on its validation samples, as --all-data asks for: its class needs "
            "`all_for_training()`, which gives the data with these among the training samples"
        )
    if how.workers is not None and how.workers > experiment.trial.batch_size:
        raise ExperimentError(
            experiment.name,
            [f"`trial.batch_size` must be at least --workers ({how.workers}), but is {experiment.trial.batch_size}"],
        )
    dataset, here = everywhere(experiment.dataset)
    return Job(
        experiment.trial,
        dataset,
        None if how.all_data else experiment.search.objective,
        _epochs(experiment, how),
        how.all_data,
        here,
        folder.path.resolve(),
        None,
    )


def _epochs(experiment: Experiment, how: How) -> int | None:
    """Where training is to end, if not with the trial's last epoch."""
    origin = experiment.origin
    if how.epochs is not None or not how.all_data:
        return how.epochs
    if origin is None or origin.seeds < 2:
        raise ExperimentError(
            experiment.name,
            [
                "--all-data leaves no validation to choose an epoch by: confirm the search (`python -m search confirm "
                "RUN`), whose best.yaml says after how many epochs to end, or say so with --epochs"
            ],
        )
    return origin.epochs


def _recorder(experiment: Experiment, folder: RunFolder, fingerprint: str, job: Job) -> TrainingTracker:
    settings = {"all_data": job.all_data, "epochs_trained": job.epochs or job.trial.epochs}
    data = TrainedOn(experiment.dataset, fingerprint)
    store = store_of(experiment, folder.path.parent)
    return TrainingTracker(
        store, experiment.name, folder.path, {**asdict(experiment.trial), **settings}, {"kind": "training"}, data
    )


def _same_job(folder: RunFolder, job: Job) -> str:
    """A run that is resumed is trained as it was begun; returns what says so, for its folder."""
    path = folder.training
    asked = {"all_data": job.all_data, "epochs": job.epochs}
    if path.exists() and (before := json.loads(path.read_text(encoding="utf-8"))) != asked:
        raise FolderError(
            f"a resumed run is trained as it was begun, with {before}, but now {asked} is asked for: put the options "
            "back, or take another name"
        )
    return json.dumps(asked) + "\n"


class _Told:
    """The epochs so far, each told once; where processes began again they tell those before once more."""

    def __init__(
        self,
        experiment: Experiment,
        job: Job,
        console: Console,
        deliver: Callable[[list[dict[str, float]]], None],
    ) -> None:
        self._metric, self._console, self._deliver = experiment.search.objective.metric, console, deliver
        self._planned = job.epochs or job.trial.epochs
        self.epochs: list[dict[str, float]] = []

    def __call__(self, metrics: dict[str, float]) -> None:
        if metrics["epoch"] == len(self.epochs):
            self.epochs.append(metrics)
            print_line(self._console, _line(metrics, self._planned, self._metric))
            self._deliver(self.epochs)


def _run(
    experiment: Experiment, job: Job, how: How, data: fit.Data, report: Callable[[dict[str, float]], None]
) -> None:
    """In this process where it is one and the machine this; else in Ray Train's."""
    gpus = torch.cuda.device_count()
    if experiment.search.address == "local" and (how.workers or max(1, gpus)) == 1:
        with job.checkpoints(first=True) as (folder, keep):

            def kept(metrics: dict[str, float]) -> None:
                keep()
                report(metrics)

            fit.train(
                job.trial,
                job.data() if job.all_data else data,
                kept,
                folder=folder,
                objective=job.objective,
                device=torch.device("cuda" if gpus else "cpu"),
                epochs=job.epochs,
            )
        return
    where = str(job.folder) if job.storage is None else job.storage.where
    with engine(experiment, job.dataset, job.here, where):
        there = ddp.gpu_count()
        workers = how.workers or max(1, there)
        asked = experiment.search.resources.cpu
        cpu = cores_each(workers, nodes()) if asked == "auto" else asked
        ddp.train(job, workers, cpu, there >= workers, report)


def _fetch(job: Job, folder: RunFolder) -> None:
    """Brings the weights into the folder of the run, where they were kept elsewhere."""
    if job.storage is not None:
        shutil.copyfile(job.storage.weights(0, folder.tune), folder.path / BEST)


def _test(
    experiment: Experiment, data: fit.Data, folder: RunFolder, console: Console, how: How
) -> dict[str, float] | None:
    """What the model makes of the test split; None where it is not to be read, or there is none."""
    if not how.test:
        return None
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = inference.load(folder.path / BEST, device)
    note = partial(print_note, console)
    try:
        batches, _ = read_test(data, folder, "final training", experiment.trial.batch_size, note)
    except DatasetError as error:
        note(str(error))
        return None
    [tally] = inference.tally_all([model], batches, device)
    return tally.result("test")


def _register(experiment: Experiment, folder: RunFolder, recorder: TrainingTracker, about: str) -> str | None:
    """The model's URI in MLflow; None where MLflow has not taken it."""
    weights = folder.path / BEST
    try:
        store = store_uri(experiment.tracking.uri, folder.path.parent)
        return register(experiment.name, recorder.run_id, weights, store, own_modules(experiment, data=False), about)
    except Exception as error:  # MLflow raises its own, requests', sqlalchemy's …
        recorder.trouble = error
        return None


# ---- what is said ----


def _line(metrics: dict[str, float], epochs: int, metric: str) -> str:
    names = modalities(metrics, "train")
    prefix = "val" if metric in metrics else "train"
    said = [f"epoch {int(metrics['epoch']) + 1:>{len(str(epochs))}}/{epochs}  train/loss {metrics['train/loss']:.4f}"]
    said += [f"{metric} {format_value(metric, metrics[metric])}"] if metric in metrics else []
    said += [f"{prefix} {name} {percent(metrics[f'{prefix}/accuracy/{name}'])}" for name in names]
    said += ["k " + "/".join(f"{metrics[f'coefficient/{name}']:.2f}" for name in names)]
    return "  ".join([*said, f"{metrics['seconds']:.1f} s"])


def _end_of(experiment: Experiment, job: Job, history: list[dict[str, float]], tested: dict[str, float] | None) -> str:
    metric, origin = experiment.search.objective.metric, experiment.origin
    if job.objective is None:
        said = f"trained on all data but the test split, for {len(history)} epochs"
    else:
        best = next(m for m in history if m[metric] == history[-1]["best"])
        said = f"best {metric} {format_value(metric, best[metric])} at epoch {int(best['epoch'])} (epochs count from 0)"
        if origin is not None and origin.prediction is not None and origin.metric == metric:
            low, high = origin.prediction
            inside = "as" if low <= best[metric] <= high else "other than"
            said += f", {inside} expected: {format_value(metric, low)} to {format_value(metric, high)} in 95 %"
    if tested is not None:
        alone = ", ".join(f"{name} {percent(value)}" for name, value in _alone(tested).items())
        said += f"\ntest/accuracy {percent(tested['test/accuracy'])}" + (f" (alone: {alone})" if alone else "")
    return said


def _about(experiment: Experiment, said: str) -> str:
    """What the model is, for the registry."""
    trial, origin = experiment.trial, experiment.origin
    parts = [f"Trained on `{experiment.dataset['name']}`: fusion `{trial.fusion}`, `{trial.modulation.method}`.", said]
    if origin is not None:
        found = f"Trial {origin.trial} ({origin.arm}) of the search `{origin.run}`"
        if origin.verdict is not None:
            found += f", confirmed with {origin.seeds} fresh seeds. OGM-GE in that search: {origin.verdict}"
        parts.insert(0, f"{found}.")
    return "\n\n".join(parts)


def _alone(tested: dict[str, float]) -> dict[str, float]:
    return {name: tested[f"test/accuracy/{name}"] for name in modalities(tested, "test")}


def _files(experiment: Experiment, folder: RunFolder, model: str | None) -> Text:
    tracking = experiment.tracking.uri or folder.path.parent / "mlflow.db"
    registered = f"model           {model}\n" if model is not None else ""
    return Text(
        f"weights         {folder.path / 'best.pt'}\n{registered}MLflow          {tracking}\n\n"
        f"next:  uv run python -m search ui {experiment.name}"
    )
