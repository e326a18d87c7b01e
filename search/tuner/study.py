"""An Optuna study for an arm."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import warnings

import optuna
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from search.experiment.arms import Arm
from search.experiment.dimensions import METHOD, Changes, Dimension, Internal
from search.experiment.schema import Experiment
from search.experiment.space import dimensions
from search.run.journal import TrialRecord
from search.tuner.distributions import Distributions, distributions
from search.tuner.samplers import SAMPLERS, StudyHistory, fixed_sampler, random, sequence

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
warnings.filterwarnings("ignore", message="The distribution is specified by")  # a range whose step does not divide it


DIRECTIONS = {"max": StudyDirection.MAXIMIZE, "min": StudyDirection.MINIMIZE}
PATIENCE = 10  # attempts at a new configuration by the sampler itself


def _seed(seed: int, arm: Arm, number: int, attempt: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{arm}/{number}/{attempt}".encode(), digest_size=4).digest())


class ArmStudy:
    """Suggests trials for one arm and learns from their results.

    The sampler is seeded anew for each trial from (seed, arm, number): what it suggests depends on the results so far
    and on nothing else, so that a resumed search goes on as if it had not stopped. A sampler that is a fixed sequence
    gives its first configuration that is new.

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
        startup = max(4, min(10, self._search.trials // 6))
        self._history = StudyHistory(self._study, self._distributions, self._values, startup)
        seed = _seed(self._search.seed, arm, 0, 0)
        self._sequence = sequence(self._search.sampler, self._dimensions, self._distributions, seed)
        self._ids: dict[int, int] = {}  # trial number -> Optuna's
        self._texts: set[str] = set()  # of the configurations so far

    @property
    def capacity(self) -> float:
        """How many configurations the arm's space holds."""
        return math.prod(dimension.count for dimension in self._dimensions)

    @property
    def is_determined(self) -> bool:
        """Whether no result that is still to come can change what is suggested next."""
        name, startup = self._search.sampler, self._history.startup
        return self._sequence is not None or name == "random" or (name in ("tpe", "gp") and len(self._texts) < startup)

    def _sampler(self, number: int, attempt: int) -> BaseSampler:
        seed = _seed(self._search.seed, self._arm, number, attempt)
        if self._sequence is not None:
            return fixed_sampler(
                next(internal for internal in self._sequence if self._text(internal) not in self._texts)
            )
        if attempt >= PATIENCE:
            return random(self._history, seed)
        return SAMPLERS[self._search.sampler](self._history, seed)

    def suggest(self, number: int) -> tuple[Internal, Changes]:
        """What trial `number` is to be: as sampled, and as changes of the experiment's trial by dotted path.

        A configuration that was suggested before would give the same result to the bit, so another is drawn; after some
        attempts at random.

        Raises:
            RuntimeError: there is no other.
        """
        if len(self._texts) >= self.capacity:
            raise RuntimeError(
                f"the {self._arm} arm's space is used up: all {self.capacity:g} configurations were tried"
            )
        for attempt in itertools.count():
            self._study.sampler = self._sampler(number, attempt)
            trial = self._study.ask(self._distributions)
            if self._text(trial.params) not in self._texts:
                break
            self._study.tell(trial, state=TrialState.FAIL)
        self._ids[number] = trial.number
        self._texts.add(self._text(trial.params))
        return dict(trial.params), self._decode(trial.params)

    def _text(self, internal: Internal) -> str:
        """The same for parameters that make the same configuration."""
        return json.dumps(self._decode(internal), sort_keys=True)

    def _decode(self, internal: Internal) -> Changes:
        changes: Changes = {METHOD: "none"} if self._arm == "baseline" else {}
        for dimension in self._dimensions:
            changes |= dimension.decode(internal)
        return changes

    def add(self, record: TrialRecord) -> None:
        """A trial from before a resume: its result, or that it is still to come."""
        self._ids[record.number] = len(self._study.get_trials(deepcopy=False))
        self._texts.add(self._text(record.internal))
        self._study.add_trial(
            create_trial(state=TrialState.RUNNING, params=record.internal, distributions=self._distributions)
        )
        if record.is_over:
            self.tell(record)

    def tell(self, record: TrialRecord) -> None:
        """Record how a trial ended: its values, or its epochs' best values so far where it was stopped early."""
        number = self._ids[record.number]
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
