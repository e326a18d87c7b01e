"""`python -m search train FILE`: one training, its test and the registration of the model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from datasets.index.json_text import parse_json
from datasets.index.list_files import count
from datasets.index.regular_file import fault_of, read_regular
from datasets.registry import DatasetError
from ogmge import fit, inference
from ogmge.components import parse
from ogmge.devices import best_device
from ogmge.fit import BEST
from ogmge.model import build_model
from search.backend import ddp
from search.backend.cluster import nodes, own_modules
from search.backend.ddp import Job
from search.backend.preflight import check_models
from search.backend.resources import cores_each
from search.commands.run_trials import engine, everywhere
from search.console.notes import print_line, print_note
from search.experiment.formatting import duration, format_value, modalities, percent
from search.experiment.own_code import named_factories
from search.experiment.schema import Experiment, ExperimentError, Provenance
from search.models.lookup import default_device
from search.models.registry import ModelCode, register
from search.run.checkpoints import storage_of
from search.run.disk import resumable
from search.run.folder import FolderError, RunFolder, claim_folder, identify, require_unchanged, write
from search.run.open_data import fingerprint_of, open_data
from search.run.test_log import read_test, readings
from search.tracking.client import TrainingData, store_uri
from search.tracking.training_run import TrainingTracker
from search.verdict.next_step import command_line
from search.verdict.seeds import SPLIT_SEED, redraws


@dataclass(frozen=True)
class How:
    """Options of a training that its experiment does not contain.

    Args:
        resume: whether to continue the run of this name.
        workers: number of processes; None means one per GPU, or one.
        all_data: whether to train on the validation samples too; then none are left to choose an epoch by.
        epochs: number of epochs after which to stop; None means the default.
        test: whether to read the test split at the end.
        same_recipe: whether `trial` is as in the file, apart from its seed.
    """

    resume: bool = False
    workers: int | None = None
    all_data: bool = False
    epochs: int | None = None
    test: bool = True
    same_recipe: bool = True

    @property
    def is_comparable(self) -> bool:
        """Whether the training is another one of the file's configuration, whose accuracy the file predicts."""
        return self.same_recipe and self.epochs is None


def train(experiment: Experiment, runs: Path, console: Console, how: How) -> None:
    """Train the experiment's trial in `runs/NAME`, or resume it; then read the test split once and register the model.

    Raises:
        ExperimentError, DatasetError, FolderError, ClusterError, ResourceError, TrackingError: for errors of the user.
        NonFiniteLoss, NonFiniteMetric, TrainingFailed: if training diverges or its processes fail.
    """
    data, fingerprint = _data(experiment, console)
    folder = RunFolder(runs / experiment.name)
    job = _job(experiment, folder, how, data)
    with claim_folder(folder, experiment, resume=how.resume, kind="training"):
        identify(folder, fingerprint)
        asked = _check_same_job(folder, job)
        if experiment.search.storage is not None:
            job = replace(job, storage=storage_of(experiment, folder))
        with resumable(), _tracker(experiment, folder, fingerprint, job) as tracker:
            history = History(experiment.search.objective.metric, job, console, partial(_keep, folder, asked, tracker))
            _run(experiment, job, how, data, history.add)
            _fetch(job, folder)
            tested = _test(experiment, data, folder, console, how)
            tracker.add(tested or {}, {"test": "read" if readings(folder) else "not read"})
            summary = "\n".join(_summary(experiment, job, how, history.epochs, tested))
            model = _register(experiment, folder, tracker, _about(experiment, summary))
    print_line(console, f"\n{summary}")
    print_line(console, _files(experiment, folder, model))
    print_line(console, _next(experiment.name, job, is_tested=tested is not None))
    if tracker.trouble is not None:
        print_note(console, f"part of this run is missing from MLflow ({tracker.trouble})")


def _data(experiment: Experiment, console: Console) -> tuple[fit.Data, str]:
    """Return the data and their fingerprint, after a check that the model can be built for them."""
    data, origin = open_data(experiment.dataset), experiment.origin
    if origin is not None:
        searched = (
            data if origin.split_seed is None else open_data({**experiment.dataset, SPLIT_SEED: origin.split_seed})
        )
        require_unchanged(
            origin.fingerprint,
            fingerprint_of(searched),
            f"the search `{origin.run}` found this configuration",
            "which may not be the best one for the new data: restore the data, or remove `origin` from the file to use "
            "the new data",
        )
    for note in check_models(experiment, data):
        print_note(console, note)
    return data, fingerprint_of(data)


