"""What a search would cost, from a few real steps of its trials; nothing is started and nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ogmge.fit import Data
from search.backend.autopack import PackingDecision, least_cpu, pack_cpus, pack_gpu
from search.backend.cluster import nodes_of, own_cpus
from search.backend.costs import costs_of
from search.backend.device import device_for
from search.backend.preflight import check_search
from search.backend.resources import ResourceError, Resources, requested_resources, trials_at_once
from search.backend.step_cost import Cost
from search.console.notes import print_note
from search.dry_run.forecast import Forecast, expected_epochs
from search.dry_run.prefix_savings import in_common
from search.experiment.arms import ARMS, Arm, plan
from search.experiment.formatting import duration, size
from search.experiment.schema import Experiment
from search.experiment.space import most_epochs, windows
from search.tuner.pruners.pruner import scheduler_of
from search.tuner.study import ArmStudy


def _have(experiment: Experiment) -> list[dict[str, float]]:
    """What there is for trials, node by node: this machine, or a cluster's.

    Raises:
        ClusterError: it cannot be joined.
        ResourceError: trials take a GPU, and there is none here to measure them on.
    """
    here = {"CPU": float(own_cpus()), "GPU": float(torch.cuda.device_count())}
    if experiment.search.address == "local":
        return [here]
    found = nodes_of(experiment.search.address)
    if experiment.search.resources.gpu and any(node.get("GPU") for node in found) and not here["GPU"]:
        raise ResourceError(
            "trials take a part of a GPU (`search.resources.gpu`), and this machine has none to measure them on: start "
            "the dry run on a node that has one"
        )
    return found


def _pack(
    experiment: Experiment, data: Data, have: list[dict[str, float]], owner: str
) -> tuple[dict[str, Cost], PackingDecision]:
    """What the configurations cost, and what a trial is given."""
    request = experiment.search.resources
    resources = requested_resources(request, have)
    if resources is not None:
        trials_at_once(resources, have, owner)  # before time is spent on measuring
        return costs_of(experiment, data, device_for(resources.cpu, resources.gpu)), PackingDecision(resources)
    gpus = torch.cuda.device_count() if request.gpu == "auto" else 0
    costs = costs_of(experiment, data, device_for(least_cpu(request), gpus))
    if gpus:
        return costs, pack_gpu(experiment, costs, have, forecast=True)
    if request.cpu != "auto":
        return costs, PackingDecision(Resources(request.cpu, 0))
    packed = pack_cpus(experiment, costs, own_cpus(), forecast=True)
    if packed.resources.cpu > 1:
        costs = costs_of(experiment, data, device_for(packed.resources.cpu, 0))
    return costs, packed


def forecast(experiment: Experiment, data: Data) -> Forecast:
    """Measures and reckons.

    Raises:
        ClusterError: the cluster cannot be joined.
        ExperimentError: a trial fails in its first steps.
        ResourceError: there is too little for one trial.
    """
    search, trial, confirm = experiment.search, experiment.trial, experiment.confirm
    have = _have(experiment)
    owner = "this machine" if search.address == "local" else "the cluster"
    costs, packed = _pack(experiment, data, have, owner)
    resources = packed.resources
    capacity = {arm: ArmStudy(experiment, arm).capacity for arm in ARMS}
    arms = plan(search.trials, search.baseline_share, capacity)
    trials: dict[Arm, int] = {arm: arms.count(arm) for arm in ARMS}
    epochs = most_epochs(experiment.space, trial)
    starts = [start for start, _ in windows(experiment.space, trial)]
    return Forecast(
        cpus=sum(node.get("CPU", 0.0) for node in have),
        trials=trials,
        epochs_at_most=len(arms) * epochs,
        epochs_expected=expected_epochs(arms, starts, epochs, scheduler_of(experiment)),
        at_once=min(trials_at_once(resources, have, owner), len(arms)),
        cpu=resources.cpu,
        gpu=resources.gpu,
        costs=costs,
        crowding=packed.crowding,
        note=packed.note,
        artifacts=experiment.tracking.checkpoints == "best",
        confirmation=(confirm.trainings, len(ARMS) * confirm.seeds) if confirm else (0, 0),
        longest=epochs,
        shared=in_common(experiment, arms),
        beginnings_at_most=search.prefixes.max_gb * 1e9,
    )


def _rows(experiment: Experiment, f: Forecast) -> Iterator[tuple[str, str, str]]:
    """What is printed: name, at most, expected."""
    each = f"{f.cpu:g} of {f.cpus:g} CPUs" + (f", {f.gpu:g} GPU" if f.gpu else "") + " each"
    most, expected = f.training_seconds
    slowest, mean = f.epoch_seconds
    yield "trials", str(sum(f.trials.values())), f"{f.trials['modulated']} modulated, {f.trials['baseline']} not"
    yield "epochs", str(f.epochs_at_most), f"{f.epochs_expected:.0f}"
    if experiment.search.share_prefixes:
        yield "  in common", "0", f"{f.epochs_expected - f.epochs_to_train:.0f}, trained once ({f.shared.part:.0%})"
    if f.confirmation[0]:
        longest, usual = (trainings * f.longest for trainings in f.confirmation)
        yield "confirmation", f"{longest} epochs", f"{usual} epochs"
    yield "an epoch", f"{slowest:.2g} s ({f.slowest})", f"{mean:.2g} s"
    yield "at once", str(f.at_once), each
    yield "wall time", duration(most / f.at_once), duration(expected / f.at_once)
    if f.gpu:
        yield "GPU-hours", f"{most * f.gpu / 3600:.2g}", f"{expected * f.gpu / 3600:.2g}"
        share = torch.cuda.get_device_properties(0).total_memory * min(1.0, f.gpu)
        yield "memory, a trial", f"{size(f.costs[f.largest].peak_bytes)} ({f.largest})", f"its share is {size(share)}"
    else:
        yield "memory, a trial", size(f.costs[f.largest].peak_bytes), ""
    yield "checkpoints", size(f.checkpoint_bytes[0]), size(f.checkpoint_bytes[1])
    if experiment.search.share_prefixes:
        yield "beginnings", size(f.beginnings_bytes), "for trials that begin alike"
    yield "MLflow", size(f.mlflow_bytes[0]), size(f.mlflow_bytes[1])
    limits = experiment.search.budget.model_dump(exclude_none=True)
    if limits:
        yield "budget", ", ".join(f"{value:g} {name}" for name, value in limits.items()).replace("_", "-"), ""


def _caution(experiment: Experiment, f: Forecast) -> str:
    steps = sum(cost.train_steps for cost in f.costs.values())
    held_out = sum(cost.validation_steps for cost in f.costs.values())
    text = (
        f"These are estimates, from {steps} steps of training and {held_out} of validation with "
        f"{len(f.costs)} configurations ({'; '.join(f.costs)}), one at a time, after a warm-up. They leave out what "
        "workers take to start"
    )
    if f.note:
        text += f"; that trials at once cost each other is in them: an epoch takes {f.crowding:.2g} times as long."
    else:
        text += " and what trials at once cost each other: cores, disks and the reading of data are taken to be free."
    if experiment.search.scheduler.name != "none":
        text += " Early stopping is reckoned with made-up results, in which a trial that is ahead stays ahead."
    text += _sharing(f)
    if f.confirmation[0]:
        text += (
            " The confirmation takes two trainings for each seed, and a third where the arms turn out to differ; its "
            "part of a budget is for three."
        )
    if f.artifacts:
        text += " The best weights of a trial are kept twice, in its folder and as MLflow's artifact."
    if experiment.search.address != "local":
        text += " The cluster's nodes are taken to be as fast as this machine, where the steps were measured."
    return text


def _sharing(f: Forecast) -> str:
    """What keeps trials from having more in common."""
    ranges = " and ".join(f"`space.{path}`" for path in f.shared.prevented_by)
    if ranges:
        return (
            f" No two trials have an epoch in common, as {ranges} has no steps: choices, or a `step`, let them share."
        )
    ranges = " and ".join(f"`space.{path}`" for path in f.shared.limited_by)
    if ranges and f.shared.part:
        return f" Trials share the epochs before their windows open, and none after that, as {ranges} has no steps."
    return ""


def dry_run(experiment: Experiment, console: Console) -> None:
    """Prints what the search would take.

    Raises:
        ExperimentError, DatasetError, ResourceError: mistakes of whoever asks, as they would be found by the search.
    """
    data, notes = check_search(experiment)
    for note in notes:
        print_note(console, note)
    found = forecast(experiment, data)
    if found.note:
        print_note(console, found.note)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for heading in (experiment.name, "at most", "expected"):
        table.add_column(Text(heading), overflow="fold")
    for name, most, expected in _rows(experiment, found):
        table.add_row(Text(name, style="dim"), Text(most), Text(expected))
    console.print(table)
    console.print(Text(f"\n{_caution(experiment, found)}"))
