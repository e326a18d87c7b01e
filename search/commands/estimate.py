"""Estimate of a search's cost from a few real steps of its trials. It starts no search and leaves no files."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from datasets.index.list_files import count
from ogmge.fit import Data
from search.backend.autopack import PackingDecision, crowding_of, least_cpu, pack_cpus, pack_gpu
from search.backend.cluster import nodes_of, own_cpus
from search.backend.costs import costs_of
from search.backend.device import device_for
from search.backend.preflight import check_search
from search.backend.resources import ResourceError, Resources, cpus_a_gpu, requested_resources, trials_at_once
from search.backend.step_cost import Cost
from search.backend.throughput import Packing
from search.console.notes import print_note
from search.console.summary import SOURCE
from search.dry_run.draw import draw_trials
from search.dry_run.forecast import Forecast, expected_epochs
from search.dry_run.prefix_savings import expected_savings
from search.experiment.arms import ARMS
from search.experiment.formatting import duration, size
from search.experiment.rungs import longest_trial
from search.experiment.schema import Experiment
from search.experiment.sources import format_sources
from search.experiment.space import most_epochs, windows
from search.run.earlier import read_earlier
from search.run.open_data import fingerprint_of
from search.tuner.pruners.pruner import pruner_of

Nodes = list[dict[str, float]]  # CPU and GPU of each node
Costs = dict[str, Cost]  # costs of the configurations, by label
WORKERS_IMPORTS = "import search.backend.worker, search.backend.tune"

Row = tuple[str, str, str]  # name, at most, expected


def _nodes(experiment: Experiment) -> Nodes:
    """Return the resources of each node: of this machine, or of the cluster's nodes.

    Raises:
        ClusterError: if the cluster cannot be joined.
        ResourceError: if trials use a GPU, and this machine has none to measure them on.
    """
    here = {"CPU": float(own_cpus()), "GPU": float(torch.cuda.device_count())}
    if experiment.search.address == "local":
        return [here]
    nodes = nodes_of(experiment.search.address)
    if experiment.search.resources.gpu and cpus_a_gpu(nodes) and not here["GPU"]:
        raise ResourceError(
            "trials use a GPU (`search.resources.gpu`), but this machine has none to measure them on: start the dry "
            "run on a node with a GPU"
        )
    return nodes


def _pack(experiment: Experiment, data: Data, nodes: Nodes, owner: str) -> tuple[Costs, PackingDecision]:
    """Return the costs of the configurations and the resources of a trial."""
    resources = requested_resources(experiment.search.resources, nodes)
    if resources is None:
        return _measure_packing(experiment, data, nodes)
    trials = trials_at_once(resources, nodes, owner)  # raises before time is spent on measuring
    costs = costs_of(experiment, data, device_for(resources.cpu, resources.gpu))
    if experiment.search.address != "local" or trials == 1:
        return costs, PackingDecision(resources)
    return costs, PackingDecision(resources, crowding=crowding_of(experiment, costs, Packing(trials, resources)))


def _measure_packing(experiment: Experiment, data: Data, nodes: Nodes) -> tuple[Costs, PackingDecision]:
    request = experiment.search.resources
    gpus = torch.cuda.device_count() if request.gpu == "auto" else 0
    costs = costs_of(experiment, data, device_for(least_cpu(request), gpus))
    if gpus:
        return costs, pack_gpu(experiment, costs, nodes, forecast=True)
    if request.cpu != "auto":
        return costs, PackingDecision(Resources(request.cpu, 0))
    packed = pack_cpus(experiment, costs, own_cpus(), forecast=True)
    if packed.resources.cpu > 1:
        costs = costs_of(experiment, data, device_for(packed.resources.cpu, 0))
    return costs, packed


def worker_start_seconds() -> float:
    """Measure how long a new process takes to load what a worker needs."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", WORKERS_IMPORTS], env=environment, check=True, stdin=subprocess.DEVNULL)
    return time.perf_counter() - began


def forecast(experiment: Experiment, data: Data) -> Forecast:
    """Measure a few steps of the trials, and estimate the cost of the search.

    Raises:
        ClusterError: if the cluster cannot be joined.
        ExperimentError: if a trial fails in its first steps.
        ResourceError: if there are too few resources for a single trial.
    """
    search, trial, confirm = experiment.search, experiment.trial, experiment.confirm
    nodes = _nodes(experiment)
    owner = "this machine" if search.address == "local" else "the cluster"
    costs, packed = _pack(experiment, data, nodes, owner)
    resources, drawn = packed.resources, draw_trials(experiment)
    arms = [trial.arm for trial in drawn]
    epochs, longest = most_epochs(experiment.space, trial), longest_trial(experiment)
    starts = [start for start, _ in windows(experiment.space, trial)]
    return Forecast(
        cpus=sum(node.get("CPU", 0.0) for node in nodes),
        trials=Counter(arms),
        sources=Counter(trial.source for trial in drawn),
        epochs_at_most=len(arms) * longest,
        epochs_expected=expected_epochs(arms, starts, epochs, pruner_of(experiment)),
        at_once=min(trials_at_once(resources, nodes, owner), len(arms)),
        cpu=resources.cpu,
        gpu=resources.gpu,
        costs=costs,
        crowding=packed.crowding,
        start_seconds=worker_start_seconds(),
        note=packed.note,
        artifacts=experiment.tracking.checkpoints == "best",
        confirmation=(confirm.trainings, len(ARMS) * confirm.seeds) if confirm else (0, 0),
        longest=longest,
        savings=expected_savings(experiment, drawn),
        prefix_bytes_at_most=search.prefixes.max_gb * 1e9,
    )


