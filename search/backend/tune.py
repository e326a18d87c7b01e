"""Ray Tune as the engine of a `Tuner`: processes, resources and retries are Ray's, decisions the tuner's."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Protocol

import search.backend.environment  # isort: skip # noqa: F401, it sets what `ray.tune` reads when it is imported

from ray import tune
from ray.exceptions import OutOfMemoryError
from ray.tune import PlacementGroupFactory
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search.backend.interrupt import Interrupt
from search.backend.resources import Resources
from search.backend.worker import Setup, run_trial
from search.experiment.space import with_changes
from search.run.causes import Cause, Reason, failure
from search.tuner.tuner import Tuner

log = logging.getLogger(__name__)

WORKER_RETRIES = 3  # of a worker that died; a training that fails is not tried again


class Trainable(Protocol):
    """Trains one trial in a worker and reports `{"metrics": [{name: value}], "left": [(key, bytes)], "notes": [text]}`
    after each epoch: of those that it inherited all at once, what it has left for others, and what it warns of.

    Lists, as Tune keeps statistics of every number that it finds in a dict: 50 kB a trial, never read.
    """

    def __call__(self, config: dict[str, Any], setup: Setup) -> None: ...


class _Suggestions(Searcher):
    """Hands the tuner's trials to Tune, each with the resources that it is due."""

    def __init__(self, tuner: Tuner, levels: Sequence[Resources]) -> None:
        super().__init__()
        self._tuner, self._levels = tuner, levels

    def suggest(self, trial_id: str) -> Any:
        trial = self._tuner.next()
        if trial is None:  # one that runs may still come back, for more memory
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
        """Nothing: the tuner hears of it from `_Decisions` and `_Workers`, which know why."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: what there is to know is in the journal."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, see `save`."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _retry(tuner: Tuner, levels: Sequence[Resources], number: int, text: str) -> None:
    """Has the trial run again with more resources, as long as there are more."""
    tried = tuner.record.trials[number].oom_retries
    if tried + 1 < len(levels):
        tuner.record_out_of_memory(number)
    else:
        facts = {"resources": str(levels[-1]), "text": text}
        tuner.record_end(number, "failed", Reason(Cause.OUT_OF_MEMORY, facts))


class _Decisions(FIFOScheduler):
    """Tells the tuner what came, and Tune what the tuner decided."""

    def __init__(self, tuner: Tuner, levels: Sequence[Resources]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._tuner = tuner
        self._endings: dict[str, Callable[[int, str], object]] = {  # what a worker reports of a trial's end
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
            return TrialScheduler.STOP  # and it goes on when the search is resumed
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
    """Tells the tuner when a worker begins with a trial, and when the last of them that may try has died."""

    def __init__(self, tuner: Tuner, levels: Sequence[Resources], interrupt: Interrupt) -> None:
        self._tuner, self._levels, self._interrupt = tuner, levels, interrupt

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._interrupt.listen()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._tuner.record_start(trial.config["number"])

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        error = trial.get_error()
        text = str(error or "no reason is known").strip().splitlines()[0]
        if isinstance(error, OutOfMemoryError):  # Ray ended it, to save the node
            _retry(self._tuner, self._levels, trial.config["number"], text)
            return
        reason = Reason(Cause.WORKER_DIED, {"times": WORKER_RETRIES + 1, "text": text})
        self._tuner.record_end(trial.config["number"], "failed", reason)

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _request(config: dict[str, Any]) -> PlacementGroupFactory:
    return PlacementGroupFactory([{"CPU": config["cpu"], "GPU": config["gpu"]}])


def run(
    tuner: Tuner, setup: Setup, levels: Sequence[Resources], at_once: int, trainable: Trainable = run_trial
) -> None:
    """Runs the tuner's trials until there is none left, or a signal asks to stop. Ray must be running.

    Args:
        tuner: says what is next and takes the results.
        setup: what every trial gets.
        levels: what each is given at first, and each time it has run out of memory (`resource_levels`).
        at_once: trials at the same time, each in the first of them.
        trainable: called in a worker with a trial's config and the setup.
    """
    if not tuner.remaining_trials:
        return
    interrupt = Interrupt()
    engine = tune.Tuner(
        tune.with_resources(functools.partial(trainable, setup=setup), _request),
        tune_config=tune.TuneConfig(
            search_alg=_Suggestions(tuner, levels),
            scheduler=_Decisions(tuner, levels),
            num_samples=-1,
            max_concurrent_trials=at_once,  # else actors start singly
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