def _job(experiment: Experiment, folder: RunFolder, how: How, data: fit.Data) -> Job:
    trial = experiment.trial
    if how.all_data and not hasattr(data, "all_for_training"):
        raise DatasetError(
            "--all-data does not work with this data set: its class has no method `all_for_training()`, which returns "
            "the data with the validation samples among the training samples"
        )
    _check_parts(experiment, data, how.workers or 1)
    dataset, here = everywhere(experiment.dataset)
    objective = None if how.all_data else experiment.search.objective
    epochs = _epochs(experiment, how)
    place = folder.path.resolve()
    return Job(trial, dataset, objective, epochs, how.all_data, here, place, None, experiment.modules)


def _check_parts(experiment: Experiment, data: fit.Data, workers: int) -> None:
    """Raise ExperimentError if a process would get too small a part of each batch."""
    trial = experiment.trial
    if workers == 1:
        return
    smallest, why = workers, f"--workers ({workers})"
    if experiment.search.address == "local" and torch.cuda.device_count() < workers:
        each = build_model(trial, data.shapes, len(data.classes)).smallest_batch
        smallest *= each
        if each > 1:
            why = f"{smallest}, as the model's batch norm needs {each} for each of the --workers ({workers})"
    if trial.batch_size < smallest:
        raise ExperimentError(
            experiment.name, [f"`trial.batch_size` must be at least {why}, but got {trial.batch_size}"]
        )


def _epochs(experiment: Experiment, how: How) -> int | None:
    """Return the number of epochs after which training stops early; None means all epochs of the trial."""
    origin = experiment.origin
    if how.epochs is not None or not how.all_data:
        return how.epochs
    if origin is None or origin.seeds < 2:
        raise ExperimentError(
            experiment.name,
            [
                "--all-data leaves no validation samples to choose an epoch by: confirm the search (`python -m search "
                "confirm RUN`), which writes the number of epochs to best.yaml, or set it with --epochs"
            ],
        )
    return origin.epochs


def _tracker(experiment: Experiment, folder: RunFolder, fingerprint: str, job: Job) -> TrainingTracker:
    params = {**asdict(experiment.trial), "all_data": job.all_data, "epochs_trained": job.epochs or job.trial.epochs}
    data, tags = TrainingData(experiment.dataset, fingerprint), {"kind": "training"}
    return TrainingTracker(experiment, folder.path.parent, experiment.name, folder.path, params, tags, data)


def _check_same_job(folder: RunFolder, job: Job) -> str:
    """Check that a resumed run has the same options as before; return these options as text for its folder."""
    path = folder.training
    asked = {"all_data": job.all_data, "epochs": job.epochs}
    if path.exists() and (before := _read_job(path)) != asked:
        raise FolderError(
            f"a resumed run keeps its options: expected {_options(before)}, but got {_options(asked)}; repeat the "
            "original options, or choose another name"
        )
    return json.dumps(asked) + "\n"


def _read_job(path: Path) -> dict[str, Any]:
    """Return the stored options of a training.

    Raises:
        FolderError: if the file is corrupt.
    """
    try:
        values = parse_json(read_regular(path))
        return {"all_data": bool(values["all_data"]), "epochs": values["epochs"]}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise FolderError(
            f"{path} {fault_of(error)}; cannot verify that the options are the same: if you know that they are, delete "
            "the file and repeat this command"
        ) from error


def _options(job: Mapping[str, Any]) -> str:
    """Format the stored options of a training as they are typed."""
    words = ["--all-data"] * bool(job["all_data"]) + [f"--epochs {job['epochs']}"] * (job["epochs"] is not None)
    return " ".join(words) or "neither --all-data nor --epochs"


def _keep(folder: RunFolder, asked: str, tracker: TrainingTracker, history: list[dict[str, float]]) -> None:
    """Report the epochs so far to MLflow; after the first one, also store the options of the training."""
    if len(history) == 1:
        write(folder.training, asked)
    tracker.deliver(history)


