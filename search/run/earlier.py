"""What earlier searches can teach a new one: those of their trials that could be trials of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from search.experiment.load import load
from search.experiment.mistakes import UserError
from search.experiment.placement import Placement, place, values_of
from search.experiment.schema import Experiment
from search.experiment.space import with_changes
from search.run.best import has_result
from search.run.folder import UNKNOWN, RunFolder, find, fingerprint_in
from search.run.journal import TrialRecord, read

SEED = "seed"  # path of what may differ


class EarlierError(UserError):
    """An entry of `search.learn_from` that cannot be learned from."""


@dataclass(frozen=True)
class EarlierRun:
    """A search to learn from.

    Args:
        name: as the experiment has it.
        trials: that can be learned from, as the new search samples them.
        omitted: why the others cannot, and how many of them.
    """

    name: str
    trials: tuple[TrialRecord, ...]
    omitted: Mapping[str, int]

    def __str__(self) -> str:
        reasons = "; ".join(f"{count} with {reason}" for reason, count in self.omitted.items())
        learned = f"the sampler learns from {len(self.trials)} trials of {self.name}"
        return f"{learned}, and omits {reasons}" if reasons else learned


def read_earlier(experiment: Experiment, runs: Path, fingerprint: str) -> list[EarlierRun]:
    """Read the searches of `search.learn_from`.

    Args:
        experiment: that is to learn.
        runs: the folder of all runs.
        fingerprint: of its data.

    Raises:
        EarlierError: a sentence for each that is missing, is of other data or another metric, or is this search.
    """
    found: list[EarlierRun] = []
    problems: list[str] = []
    for name in experiment.search.learn_from:
        try:
            found.append(_read(name, experiment, runs, fingerprint))
        except UserError as error:
            problems += [f"`search.learn_from`: {sentence}" for sentence in error.sentences]
    if problems:
        raise EarlierError(*problems)
    return found


def _read(name: str, experiment: Experiment, runs: Path, fingerprint: str) -> EarlierRun:
    own = (runs / experiment.name).resolve()
    if own in ((runs / name).resolve(), Path(name).resolve()):
        raise EarlierError(f"{name} is this search itself: name an earlier one")
    folder = RunFolder(find(name, runs))
    if not folder.journal.exists():
        raise EarlierError(f"there is no search in {folder.path}")
    before = load(folder.experiment)
    _check_comparable(name, before, experiment, fingerprint_in(folder), fingerprint)
    trials: list[TrialRecord] = []
    omitted: Counter[str] = Counter()
    for trial in read(folder.journal):
        reason = _obstacle(trial, before, experiment)
        if reason is None:
            trials.append(replace(trial, internal=_place(trial, before, experiment).sampled))
        else:
            omitted[reason] += 1
    return EarlierRun(name, tuple(trials), omitted)


def _check_comparable(name: str, before: Experiment, now: Experiment, then: str, fingerprint: str) -> None:
    """Check that the results of two searches can stand side by side: they are of the same data, and the same metric."""
    problems = []
    if then != fingerprint or (fingerprint == UNKNOWN and before.dataset != now.dataset):
        problems.append(f"{name} is of other data (fingerprint {then}, and {fingerprint} here)")
    metrics = [" and ".join(f"{o.metric} ({o.mode})" for o in each.search.objectives) for each in (before, now)]
    if metrics[0] != metrics[1]:
        problems.append(f"{name} optimised {metrics[0]}, and this search optimises {metrics[1]}")
    if problems:
        raise EarlierError(*problems)


def _obstacle(trial: TrialRecord, before: Experiment, now: Experiment) -> str | None:
    """Why an earlier trial is no configuration of the new space; None where it is one."""
    if not has_result(trial):
        return "no result"
    outside = _place(trial, before, now).differences
    return outside[0] if outside else None


def _place(trial: TrialRecord, before: Experiment, now: Experiment) -> Placement:
    values = values_of(with_changes(before.trial, trial.changes))
    own_seed = {} if SEED in now.space else {SEED: now.trial.seed}
    return place(now, values | own_seed, trial.arm)
