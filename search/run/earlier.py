"""What earlier searches can teach a new one: those of their trials that could be trials of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from search.experiment.load import load
from search.experiment.mistakes import UserError
from search.experiment.placement import Placement, place, values_of
from search.experiment.schema import Experiment, Search
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
        trials: that can be learned from, as the new search samples them; of their epochs the best and the last.
        omitted: why the others cannot, and how many of them.
    """

    name: str
    trials: tuple[TrialRecord, ...]
    omitted: Mapping[str, int]

    def __str__(self) -> str:
        """
        >>> str(EarlierRun("a", (), {"no result": 2, "another `epochs`": 1}))
        'the sampler learns from 0 of the 3 trials of a; omitted: 2 with no result, 1 with another `epochs`'
        """
        count = len(self.trials)
        summary = f"the sampler learns from {count} of the {count + sum(self.omitted.values())} trials of {self.name}"
        reasons = ", ".join(f"{number} with {reason}" for reason, number in self.omitted.items())
        return f"{summary}; omitted: {reasons}" if reasons else summary


def read_earlier(experiment: Experiment, runs: Path, fingerprint: str) -> list[EarlierRun]:
    """Read the searches of `search.learn_from`.

    What an earlier search had itself learned is not handed on: only its own trials are.

    Args:
        experiment: that is to learn.
        runs: the folder of all runs.
        fingerprint: of its data.

    Raises:
        EarlierError: a sentence for each that is missing, is named twice, is of other data or another metric, or is
            this search.
    """
    searches: list[EarlierRun] = []
    problems: list[str] = []
    names: dict[Path, str] = {}  # by folder
    for name in experiment.search.learn_from:
        try:
            folder = _find(name, experiment, runs)
            first = names.setdefault(folder.path.resolve(), name)
            if first != name:
                raise EarlierError(f"{first} and {name} are the same search: keep one of them")
            searches.append(_read(name, folder, experiment, fingerprint))
        except UserError as error:
            problems += [f"`search.learn_from`: {sentence}" for sentence in error.sentences]
    if problems:
        raise EarlierError(*problems)
    return searches


def _find(name: str, experiment: Experiment, runs: Path) -> RunFolder:
    """The folder of an earlier search."""
    own = (runs / experiment.name).resolve()
    if own in ((runs / name).resolve(), Path(name).resolve()):
        raise EarlierError(f"{name} is this search itself: name an earlier one")
    folder = RunFolder(find(name, runs))
    if not folder.journal.exists():
        raise EarlierError(f"there is no search in {folder.path}")
    return folder


def _read(name: str, folder: RunFolder, experiment: Experiment, fingerprint: str) -> EarlierRun:
    before = load(folder.experiment)
    _check_comparable(name, before, experiment, fingerprint_in(folder), fingerprint)
    trials: list[TrialRecord] = []
    omitted: Counter[str] = Counter()
    for trial in read(folder.journal):
        placed = _place(trial, before, experiment)
        obstacle = _obstacle(trial, placed)
        if obstacle is None:
            trials.append(_as_own(trial, placed, experiment.search))
        else:
            omitted[obstacle] += 1
    return EarlierRun(name, tuple(trials), omitted)


def _check_comparable(name: str, before: Experiment, now: Experiment, then: str, fingerprint: str) -> None:
    """Check that the results of two searches can stand side by side: they are of the same data, and the same metric."""
    problems = []
    if UNKNOWN in (then, fingerprint):
        if then != fingerprint or before.dataset != now.dataset:
            problems.append(f"it cannot be verified that {name} is of the same data (no fingerprint): remove it")
    elif then != fingerprint:
        problems.append(f"{name} is of other data (fingerprint {then} there, {fingerprint} here): remove it")
    metrics = [" and ".join(f"{o.metric} ({o.mode})" for o in each.search.objectives) for each in (before, now)]
    if metrics[0] != metrics[1]:
        problems.append(f"{name} optimised {metrics[0]}, and this search optimises {metrics[1]}: remove it")
    if problems:
        raise EarlierError(*problems)


def _place(trial: TrialRecord, before: Experiment, now: Experiment) -> Placement:
    """Where an earlier trial lies in the new space, whatever its seed where that is not searched."""
    values = values_of(with_changes(before.trial, trial.changes), whole=now.space)
    own_seed = {} if SEED in now.space else {SEED: now.trial.seed}
    return place(now, values | own_seed, trial.arm)


def _obstacle(trial: TrialRecord, placed: Placement) -> str | None:
    """Why an earlier trial cannot be one of the new search, None where it can: paths without values, so that trials
    with the same reason are counted together."""
    if not has_result(trial):
        return "no result"
    searched = [f"`{path}`" for path in placed.outside if path in placed.nearest]
    others = [f"another `{path}`" for path in placed.outside if path not in placed.nearest]
    outside = [f"{' and '.join(searched)} outside the space"] if searched else []
    return " and ".join([*outside, *others]) or None


def _as_own(trial: TrialRecord, placed: Placement, search: Search) -> TrialRecord:
    """An earlier trial in the new space, with all that a sampler can learn from it and nothing else."""
    best = trial.best_epoch(search.objective.metric)
    keys = ("epoch", "best", *(objective.metric for objective in search.objectives))
    epochs = [{key: e[key] for key in keys} for e in trial.epochs if e is best or e is trial.epochs[-1]]
    return replace(trial, internal=placed.sampled, changes=placed.nearest, epochs=epochs)