def _epoch_rows(f: Forecast, *, shares: bool) -> Iterator[Row]:
    yield "trials", str(sum(f.trials.values())), f"{f.trials['modulated']} modulated, {f.trials['baseline']} baseline"
    yield f"  {SOURCE}", "", format_sources(f.sources)
    yield "epochs", str(f.epochs_at_most), f"{f.epochs_expected:.0f}"
    if shares:
        inherited = f.epochs_expected - f.epochs_to_train
        yield "  inherited", "0", f"{inherited:.0f}, trained by other trials ({100 * f.savings.inherited_share:.0f} %)"
    if f.confirmation[0]:
        longest, usual = (trainings * f.longest for trainings in f.confirmation)
        yield "confirmation", f"{longest} epochs", f"{usual} epochs"


def _time_rows(f: Forecast) -> Iterator[Row]:
    slowest, mean = f.epoch_seconds
    gpu = f", {f.gpu:g} GPU" if f.gpu else ""
    yield "one epoch", f"{slowest:.2g} s ({f.slowest})", f"{mean:.2g} s"
    yield "at once", str(f.at_once), f"{f.cpu:g} of {f.cpus:g} CPUs{gpu} each"
    longest, usual = f.wall_seconds
    yield "wall time", duration(longest), duration(usual)
    if f.gpu:
        most, expected = f.training_seconds
        yield "GPU-hours", f"{most * f.gpu / 3600:.2g}", f"{expected * f.gpu / 3600:.2g}"


def _memory_rows(f: Forecast, *, shares: bool) -> Iterator[Row]:
    peak = size(f.costs[f.largest].peak_bytes)
    if f.gpu:
        share = torch.cuda.get_device_properties(0).total_memory * min(1.0, f.gpu)
        yield "memory per trial", f"{peak} ({f.largest})", f"its share is {size(share)}"
    else:
        yield "memory per trial", peak, ""
    yield "checkpoints", size(f.checkpoint_bytes[0]), size(f.checkpoint_bytes[1])
    if shares:
        yield "prefixes", size(f.prefix_bytes), "stored for other trials"
    yield "MLflow", size(f.mlflow_bytes[0]), size(f.mlflow_bytes[1])


def _rows(experiment: Experiment, f: Forecast) -> Iterator[Row]:
    shares = experiment.search.share_prefixes
    yield from _epoch_rows(f, shares=shares)
    yield from _time_rows(f)
    yield from _memory_rows(f, shares=shares)
    limits = experiment.search.budget.model_dump(exclude_none=True)
    if limits:
        yield "budget", ", ".join(f"{value:g} {name}" for name, value in limits.items()).replace("_", "-"), ""


def _caution(experiment: Experiment, f: Forecast) -> str:
    """Return the sentences below the table: what the estimates are based on, and what they assume."""
    search, savings = experiment.search, f.savings
    prevented_by, limited_by = _format_paths(savings.prevented_by), _format_paths(savings.limited_by)
    early, partly = search.scheduler.name != "none", savings.inherited_share and limited_by
    sentences = (
        (True, _format_basis(f)),
        (
            f.crowding > 1,
            f"Trials at once slow each other down: an epoch takes {f.crowding:.2g} times as long (measured).",
        ),
        (
            f.crowding == 1 and f.at_once > 1,
            "They assume that cores and disks keep up with all trials at once.",
        ),
        (early, "Early stopping is simulated with random results, and a trial that is ahead stays ahead."),
        (
            prevented_by and not savings.inherited_share,
            f"No two trials share epochs; to change this, use choices or a `step` in {prevented_by}.",
        ),
        (
            prevented_by and savings.inherited_share,
            "Only trials with settings from the recipe or the other arm share epochs; for more sharing, use choices or "
            f"a `step` in {prevented_by}.",
        ),
        (partly, f"Trials share epochs only until their windows open, because there is no `step` in {limited_by}."),
        (
            f.confirmation[0],
            "The confirmation takes two trainings per seed, or three if an ablation is needed; the budget sets "
            "aside three.",
        ),
        (f.artifacts, "The best weights of each trial are stored twice: in its folder and as an MLflow artifact."),
        (
            search.address != "local",
            "The estimates assume that the cluster's nodes are as fast as this machine.",
        ),
    )
    return " ".join(sentence for applies, sentence in sentences if applies)


def _format_basis(f: Forecast) -> str:
    steps = sum(cost.train_steps for cost in f.costs.values())
    validation_steps = sum(cost.validation_steps for cost in f.costs.values())
    return (
        f"These estimates are based on {count(steps, 'step')} of training and {count(validation_steps, 'step')} of "
        f"validation with {count(len(f.costs), 'configuration')} ({'; '.join(f.costs)}), measured one at a time "
        "after a warm-up. The wall time includes the start of Ray and its workers, and the report."
    )


def _format_paths(paths: tuple[str, ...]) -> str:
    return ", ".join(f"`space.{path}`" for path in paths)


def dry_run(experiment: Experiment, runs: Path, console: Console) -> None:
    """Estimate the cost of a search and print it.

    Args:
        experiment: experiment to search.
        runs: folder of all runs.
        console: console to print on.

    Raises:
        ExperimentError, DatasetError, ResourceError: as for the search itself.
    """
    data, notes = check_search(experiment)
    earlier = read_earlier(experiment, runs, fingerprint_of(data))
    for note in [*notes, *map(str, earlier)]:
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
