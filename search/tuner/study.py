"""Optuna study of one arm."""

from __future__ import annotations

import hashlib
import itertools
import math
import warnings
from collections import Counter
from collections.abc import Iterator

import optuna
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from search.experiment.arms import Arm
from search.experiment.dimensions import MODULATION, Changes, Dimension, Internal, Window, as_key
from search.experiment.placement import decode
from search.experiment.schema import Experiment
from search.experiment.space import dimensions
from search.run.trials import TrialRecord
from search.tuner.distributions import Distributions, distributions
from search.tuner.samplers import (
    SAMPLERS,
    ExactSampler,
    StudyHistory,
    fixed_sampler,
    partly_fixed_sampler,
    random,
    sequence,
)
from search.tuner.tpe import Leaders

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
warnings.filterwarnings("ignore", message="The distribution is specified by")  # if the step does not divide a range


DIRECTIONS = {"max": StudyDirection.MAXIMIZE, "min": StudyDirection.MINIMIZE}
PATIENCE = 10  # attempts of the sampler at a new configuration, before it is drawn at random


def _seed(seed: int, arm: Arm, number: int, attempt: int, earlier: int = 0) -> int:
    """Return a seed for each attempt at a trial.

    Trials of earlier searches change the seed; otherwise the sampler would draw the same configurations again.
    """
    text = f"{seed}/{arm}/{number}/{attempt}" + (f"/{earlier}" if earlier else "")
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest())


def _is_modulation(dimension: Dimension) -> bool:
    return isinstance(dimension, Window) or dimension.path.startswith(MODULATION)


def shared_part(internal: Internal) -> Internal:
    """Return the part of a sampled configuration that both arms have: everything except the modulation."""
    return {name: value for name, value in internal.items() if not name.startswith(MODULATION)}


