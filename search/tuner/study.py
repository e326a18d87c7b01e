"""An Optuna study for an arm."""

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
from search.run.journal import TrialRecord
from search.tuner.distributions import Distributions, distributions
from search.tuner.samplers import (
    SAMPLERS,
    StudyHistory,
    fixed_sampler,
    partly_fixed_sampler,
    random,
    sequence,
)

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
warnings.filterwarnings("ignore", message="The distribution is specified by")  # a range whose step does not divide it


DIRECTIONS = {"max": StudyDirection.MAXIMIZE, "min": StudyDirection.MINIMIZE}
PATIENCE = 10  # attempts at a new configuration by the sampler itself


def _seed(seed: int, arm: Arm, number: int, attempt: int, earlier: int = 0) -> int:
    """A seed for each attempt at a trial; another where trials were learned, which it would draw again otherwise."""
    text = f"{seed}/{arm}/{number}/{attempt}" + (f"/{earlier}" if earlier else "")
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest())


def _is_modulation(dimension: Dimension) -> bool:
    return isinstance(dimension, Window) or dimension.path.startswith(MODULATION)


def shared_part(internal: Internal) -> Internal:
    """What both arms have of a configuration, as it was sampled in either: all but the modulation."""
    return {name: value for name, value in internal.items() if not name.startswith(MODULATION)}


class ArmStudy:
    """Suggests trials for one arm and learns from their results.

    The sampler is seeded anew for each trial from (seed, arm, number): what it suggests depends on the results so far,
    those of earlier searches included, and on nothing else, so that a resumed search goes on as if it had not stopped.
    A sampler that is a fixed sequence gives its first configuration that is new.

    Args:
        experiment: its space, its sampler, its seed.
        arm: which of the two.
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
        self._history = StudyHistory(self._study, self._distributions, self._values, self.startup)
        self._sequence = self._new_sequence()
        self._ids: dict[int, int] = {}  # trial number -> Optuna's
        self._texts: set[str] = set()  # of the configurations so far
        self._earlier = 0  # trials of earlier searches
        self._modulations = math.prod(d.count for d in self._dimensions if _is_modulation(d))
        self._tried: Counter[str] = Counter()  # shared settings, as text -> trials that had them

    def _new_sequence(self) -> Iterator[Internal] | None:
        seed = _seed(self._search.seed, self._arm, 0, 0)
        return sequence(self._search.sampler, self._dimensions, self._distributions, seed)

    @property
    def capacity(self) -> float:
        """How many configurations the arm's space holds."""
        return math.prod(dimension.count for dimension in self._dimensions)

    @property
    def is_determined(self) -> bool:
        """Whether no result that is still to come can change what is suggested next."""
        name = self._search.sampler
        begun = len(self._texts) + self._earlier
        draws_at_random = name == "random" or (name in ("tpe", "gp") and begun < self.startup)
        return self._sequence is not None or draws_at_random

    def has_untried(self, shared: Internal) -> bool:
        """Whether there is a configuration with these shared settings that was not tried in this arm."""
        return self.trials_with(shared) < self._modulations

    def trials_with(self, shared: Internal) -> int:
        """How many trials of this arm had these shared settings."""
        return self._tried[self._shared_text(shared)]

    def _sampler(self, number: int, attempt: int, fixed: Internal) -> BaseSampler:
        seed = _seed(self._search.seed, self._arm, number, attempt, self._earlier)
        # a sequence with a part of it fixed is a new one: what it passes over is there for later trials
        if items := self._new_sequence() if fixed else self._sequence:
            return fixed_sampler(next(item for item in (each | fixed for each in items) if self._is_new(item)))
        sampler = random if attempt >= PATIENCE else SAMPLERS[self._search.sampler]
        return partly_fixed_sampler(fixed, sampler(self._history, seed))

    def suggest(self, number: int, fixed: Internal | None = None) -> tuple[Internal, Changes]:
        """What trial `number` is to be: as sampled, and as changes of the experiment's trial by dotted path.

        A configuration that was suggested before would give the same result to the bit, so another is drawn; after some
        attempts at random.

        Args:
            number: of the trial.
            fixed: settings that it is to have, for which `has_untried` is true; the rest is drawn.

        Raises:
            RuntimeError: there is no other.
        """
        if len(self._texts) >= self.capacity:
            raise RuntimeError(
                f"the {self._arm} arm's space is used up: all {self.capacity:g} configurations were tried"
            )
        for attempt in itertools.count():
            self._study.sampler = self._sampler(number, attempt, fixed or {})
            trial = self._study.ask(self._distributions)
            if self._is_new(trial.params):
                break
            self._study.tell(trial, state=TrialState.FAIL)
        self._ids[number] = trial.number
        self._note(trial.params)
        return dict(trial.params), self._decode(trial.params)

    def take(self, number: int, internal: Internal) -> None:
        """Trial `number` is this configuration, whatever the sampler would suggest. The sampler learns nothing from one
        that lies outside the space."""
        if internal.keys() != self._distributions.keys():
            return
        self._ids[number] = self._begin(internal)
        self._note(internal)

    def _begin(self, internal: Internal) -> int:
        """Add a trial without a result to the study; returns its number there."""
        self._study.add_trial(
            create_trial(state=TrialState.RUNNING, params=internal, distributions=self._distributions)
        )
        return len(self._study.get_trials(deepcopy=False)) - 1

    def _note(self, internal: Internal) -> None:
        self._texts.add(self._text(internal))
        self._tried[self._shared_text(internal)] += 1

    def _shared_text(self, internal: Internal) -> str:
        """The same for parameters that make the same shared settings."""
        shared = [dimension for dimension in self._dimensions if not _is_modulation(dimension)]
        return as_key(decode(shared, internal, self._arm))

    def _is_new(self, internal: Internal) -> bool:
        return self._text(internal) not in self._texts

    def _text(self, internal: Internal) -> str:
        """The same for parameters that make the same configuration."""
        return as_key(self._decode(internal))

    def _decode(self, internal: Internal) -> Changes:
        return decode(self._dimensions, internal, self._arm)

    def add(self, record: TrialRecord) -> None:
        """A trial from before a resume: its result, or that it is still to come."""
        self.take(record.number, record.internal)
        if record.is_over:
            self.tell(record)

    def tell(self, record: TrialRecord) -> None:
        """Record how a trial ended: its values, or its epochs' best values so far where it was stopped early."""
        if record.number in self._ids:  # else it lies outside the space
            self._end(self._ids[record.number], record)

    def learn(self, record: TrialRecord) -> None:
        """Take in a trial of an earlier search: the sampler knows its result, and may suggest the same again."""
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
        else:
            self._report_epochs(number, record)
            self._study.tell(number, state=TrialState.PRUNED)

    def _report_epochs(self, number: int, record: TrialRecord) -> None:
        """Report the best value after each epoch, which Optuna takes for one objective only."""
        if len(self._values[number]) > 1:
            return
        trials = self._study.get_trials(deepcopy=False)  # `study.trials` would copy each of them
        trial = optuna.trial.Trial(self._study, trials[number]._trial_id)
        for metrics in record.epochs:
            trial.report(metrics["best"], int(metrics["epoch"]))
