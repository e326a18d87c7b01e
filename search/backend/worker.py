"""What a Ray worker does with a trial."""

from __future__ import annotations

import functools
import json
import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ray import tune

from datasets.store.remote import RemoteError
from ogmge import fit
from search.backend.device import device_for
from search.backend.notices import collect_notices
from search.backend.prefix_store import PrefixStore
from search.backend.prefix_worker import Prefixes
from search.backend.probe_worker import Probes
from search.experiment.space import trial_from
from search.run.checkpoints import Storage
from search.run.folder import FULL
from search.run.open_data import open_data


@dataclass(frozen=True)
class Setup:
    """What all trials of a search share.

    Args:
        dataset: the experiment's, resolved.
        objective: see `ogmge.fit.Objective`.
        folder: absolute, on the driver's machine: of what Tune itself writes.
        here: the folder from which the data set's relative paths go; None where it has none that a trial needs.
        storage: of the trials' checkpoints.
        probe_every: after each so many epochs, and after the last, an epoch's metrics have the accuracy of a linear
            probe of each encoder (`probe/NAME`); None probes nothing.
    """

    dataset: dict[str, Any]
    objective: fit.Objective
    folder: Path
    here: Path | None
    storage: Storage
    probe_every: int | None = None


@functools.lru_cache(maxsize=1)
def _open(options: str) -> fit.Data:
    return open_data(json.loads(options))


def is_out_of_memory(error: Exception) -> bool:
    """Return True if it was memory that a trial lacked: a GPU's, or the machine's."""
    cpu = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return cpu or isinstance(error, torch.OutOfMemoryError | MemoryError)


def run_trial(config: dict[str, Any], setup: Setup) -> None:
    """Trains the trial `config["number"]` as `config["trial"]` says, from its last checkpoint where there is one.

    It has `config["cpu"]` cores and `config["gpu"]` of a GPU, `config["dataset"]` goes over the data set's options, and
    `config["sharing"]` says which epochs it may take from other trials, and which it is to leave for them.
    Every failure of the training is reported with its reason, and is no failure of the worker: only a worker that dies
    is tried again. A full disk, or a store or storage that cannot be reached, is no failure of the trial: it halts the
    search, which can be resumed; nor is a lack of memory: the trial is run again with more. What is warned of on the
    way goes along with the reports.
    """
    with collect_notices() as notices:
        _run(config, setup, lambda result: tune.report({**result, "notes": notices.take()}))


def _run(config: dict[str, Any], setup: Setup, tell: Callable[[dict[str, Any]], None]) -> None:
    try:
        _train(config, setup, tell)
    except Exception as error:
        tell(_ending(error))


def _train(config: dict[str, Any], setup: Setup, tell: Callable[[dict[str, Any]], None]) -> None:
    if setup.here is not None:
        os.chdir(setup.here)  # another node's workers begin elsewhere
    trial, prefixes = trial_from(config["trial"]), Prefixes(PrefixStore(setup.storage), config["sharing"])
    with setup.storage.training(config["number"]) as (folder, keep):
        inherited = prefixes.take(trial, folder)
        untold: list[dict[str, float]] = []

        def report(metrics: dict[str, float]) -> None:
            untold.append(metrics)
            if metrics["epoch"] + 1 < inherited:  # they go in one report
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
    """What is reported of a trial that raised: it halts the search, lacked memory, or has failed."""
    if isinstance(error, RemoteError):
        return {"halt": str(error)}
    if isinstance(error, OSError) and error.errno in FULL:
        return {"halt": f"{error.strerror}: {error.filename}"}
    reason = f"{type(error).__name__}: {error}"
    if is_out_of_memory(error):
        return {"out_of_memory": reason}
    return {"failure": reason, "traceback": "".join(traceback.format_exception(error))}
