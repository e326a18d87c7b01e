"""Ray Tune as the engine of a `Tuner`: Ray manages processes, resources and retries; the tuner decides."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Protocol

import search.backend.environment  # isort: skip # noqa: F401, it must set the environment before `ray.tune` is imported

from ray import tune
from ray.exceptions import OutOfMemoryError
from ray.tune import PlacementGroupFactory
from ray.tune.execution import class_cache
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search.backend.interrupt import Interrupt, write_stopping
from search.backend.resources import Resources
from search.backend.worker import Setup, run_trial
from search.experiment.space import with_changes
from search.run.causes import Cause, Reason, failure
from search.tuner.tuner import Tuner

log = logging.getLogger(__name__)

WORKER_RETRIES = 3  # after a worker died; a training that fails is not repeated


def _keep_keys_out_of_logs() -> None:
    """Keep Tune from copying AWS keys into the description of its workers, which Ray writes to its logs.

    Workers on this machine inherit the environment. Those of a cluster have the environment of `ray start`.
    """
    class_cache.ENV_VARS_TO_PROPAGATE -= {name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")}


class Trainable(Protocol):
    """Function that trains one trial in a worker.

    After each epoch it reports `{"metrics": [{name: value}], "left": [(key, bytes)], "notes": [text]}`: the metrics of
    the epoch (inherited epochs come in one report), the prefixes stored for other trials, and warnings. These are lists
    because Tune keeps statistics of every number in a dict: 50 kB per trial that are never read.
    """

    def __call__(self, config: dict[str, Any], setup: Setup) -> None: ...


class _Suggestions(Searcher):
    """Searcher that gives the tuner's trials to Tune, each with its resources."""

    def __init__(self, tuner: Tuner, levels: Sequence[Resources]) -> None:
        super().__init__()
        self._tuner, self._levels = tuner, levels

    def suggest(self, trial_id: str) -> Any:
        trial = self._tuner.next()
        if trial is None:  # a running trial may still be repeated with more memory
            return str(Searcher.FINISHED) if self._tuner.over else None
        config = with_changes(self._tuner.experiment.trial, trial.changes)
        resources = self._levels[min(trial.oom_retries, len(self._levels) - 1)]
        dataset = dict(self._tuner.policy.dataset(trial))
        sharing = asdict(self._tuner.order(trial.number))
        return {
            "number": trial.number,
            "trial": asdict(config),
            "dataset": dataset,
            "sharing": sharing,
            **asdict(resources),
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: `_Decisions` and `_Workers`, which know the reason, tell the tuner."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the journal has everything."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing, see `save`."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _retry(tuner: Tuner, levels: Sequence[Resources], number: int, text: str) -> None:
    """Repeat a trial with more resources, or record its failure if there are no more."""
    tried = tuner.record.trials[number].oom_retries
    if tried + 1 < len(levels):
        tuner.record_out_of_memory(number)
    else:
        facts = {"resources": str(levels[-1]), "text": text}
        tuner.record_end(number, "failed", Reason(Cause.OUT_OF_MEMORY, facts))


class _Decisions(FIFOScheduler):
    """Scheduler that passes results to the tuner and the tuner's decisions to Tune."""

    def __init__(self, tuner: Tuner, levels: Sequence[Resources]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._tuner = tuner
        self._endings: dict[str, Callable[[int, str], object]] = {  # by the key in a worker's last report
            "halt": self._halt,
            "out_of_memory": functools.partial(_retry, tuner, levels),
            "failure": self._fail,
        }

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        number = trial.config["number"]
        for text in result.get("notes", ()):
            log.warning("trial %d: %s", number, text)
        ending = next((key for key in self._endings if key in result), None)
        if ending is None:
            return str(self._take_epochs(number, trial.config["gpu"], result))
        self._endings[ending](number, str(result[ending]))
        return str(TrialScheduler.STOP)

    def _halt(self, number: int, reason: str) -> None:
        self._tuner.halt(reason)

    def _fail(self, number: int, reason: str) -> None:
        self._tuner.record_end(number, "failed", failure(reason))

    def _take_epochs(self, number: int, gpu: float, result: dict[str, Any]) -> Any:
        for key, size in result.get("left", ()):
            self._tuner.record_prefix(number, key, size)
        reasons = (self._tuner.record_epoch(number, metrics, gpu) for metrics in result["metrics"])
        reason = next(filter(None, reasons), None)
        if self._tuner.halted:
            return TrialScheduler.STOP  # it continues when the search is resumed
        if reason is None:
            return TrialScheduler.CONTINUE
        self._tuner.record_end(number, "stopped", reason)
        return TrialScheduler.STOP

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        number = trial.config["number"]
        if len(self._tuner.record.trials[number].epochs) == trial.config["trial"]["epochs"]:
            self._tuner.record_end(number, "finished")

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Workers(tune.Callback):
    """Callback that tells the tuner when a worker starts a trial, and when the last attempt has died."""

    def __init__(self, tuner: Tuner, levels: Sequence[Resources], interrupt: Interrupt) -> None:
        self._tuner, self._levels, self._interrupt = tuner, levels, interrupt
        self._ended: list[Trial] = []

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._interrupt.listen()
        while self._ended:
            _forget(self._ended.pop())

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._ended.append(trial)

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._tuner.record_start(trial.config["number"])

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        if self._interrupt.asked:  # the signal may have ended the worker too; the trial continues on resume
            return
        self._ended.append(trial)
        error = trial.get_error()
        text = str(error or "no known reason").strip().splitlines()[0]
        if isinstance(error, OutOfMemoryError):  # Ray killed it to protect the node
            _retry(self._tuner, self._levels, trial.config["number"], text)
            return
        reason = Reason(Cause.WORKER_DIED, {"times": WORKER_RETRIES + 1, "text": text})
        self._tuner.record_end(trial.config["number"], "failed", reason)

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _forget(trial: Trial) -> None:
    """Free what Tune would keep of a trial that has ended, 25 kB that are never read."""
    kept = trial.run_metadata
    kept.last_result = {"done": True}  # not empty: Tune would ask the trial's worker for it
    kept.metric_analysis.clear()
    kept.metric_n_steps.clear()
    trial.config.clear()
    trial.evaluated_params.clear()
    trial._default_result_or_future = None  # a reference to an object that Ray would keep


@functools.cache  # trials share it: Tune keeps it for each of them
def _bundle(cpu: float, gpu: float) -> PlacementGroupFactory:
    return PlacementGroupFactory([{"CPU": cpu, "GPU": gpu}])


def _request(config: dict[str, Any]) -> PlacementGroupFactory:
    return _bundle(config["cpu"], config["gpu"])


def run(
    tuner: Tuner,
    setup: Setup,
    levels: Sequence[Resources],
    at_once: int,
    trainable: Trainable = run_trial,
    announce_stop: Callable[[], None] = write_stopping,
) -> None:
    """Run the tuner's trials until none is left, or until a signal asks to stop. Ray must be running.

    Args:
        tuner: tuner that suggests trials and takes their results.
        setup: settings that all trials share.
        levels: resources of a trial at first, and after each time it runs out of memory (see `resource_levels`).
        at_once: number of trials that run at the same time with the first level of resources.
        trainable: function that trains a trial in a worker.
        announce_stop: see `Interrupt`.
    """
    if not tuner.remaining_trials:
        return
    _keep_keys_out_of_logs()
    interrupt = Interrupt(announce_stop)
    engine = tune.Tuner(
        tune.with_resources(functools.partial(trainable, setup=setup), _request),
        tune_config=tune.TuneConfig(
            search_alg=_Suggestions(tuner, levels),
            scheduler=_Decisions(tuner, levels),
            num_samples=-1,
            max_concurrent_trials=at_once,  # otherwise actors start one by one
            reuse_actors=True,
            trial_dirname_creator=lambda trial: f"{trial.config['number']:04d}",
        ),
        run_config=tune.RunConfig(
            name="ray",
            storage_path=str(setup.folder),
            verbose=0,
            callbacks=[_Workers(tuner, levels, interrupt)],
            failure_config=tune.FailureConfig(max_failures=WORKER_RETRIES),
        ),
    )
    with interrupt.handle_signals():
        engine.fit()