class History:
    """Epochs so far. Each is printed and stored once, although restarted processes report earlier epochs again.

    Args:
        metric: metric of the objective.
        job: training that the epochs belong to.
        console: console on which each epoch is printed as a row of a table.
        keep: function to call with all epochs after each new one.
    """

    def __init__(self, metric: str, job: Job, console: Console, keep: Callable[[list[dict[str, float]]], None]) -> None:
        self._metric, self._console, self._keep = metric, console, keep
        self._planned = job.epochs or job.trial.epochs
        self.epochs: list[dict[str, float]] = []

    def add(self, metrics: dict[str, float]) -> None:
        """Add the metrics of an epoch, unless it is known already."""
        if metrics["epoch"] == len(self.epochs):
            columns = _columns(metrics, self._planned, self._metric)
            if not self.epochs:
                print_line(self._console, "  ".join(head.rjust(len(cell)) for head, cell in columns.items()))
            self.epochs.append(metrics)
            print_line(self._console, "  ".join(cell.rjust(len(head)) for head, cell in columns.items()))
            self._keep(self.epochs)


def _run(experiment: Experiment, job: Job, how: How, data: fit.Data, report: fit.Report) -> None:
    """Train in this process if one local process suffices, otherwise with Ray Train."""
    workers = how.workers or max(1, torch.cuda.device_count())
    if experiment.search.address == "local" and workers == 1:
        _run_here(job, job.data() if job.all_data else data, report)
    else:
        _run_in_ray(experiment, job, how, report)


def _run_in_ray(experiment: Experiment, job: Job, how: How, report: fit.Report) -> None:
    where = str(job.folder) if job.storage is None else job.storage.where
    with engine(experiment, job.dataset, job.here, where):
        there = ddp.gpu_count()
        workers = how.workers or max(1, there)
        asked = experiment.search.resources.cpu
        cpu = cores_each(workers, nodes()) if asked == "auto" else asked
        ddp.train(job, workers, cpu, there >= workers, report)


def _run_here(job: Job, data: fit.Data, report: fit.Report) -> None:
    with job.checkpoints(first=True) as (folder, keep):
        fit.train(
            job.trial,
            data,
            partial(_keep_and_report, keep, report),
            folder=folder,
            objective=job.objective,
            device=best_device(),
            epochs=job.epochs,
        )


def _keep_and_report(keep: Callable[[], None], report: fit.Report, metrics: dict[str, float]) -> None:
    keep()
    report(metrics)


def _fetch(job: Job, folder: RunFolder) -> None:
    """Copy the weights from a separate storage into the folder of the run."""
    if job.storage is not None:
        shutil.copyfile(job.storage.weights(0, folder.tune), folder.path / BEST)


def _test(
    experiment: Experiment, data: fit.Data, folder: RunFolder, console: Console, how: How
) -> dict[str, float] | None:
    """Return the model's metrics on the test split; None if it is not to be read or does not exist."""
    if not how.test:
        return None
    device, note = default_device(), partial(print_note, console)
    model = inference.load(folder.path / BEST, device, trusted=named_factories(experiment))
    try:
        batches, _ = read_test(data, folder, "final training", experiment.trial.batch_size, note)
    except DatasetError as error:
        note(f"not tested: {error}")
        return None
    [tally] = inference.tally_all([model], batches, device)
    return tally.result("test")


def _register(experiment: Experiment, folder: RunFolder, tracker: TrainingTracker, about: str) -> str | None:
    """Register the model; return its URI in MLflow, or None if MLflow fails."""
    weights = folder.path / BEST
    try:
        store = store_uri(experiment.tracking.uri, folder.path.parent)
        code = ModelCode(own_modules(experiment, data=False), named_factories(experiment))
        return register(experiment.name, tracker.run_id, weights, store, code, about)
    except Exception as error:  # from MLflow, requests, sqlalchemy …
        tracker.trouble = error
        return None


# ---- what is printed ----