class ArmStudy:
    """Study that suggests trials for one arm and learns from their results.

    For each trial the sampler gets a new seed, made from (seed, arm, number). What it suggests depends only on the
    results so far, including those of earlier searches, so a resumed search continues as if it had never stopped. A
    sampler that is a fixed sequence suggests its first new configuration.

    Args:
        experiment: experiment with its space, sampler and seed.
        arm: arm that the study belongs to.
    """

    def __init__(self, experiment: Experiment, arm: Arm) -> None:
        self._arm = arm
        self._search = experiment.search
        self._dimensions: list[Dimension] = dimensions(experiment.space, experiment.trial, modulated=arm == "modulated")
        self._distributions: Distributions = {}
        for dimension in self._dimensions:
            self._distributions |= distributions(dimension)
        directions = [DIRECTIONS[objective.mode] for objective in self._search.objectives]
        self._study = optuna.create_study(directions=directions)
        self._values: dict[int, list[float]] = {}  # Optuna's number -> the objectives
        self.startup = max(4, min(10, self._search.trials // 6))
        self._leaders = Leaders(directions[0])
        self._history = StudyHistory(self._study, self._distributions, self._values, self.startup, self._leaders)
        self._sequence = self._new_sequence()
        self._ids: dict[int, int] = {}  # trial number -> Optuna's
        self._texts: set[str] = set()  # one per configuration so far
        self._earlier = 0  # number of trials of earlier searches
        self._modulations = math.prod(d.count for d in self._dimensions if _is_modulation(d))
        self._tried: Counter[str] = Counter()  # shared settings, as text -> number of trials with them

    def _new_sequence(self) -> Iterator[Internal] | None:
        seed = _seed(self._search.seed, self._arm, 0, 0)
        return sequence(self._search.sampler, self._dimensions, self._distributions, seed)

    @property
    def capacity(self) -> float:
        """Number of configurations in the arm's space."""
        return math.prod(dimension.count for dimension in self._dimensions)

    @property
    def is_determined(self) -> bool:
        """Whether no future result can change the next suggestion."""
        name = self._search.sampler
        begun = len(self._texts) + self._earlier
        draws_at_random = name == "random" or (name in ("tpe", "gp") and begun < self.startup)
        return self._sequence is not None or draws_at_random

    def has_untried(self, shared: Internal) -> bool:
        """Return whether the arm has an untried configuration with these shared settings."""
        return self.trials_with(shared) < self._modulations

    def trials_with(self, shared: Internal) -> int:
        """Return how many trials of the arm had these shared settings."""
        return self._tried[self._shared_text(shared)]

    def _sampler(self, number: int, attempt: int, fixed: Internal) -> BaseSampler:
        seed = _seed(self._search.seed, self._arm, number, attempt, self._earlier)
        # fixed settings need a new sequence: what it skips must remain available to later trials
        if items := self._new_sequence() if fixed else self._sequence:
            return fixed_sampler(next(item for item in (each | fixed for each in items) if self._is_new(item)))
        sampler = random if attempt >= PATIENCE else SAMPLERS[self._search.sampler]
        return partly_fixed_sampler(fixed, sampler(self._history, seed))

    def suggest(self, number: int, fixed: Internal | None = None) -> tuple[Internal, Changes]:
        """Return the settings of trial `number`: as sampled, and as changes to the experiment's trial by dotted path.

        A configuration that was suggested before would give exactly the same result, so another one is drawn, at random
        after some attempts.

        Args:
            number: number of the trial.
            fixed: settings that the trial must have, for which `has_untried` is true; the rest is drawn.

        Raises:
            RuntimeError: if every configuration of the space was tried.
        """
        if len(self._texts) >= self.capacity:
            raise RuntimeError(
                f"the {self._arm} arm's space is exhausted: all {self.capacity:g} configurations have been tried"
            )
        for attempt in itertools.count():
            self._study.sampler = ExactSampler(self._sampler(number, attempt, fixed or {}), self._dimensions)
            trial = self._study.ask(self._distributions)
            if self._is_new(trial.params):
                break
            self._study.tell(trial, state=TrialState.FAIL)
        self._ids[number] = trial.number
        self._note(trial.params)
        return dict(trial.params), self._decode(trial.params)

    def take(self, number: int, internal: Internal) -> None:
        """Give trial `number` this configuration, whatever the sampler would suggest.

        The sampler learns nothing from a configuration outside the space.
        """
        if internal.keys() != self._distributions.keys():
            return
        self._ids[number] = self._begin(internal)
        self._note(internal)

    def _begin(self, internal: Internal) -> int:
        """Add a trial without a result to the study; return its number there."""
        self._study.add_trial(
            create_trial(state=TrialState.RUNNING, params=internal, distributions=self._distributions)
        )
        return len(self._study.get_trials(deepcopy=False)) - 1

    def _note(self, internal: Internal) -> None:
        self._texts.add(self._text(internal))
        self._tried[self._shared_text(internal)] += 1

    def _shared_text(self, internal: Internal) -> str:
        """Return a text that is equal for all parameters with the same shared settings."""
        shared = [dimension for dimension in self._dimensions if not _is_modulation(dimension)]
        return as_key(decode(shared, internal, self._arm))

    def _is_new(self, internal: Internal) -> bool:
        return self._text(internal) not in self._texts

    def _text(self, internal: Internal) -> str:
        """Return a text that is equal for all parameters with the same configuration."""
        return as_key(self._decode(internal))

    def _decode(self, internal: Internal) -> Changes:
        return decode(self._dimensions, internal, self._arm)

    def add(self, record: TrialRecord) -> None:
        """Take in a trial from before a resume, with its result if it has ended."""
        self.take(record.number, record.internal)
        if record.is_over:
            self.tell(record)

    def tell(self, record: TrialRecord) -> None:
        """Record how a trial ended: its values or, if it was stopped early, its best value after each epoch."""
        if record.number in self._ids:  # else it lies outside the space
            self._end(self._ids[record.number], record)

    def learn(self, record: TrialRecord) -> None:
        """Take in a trial of an earlier search. The sampler learns its result, and may suggest the same configuration
        again."""
        self._earlier += 1
        self._end(self._begin(record.internal), record)

    def _end(self, number: int, record: TrialRecord) -> None:
        best = None if record.status == "failed" else record.best_epoch(self._search.objective.metric)
        if best is None:
            self._study.tell(number, state=TrialState.FAIL)
            return
        self._values[number] = [best[objective.metric] for objective in self._search.objectives]
        if record.status == "finished":
            self._study.tell(number, self._values[number])
            self._leaders.add(number, self._values[number][0])
        else:
            self._report_epochs(number, record)
            last = record.epochs[-1]
            self._leaders.add(number, last["best"], last["epoch"])
            self._study.tell(number, state=TrialState.PRUNED)

    def _report_epochs(self, number: int, record: TrialRecord) -> None:
        """Report the best value after each epoch, which Optuna accepts only for a single objective."""
        if len(self._values[number]) > 1:
            return
        trials = self._study.get_trials(deepcopy=False)  # `study.trials` would copy each of them
        trial = optuna.trial.Trial(self._study, trials[number]._trial_id)
        for metrics in record.epochs:
            trial.report(metrics["best"], int(metrics["epoch"]))
