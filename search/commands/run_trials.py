"""Training of a tuner's trials: connects Ray, the resources of trials, MLflow's callback and the screen."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from datasets.index.json_text import parse_json
from datasets.index.regular_file import read_regular
from datasets.store.remote import is_uri
from search.backend.autopack import PackingDecision, resources_for
from search.backend.cluster import nodes, own_modules, ray_for, sources
from search.backend.code_version import code_note, code_version
from search.backend.prefix_context import context_of
from search.backend.prefix_store import PrefixStore
from search.backend.resources import Resources, requested_resources, resource_levels, trials_at_once
from search.backend.tune import run
from search.backend.worker import Setup
from search.console.notes import notes_at_the_end, print_note
from search.console.progress import Progress, View
from search.experiment.schema import Experiment
from search.run.checkpoints import Storage
from search.run.folder import FolderError, RunFolder, write
from search.run.journal import has_events
from search.run.open_data import store_of
from search.run.trials import TrialRecord
from search.tracking.tracker import SearchTracker
from search.tuner.prefixes.sharing import Sharing
from search.tuner.tuner import Tuner


class _StateCleaner:
    """Callback that deletes the resumable state of a trial that has ended."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def on_start(self, trial: TrialRecord) -> None:
        """Nothing."""

    def on_report(self, trial: TrialRecord) -> None:
        """Nothing."""

    def on_end(self, trial: TrialRecord) -> None:
        if not trial.is_cut_short:
            self._storage.tidy(trial.number)


def train_all(
    tuner: Tuner,
    folder: RunFolder,
    storage: Storage,
    tracker: SearchTracker,
    console: Console,
    view: Callable[[Tuner], View],
    fingerprint: str,
    probe_every: int | None = None,
) -> None:
    """Run the tuner's remaining trials, show their progress, and report them to MLflow.

    Args:
        tuner: tuner that decides which trial is next.
        folder: run folder for what Ray Tune writes.
        storage: storage of the checkpoints.
        tracker: tracker of the tuner's trials.
        console: console for the progress.
        view: function that returns the view of the progress.
        fingerprint: fingerprint of the data.
        probe_every: see `Setup`.

    Raises:
        ClusterError, ResourceError: if the cluster or the resources are not available.
        TrackingError: if MLflow is not available, and nothing is trained yet.
        FolderError: if the folder was deleted while trials ran.
    """
    experiment = tuner.experiment
    dataset, here = everywhere(experiment.dataset)
    tune, objective, modules = folder.tune.resolve(), experiment.search.objective, experiment.modules
    setup = Setup(dataset, objective, tune, here, storage, probe_every, modules)
    if tuner.remaining_trials:
        tuner.code = code_version(sources(own_modules(experiment)))
        if note := code_note(tuner.record.code, tuner.code):
            print_note(console, note)
    with (
        notes_at_the_end(console),
        engine(experiment, dataset, here, storage.where) if tuner.remaining_trials else nullcontext(),
    ):
        levels, at_once = _levels(experiment, folder, console) if tuner.remaining_trials else ([], 0)
        if lack := tracker.wait_until_connected():
            print_note(console, lack)
        tuner.callbacks += [tracker, _StateCleaner(storage)]
        if levels and experiment.search.share_prefixes:
            tuner.share(_sharing(tuner, storage, levels[0], fingerprint))
        for trial in tuner.record:
            tracker.on_report(trial)
        with Progress(tuner, view(tuner), console, at_once) as progress:
            tuner.callbacks.append(progress)
            run(tuner, setup, levels, at_once, announce_stop=progress.announce_stop)
            tuner.close()
        check_journal(tuner, folder)
        if tuner.complete:
            PrefixStore(storage).clear()


def check_journal(tuner: Tuner, folder: RunFolder) -> None:
    """Raise if the journal of a halted search is lost.

    Raises:
        FolderError: if it is.
    """
    if tuner.halted and tuner.record.trials and not has_events(folder.journal):
        raise FolderError(
            f"{folder.path} was deleted while its trials ran, with the journal, so they cannot be resumed: delete what "
            "is left of the folder and repeat the command without --resume"
        )


def _sharing(tuner: Tuner, storage: Storage, resources: Resources, fingerprint: str) -> Sharing:
    """Return the sharing of prefixes, including those that an earlier session of the search has stored."""
    experiment, store = tuner.experiment, PrefixStore(storage)
    context = context_of(experiment, fingerprint, resources, sources(own_modules(experiment)))
    max_bytes = experiment.search.prefixes.max_gb * 1e9
    return Sharing(tuner.policy, experiment.trial, context, store.drop, max_bytes, store.sizes())


def everywhere(dataset: Mapping[str, Any]) -> tuple[dict[str, Any], Path | None]:
    """Return a data set's options as they are valid on every worker, and the base folder of its relative paths, which
    is None if its store is at a URI."""
    stored = store_of(dataset)
    return {**dataset, **stored}, None if any(map(is_uri, stored.values())) else Path.cwd()


def engine(
    experiment: Experiment, dataset: Mapping[str, Any], here: Path | None, where: str
) -> AbstractContextManager[None]:
    """Return a context with Ray, on nodes that can access all required folders.

    Args:
        experiment: experiment whose `search.address` says which Ray to use.
        dataset, here: see `everywhere`.
        where: folder or URI of the checkpoints.
    """
    read = {} if here is None else {"the working folder": str(here)}
    stored = {f"dataset.{option}": place for option, place in store_of(dataset).items()}
    kept = "the folder of the run" if experiment.search.storage is None else "search.storage"
    return ray_for(experiment, {**read, **stored}, {kept: where})


def _levels(experiment: Experiment, folder: RunFolder, console: Console) -> tuple[list[Resources], int]:
    """Return the resources of trials, initially and after each lack of memory, and how many run at the same time."""
    there = nodes()
    decision = trial_resources(experiment, folder, there)
    if decision.note is not None:
        print_note(console, decision.note)
    levels = resource_levels(decision.resources, max(node.get("CPU", 0) for node in there))
    return levels, trials_at_once(decision.resources, there, "Ray")


def trial_resources(experiment: Experiment, folder: RunFolder, there: Sequence[Mapping[str, float]]) -> PackingDecision:
    """Return the initial resources of a trial.

    A measured decision is stored in the run's folder and reused while the request and the nodes stay the same: on a
    CPU, a resumed trial has bit-for-bit equal results only with the same number of threads.

    Args:
        experiment: experiment with the request, `search.resources`.
        folder: folder of the run.
        there: resources of each node.

    Raises:
        ExperimentError, ResourceError: as in `resources_for`.
    """
    request = experiment.search.resources
    if requested_resources(request, there) is not None:
        return resources_for(experiment, there)
    asked = [[request.cpu, request.gpu], *([node.get("CPU", 0), node.get("GPU", 0)] for node in there)]
    if (before := _earlier_packing(folder, asked)) is not None:
        return before
    decision = resources_for(experiment, there)
    kept = {"asked": asked, "resources": asdict(decision.resources), "note": decision.note}
    write(folder.packing, json.dumps(kept) + "\n")
    return decision


def _earlier_packing(folder: RunFolder, asked: object) -> PackingDecision | None:
    """Return the packing that was measured for the same request and nodes; None if there is none, or it is corrupt."""
    with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
        kept = parse_json(read_regular(folder.packing))
        if kept["asked"] == asked:
            given = kept.get("resources") or kept["room"]  # name in older versions
            return PackingDecision(Resources(**given), str(kept["note"]))
    return None