def _columns(metrics: dict[str, float], epochs: int, metric: str) -> dict[str, str]:
    """Return the cells of an epoch's row, by their column's heading.

    A cell has the same width in each epoch. With three modalities the row fits on 80 columns.
    """
    names = modalities(metrics, "train")
    split = "val" if metric in metrics else "train"
    digits = len(str(epochs))
    accuracies = {split: f"{split}/accuracy", **{name: f"{split}/accuracy/{name}" for name in names}}
    is_shown = metric not in metrics or metric in accuracies.values()
    own = {} if is_shown else {metric: format_value(metric, metrics[metric])}
    seconds = metrics["seconds"]
    return {
        "epoch": f"{int(metrics['epoch']) + 1:>{digits}}/{epochs}",
        "loss": f"{metrics['train/loss']:6.3f}",
        **own,
        **{name: percent(metrics[key]).rjust(7) for name, key in accuracies.items()},
        "k": "/".join(f"{metrics[f'coefficient/{name}']:.2f}" for name in names),
        "time": (f"{seconds:.1f} s" if seconds < 100 else duration(seconds)).rjust(6),
    }


def _summary(
    experiment: Experiment, job: Job, how: How, history: list[dict[str, float]], tested: dict[str, float] | None
) -> Iterator[str]:
    """Yield the lines of the summary of a training."""
    if job.objective is None:
        yield f"trained for {count(len(history), 'epoch')} on all data except the test split"
    else:
        is_predicted = how.is_comparable and not _has_searched_split(experiment)
        yield _best(experiment.origin if is_predicted else None, job.objective.metric, history)
    if tested is not None:
        alone = ", ".join(f"{name} {percent(tested[f'test/accuracy/{name}'])}" for name in modalities(tested, "test"))
        yield f"test/accuracy {percent(tested['test/accuracy'])}" + (f" (alone: {alone})" if alone else "")


def _has_searched_split(experiment: Experiment) -> bool:
    """Return whether validation uses the split that chose the configuration, although the prediction is about others.

    A split that the publisher fixes is not counted: the confirmation used it too.
    """
    origin, dataset = experiment.origin, experiment.dataset
    return origin is not None and redraws(dataset) and origin.split_seed in (None, dataset[SPLIT_SEED])


def _best(origin: Provenance | None, metric: str, history: list[dict[str, float]]) -> str:
    best = next(m for m in history if m[metric] == history[-1]["best"])
    text = f"best {metric} {format_value(metric, best[metric])} at epoch {int(best['epoch'])} (epochs count from 0)"
    return text + _expectation(origin, metric, best[metric])


def _expectation(origin: Provenance | None, metric: str, value: float) -> str:
    """Return a phrase that compares a value with the search's prediction for another seed; empty without one.

    It is also empty with so few seeds that the prediction says nothing.
    """
    if origin is None or origin.expected_range is None or origin.metric != metric:
        return ""
    low, high = origin.expected_range
    inside = "within" if low <= value <= high else "outside"
    return f", {inside} the expected range (95 %: {format_value(metric, low)} to {format_value(metric, high)})"


def _about(experiment: Experiment, summary: str) -> str:
    """Return the description of the model for the registry."""
    trial, origin = experiment.trial, experiment.origin
    parts = [
        f"Trained on `{experiment.dataset['name']}`: fusion `{parse(trial.fusion)}`, `{trial.modulation.method}`.",
        summary,
    ]
    if origin is not None:
        source = f"Trial {origin.trial} ({origin.arm}) of the search `{origin.run}`"
        if origin.verdict is not None:
            source += f", confirmed with {count(origin.seeds, 'fresh seed')}. Verdict on OGM-GE: {origin.verdict}"
        parts.insert(0, f"{source}.")
    return "\n\n".join(parts)


def _files(experiment: Experiment, folder: RunFolder, model: str | None) -> str:
    tracking = experiment.tracking.uri or folder.path.parent / "mlflow.db"
    registered = f"model           {model}\n" if model is not None else ""
    return f"weights         {folder.path / 'best.pt'}\n{registered}MLflow          {tracking}"


def _next(name: str, job: Job, *, is_tested: bool) -> str:
    """Return the commands to run next: an evaluation on a split that may be read, and MLflow's page."""
    split = [] if is_tested else ["--split", "validation"]
    commands = [["ui", name]] if job.all_data and not is_tested else [["evaluate", name, *split], ["ui", name]]
    lines = [command_line(*words) for words in commands]
    return "\nnext:  " + "\n       ".join(lines)
