"""A tuner's trials trained to their end: Ray, what each is given, MLflow's callback, the screen."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from datasets.store.remote import is_uri
from search.backend.autopack import resources_for
from search.backend.cluster import nodes, own_modules, ray_for, sources
from search.backend.prefix_context import context_of
from search.backend.prefix_store import PrefixStore
from search.backend.resources import Room, larger, requested_resources, trials_at_once
from search.backend.tune import run
from search.backend.worker import Setup
from search.console.notes import notes_at_the_end, print_note
from search.console.progress import Progress, View
from search.experiment.schema import Experiment
from search.run.checkpoints import Storage
from search.run.folder import RunFolder, write
from search.run.journal import TrialRecord
from search.run.open_data import store_of
from search.tracking.tracker import SearchTracker
from search.tuner.prefixes.sharing import Sharing
from search.tuner.tuner import Tuner


class _Tidy:
    """Takes away what a trial that has ended needs no more: the state to go on from."""

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
) -> None:
    """Runs what the tuner has left, shows it, and tells MLflow.

    Args:
        tuner: says what is next.
        folder: for what Ray Tune writes.
        storage: of checkpoints.
        tracker: of the tuner.
        console: where progress is shown.
        view: how.
        fingerprint: of the data.

    Raises:
        ClusterError, ResourceError, TrackingError: what is asked for is not there.
    """
    experiment = tuner.experiment
    dataset, here = everywhere(experiment.dataset)
    setup = Setup(dataset, experiment.search.objective, folder.tune.resolve(), here, storage)
    with (
        notes_at_the_end(console),
        engine(experiment, dataset, here, storage.where) if tuner.remaining_trials else nullcontext(),
    ):
        rooms, at_once = _rooms(experiment, folder, console) if tuner.remaining_trials else ([], 0)
        tracker.connected()
        tuner.callbacks += [tracker, _Tidy(storage)]
        if rooms and experiment.search.share_prefixes:
            tuner.share(_sharing(tuner, storage, rooms[0], fingerprint))
        for trial in tuner.record:
            tracker.on_report(trial)
        with Progress(tuner, view(tuner), console, at_once) as progress:
            tuner.callbacks.append(progress)
            run(tuner, setup, rooms, at_once)
            tuner.close()
        if tuner.complete:
            PrefixStore(storage).clear()


def _sharing(tuner: Tuner, storage: Storage, room: Room, fingerprint: str) -> Sharing:
    """Which trials begin alike, where beginnings lie that a session before this one left."""
    experiment, store = tuner.experiment, PrefixStore(storage)
    context = context_of(experiment, fingerprint, room, sources(own_modules(experiment)))
    room_for_them = experiment.search.prefixes.max_gb * 1e9
    return Sharing(tuner.policy, experiment.trial, context, store.drop, room_for_them, store.sizes())


def everywhere(dataset: Mapping[str, Any]) -> tuple[dict[str, Any], Path | None]:
    """A data set's options as they hold wherever a worker is at home, and the folder from which its relative paths go;
    None where its store is at a URI."""
    stored = store_of(dataset)
    return {**dataset, **stored}, None if any(map(is_uri, stored.values())) else Path.cwd()


def engine(
    experiment: Experiment, dataset: Mapping[str, Any], here: Path | None, where: str
) -> AbstractContextManager[None]:
    """Ray, on nodes that see what they need.

    Args:
        experiment: says which Ray.
        dataset, here: see `everywhere`.
        where: checkpoints are kept.
    """
    read = {} if here is None else {"the working folder": str(here)}
    stored = {f"dataset.{option}": place for option, place in store_of(dataset).items()}
    kept = "the folder of the run" if experiment.search.storage is None else "search.storage"
    return ray_for(experiment, {**read, **stored}, {kept: where})


def _rooms(experiment: Experiment, folder: RunFolder, console: Console) -> tuple[list[Room], int]:
    """What trials are given, at first and when memory ran out; how many run at the same time."""
    there = nodes()
    room, note = _room(experiment, folder, there)
    if note is not None:
        print_note(console, note)
    return larger(room, max(node.get("CPU", 0) for node in there)), trials_at_once(room, there, "Ray")


def _room(experiment: Experiment, folder: RunFolder, there: Sequence[Mapping[str, float]]) -> tuple[Room, str | None]:
    """What is measured is kept: on a CPU a trial that goes on with as many threads ends with the same bits."""
    resources = experiment.search.resources
    if requested_resources(resources, there) is not None:
        return resources_for(experiment, there)
    asked = [[resources.cpu, resources.gpu], *([node.get("CPU", 0), node.get("GPU", 0)] for node in there)]
    if folder.packing.exists():
        kept = json.loads(folder.packing.read_text(encoding="utf-8"))
        if kept["asked"] == asked:
            return Room(**kept["room"]), kept["note"]
    room, note = resources_for(experiment, there)
    write(folder.packing, json.dumps({"asked": asked, "room": asdict(room), "note": note}) + "\n")
    return room, note
