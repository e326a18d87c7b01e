"""Training of a trial in a Ray worker."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune

from datasets.store.remote import RemoteError
from ogmge import checkpoint, fit
from search.backend.device import device_for, is_out_of_memory
from search.backend.notices import collect_notices
from search.backend.prefix_store import PrefixStore
from search.backend.prefix_worker import Prefixes
from search.backend.probe_worker import Probes
from search.experiment.own_code import search_first
from search.experiment.own_errors import describe
from search.experiment.space import trial_from
from search.run.checkpoints import Storage
from search.run.disk import FULL
from search.run.open_data import open_data


@dataclass(frozen=True)
class Setup:
    """Settings that all trials of a search share.

    Args:
        dataset: resolved dataset section of the experiment.
        objective: see `ogmge.fit.Objective`.
        folder: absolute path, on the driver's machine, of the folder that Tune writes to.
        here: folder that the dataset's relative paths start from; None if a trial needs no relative path.
        storage: storage of the trials' checkpoints.
        probe_every: number of epochs between linear probes, whose accuracies are added to the metrics (`probe/NAME`);
            the last epoch is always probed. None turns probes off.
        modules: see `Experiment`; nodes that lack these folders use the modules that are sent.
    """

    dataset: dict[str, Any]
    objective: fit.Objective
    folder: Path
    here: Path | None
    storage: Storage
    probe_every: int | None = None
    modules: tuple[str, ...] = ()


@functools.lru_cache(maxsize=1)
def _open(options: str) -> fit.Data:
    return open_data(json.loads(options))


def run_trial(config: dict[str, Any], setup: Setup) -> None:
    """Train trial `config["number"]` as `config["trial"]` describes, from its last checkpoint if there is one.

    The trial has `config["cpu"]` cores and the share `config["gpu"]` of a GPU. `config["dataset"]` overrides options of
    the data set, and `config["sharing"]` says which epochs to take from other trials and which to store for them.

    Every error is reported, and the worker lives on; only trials of dead workers are repeated. A checkpoint that cannot
    be written, a full disk, or a store or storage that cannot be reached, halts the search, which can be resumed. A
    trial that runs out of memory is repeated with more. Warnings are sent with the reports.

    Args:
        config: trial and its resources, as `search.backend.tune` makes it.
        setup: settings that all trials share.
    """
    with collect_notices() as notices:
        _run(config, setup, lambda result: tune.report({**result, "notes": notices.take()}))


def _run(config: dict[str, Any], setup: Setup, tell: Callable[[dict[str, Any]], None]) -> None:
    try:
        _train(config, setup, tell)
    except Exception as error:
        tell(_ending(error))


def _train(config: dict[str, Any], setup: Setup, tell: Callable[[dict[str, Any]], None]) -> None:
    search_first(setup.modules)
    if setup.here is not None:
        os.chdir(setup.here)  # workers on other nodes start in a different folder
    trial, prefixes = trial_from(config["trial"]), Prefixes(PrefixStore(setup.storage), config["sharing"])
    with setup.storage.training(config["number"]) as (folder, keep):
        inherited = prefixes.take(trial, folder)
        untold: list[dict[str, float]] = []

        def report(metrics: dict[str, float]) -> None:
            untold.append(metrics)
            if metrics["epoch"] + 1 < inherited:  # inherited epochs go in one report
                return
            keep()
            left = prefixes.leave(int(metrics["epoch"]) + 1, folder)
            tell({"metrics": list(untold), "left": left})
            untold.clear()

        data = _open(json.dumps({**setup.dataset, **config["dataset"]}, sort_keys=True))
        device = device_for(config["cpu"], config["gpu"])
        where: dict[str, Any] = {"folder": folder, "objective": setup.objective, "device": device}
        if setup.probe_every is None:
            fit.train(trial, data, report, **where)
        else:
            fit.train_and_measure(trial, data, report, Probes(data, device, setup.probe_every), **where)


def _ending(error: Exception) -> dict[str, Any]:
    """Return the report of a trial that raised an error: a halt of the search, a lack of memory, or a failure."""
    if isinstance(error, RemoteError):
        return {"halt": str(error)}
    if isinstance(error, checkpoint.WriteError) or (isinstance(error, OSError) and error.errno in FULL):
        return {"halt": f"{error.strerror}: {error.filename}"}
    if is_out_of_memory(error):
        return {"out_of_memory": f"{type(error).__name__}: {error}"}
    return {"failure": describe(error)}
