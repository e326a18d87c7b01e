"""What a search would cost, from a few real steps of its trials; nothing is started and nothing is left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ogmge.trainable import Data
from search.arms import ARMS, Arm, plan
from search.cluster import trials_at_once
from search.experiment import Experiment, ExperimentError
from search.forecast import Forecast, expected_epochs
from search.labels import duration, label, size
from search.measure import Cost, UnknownSize, measure, sizes_of
from search.rehearsal import searchable
from search.sampler import ArmStudy
from search.scheduler import scheduler_of
from search.space import METHOD, Changes, Entry, Range, methods, most_epochs, windows, with_changes
from search.worker import device_for

WEIGH = ("encoder", "fusion", "batch_size", "accumulate", "precision", "optimizer.name")  # paths, or what starts them


def _choices(experiment: Experiment) -> dict[str, list[Any]]:
    """The choices that decide how heavy a trial is, by path; of a range, its ends."""

    def listed(entry: Entry) -> list[Any]:
        return [entry.low, entry.high] if isinstance(entry, Range) else entry

    return {path: listed(entry) for path, entry in experiment.space.items() if path.startswith(WEIGH)}


def costs_of(experiment: Experiment, data: Data, device: torch.device) -> dict[str, Cost]:
    """By label: the first choice of each path, each other choice by itself, and the heaviest of each together.

    Heaviest is what takes the most memory on a GPU, and the most time on a CPU.

    Raises:
        ExperimentError: a trial fails in its first steps.
    """
    base: Changes = {METHOD: methods(experiment.space, experiment.trial)[0]}
    choices, sizes = _choices(experiment), _sizes(experiment, data)
    first = {path: values[0] for path, values in choices.items()}
    found: dict[str, Cost] = {}

    def cost(changes: Changes) -> Cost:
        name = label(changes)
        if name not in found:
            found[name] = _measured(experiment, data, sizes, {**base, **changes}, device)
        return found[name]

    def weight(path: str, value: Any) -> float:
        known = cost({**first, path: value})
        return known.peak_bytes if device.type == "cuda" else known.epoch_seconds

    weights = {path: [weight(path, value) for value in values] for path, values in choices.items()}
    cost({path: choices[path][w.index(max(w))] for path, w in weights.items()})
    return found


def _sizes(experiment: Experiment, data: Data) -> Mapping[str, int]:
    try:
        return sizes_of(data)
    except UnknownSize as error:
        raise ExperimentError(experiment.name, [f"`dataset`: {error}"]) from error
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ExperimentError(experiment.name, [f"`dataset`: a pass over the data fails: {reason}"]) from error


def _measured(
    experiment: Experiment, data: Data, sizes: Mapping[str, int], changes: Changes, device: torch.device
) -> Cost:
    objective = experiment.search.objective
    try:
        return measure(with_changes(experiment.trial, changes), data, sizes, objective, device)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ExperimentError(
            experiment.name, [f"a trial ({label(changes)}) fails in its first steps: {reason}"]
        ) from error


def forecast(experiment: Experiment, data: Data) -> Forecast:
    """Measures and reckons.

    Raises:
        ExperimentError: a trial fails in its first steps.
        ResourceError: this machine is too small for one.
    """
    search, trial = experiment.search, experiment.trial
    have = {"CPU": os.cpu_count() or 1, "GPU": torch.cuda.device_count()}
    at_once = trials_at_once(search.resources, have, "this machine")
    capacity = {arm: ArmStudy(experiment, arm).capacity for arm in ARMS}
    arms = plan(search.trials, search.baseline_share, capacity)
    trials: dict[Arm, int] = {arm: arms.count(arm) for arm in ARMS}
    epochs = most_epochs(experiment.space, trial)
    starts = [start for start, _ in windows(experiment.space, trial)]
    return Forecast(
        trials=trials,
        epochs_at_most=len(arms) * epochs,
        epochs_expected=expected_epochs(arms, starts, epochs, scheduler_of(experiment)),
        at_once=min(at_once, len(arms)),
        gpu=search.resources.gpu,
        costs=costs_of(experiment, data, device_for(search.resources.cpu, search.resources.gpu)),
        artifacts=experiment.tracking.checkpoints == "best",
    )


def _rows(experiment: Experiment, f: Forecast) -> Iterator[tuple[str, str, str]]:
    """What is printed: name, at most, expected."""
    resources = experiment.search.resources
    room = f"{resources.cpu:g} of {os.cpu_count()} CPUs" + (f", {f.gpu:g} GPU" if f.gpu else "") + " each"
    most, expected = f.training_seconds
    slowest, mean = f.epoch_seconds
    yield "trials", str(sum(f.trials.values())), f"{f.trials['modulated']} modulated, {f.trials['baseline']} not"
    yield "epochs", str(f.epochs_at_most), f"{f.epochs_expected:.0f}"
    yield "an epoch", f"{slowest:.2g} s ({f.slowest})", f"{mean:.2g} s"
    yield "at once", str(f.at_once), room
    yield "wall time", duration(most / f.at_once), duration(expected / f.at_once)
    if f.gpu:
        yield "GPU-hours", f"{most * f.gpu / 3600:.2g}", f"{expected * f.gpu / 3600:.2g}"
        share = torch.cuda.get_device_properties(0).total_memory * min(1.0, f.gpu)
        yield "memory, a trial", f"{size(f.costs[f.largest].peak_bytes)} ({f.largest})", f"its share is {size(share)}"
    else:
        yield "memory, a trial", size(f.costs[f.largest].peak_bytes), ""
    yield "checkpoints", size(f.checkpoint_bytes[0]), size(f.checkpoint_bytes[1])
    yield "MLflow", size(f.mlflow_bytes(f.epochs_at_most)), size(f.mlflow_bytes(f.epochs_expected))
    limits = experiment.search.budget.model_dump(exclude_none=True)
    if limits:
        yield "budget", ", ".join(f"{value:g} {name}" for name, value in limits.items()).replace("_", "-"), ""


def _caution(experiment: Experiment, f: Forecast) -> str:
    steps = sum(cost.train_steps for cost in f.costs.values())
    held_out = sum(cost.validation_steps for cost in f.costs.values())
    text = (
        f"These are estimates, from {steps} steps of training and {held_out} of validation with "
        f"{len(f.costs)} configurations ({'; '.join(f.costs)}), one at a time, after a warm-up. They leave out what "
        "workers take to start and what trials at once cost each other: cores, disks and the reading of data are taken "
        "to be free."
    )
    if experiment.search.scheduler.name != "none":
        text += " Early stopping is reckoned with made-up results, in which a trial that is ahead stays ahead."
    if f.artifacts:
        text += " The best weights of a trial are kept twice, in its folder and as MLflow's artifact."
    if experiment.search.address != "local":
        text += " Of the cluster no more is counted than this machine."
    return text


def dry_run(experiment: Experiment, console: Console) -> None:
    """Prints what the search would take.

    Raises:
        ExperimentError, DatasetError, ResourceError: mistakes of whoever asks, as they would be found by the search.
    """
    data, notes = searchable(experiment)
    for note in notes:
        console.print(Text(f"note: {note}", style="yellow"))
    found = forecast(experiment, data)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for heading in (experiment.name, "at most", "expected"):
        table.add_column(Text(heading), overflow="fold")
    for name, most, expected in _rows(experiment, found):
        table.add_row(Text(name, style="dim"), Text(most), Text(expected))
    console.print(table)
    console.print(Text(f"\n{_caution(experiment, found)}"))
