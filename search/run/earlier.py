"""Trials of earlier searches that a new search can learn from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from datasets.index.list_files import count
from search.experiment.load import load
from search.experiment.mistakes import UserError
from search.experiment.placement import Placement, place, values_of
from search.experiment.schema import Experiment, Search
from search.experiment.space import with_changes
from search.run.best import has_result
from search.run.folder import UNKNOWN, RunFolder, find, fingerprint_in
from search.run.journal import read
from search.run.trials import TrialRecord

SEED = "seed"  # path of the setting that may differ


class EarlierError(UserError):
    """Entry of `search.learn_from` that cannot be used."""


@dataclass(frozen=True)
class EarlierRun:
    """Earlier search to learn from.

    Args:
        name: name or folder of the search, as in `search.learn_from`.
        trials: usable trials, in the new search's space, each with its best and its last epoch only.
        omitted: reason -> number of trials that cannot be used for this reason.
    """

    name: str
    trials: tuple[TrialRecord, ...]
    omitted: Mapping[str, int]

    def __str__(self) -> str:
        """
        >>> str(EarlierRun("a", (), {"no result": 2, "another `epochs`": 1}))
        'the sampler learns from 0 of the 3 trials of a; omitted: 2 with no result, 1 with another `epochs`'
        """
        used = len(self.trials)
        total = count(used + sum(self.omitted.values()), "trial")
        summary = f"the sampler learns from {used} of the {total} of {self.name}"
        reasons = ", ".join(f"{number} with {reason}" for reason, number in self.omitted.items())
        return f"{summary}; omitted: {reasons}" if reasons else summary


def read_earlier(experiment: Experiment, runs: Path, fingerprint: str) -> list[EarlierRun]:
    """Read the searches of `search.learn_from`.

    Only the trials of these searches are read, not those that they had learned from in turn.

    Args:
        experiment: experiment that will learn.
        runs: folder of all runs.
        fingerprint: fingerprint of the experiment's data.

    Raises:
        EarlierError: if a search is missing, is named twice, is this search itself, or used other data or another
            metric; one sentence per problem.
    """
    searches: list[EarlierRun] = []
    problems: list[str] = []
    names: dict[Path, str] = {}  # by folder
    for name in experiment.search.learn_from:
        try:
            folder = _find(name, experiment, runs)
            first = names.setdefault(folder.path.resolve(), name)
            if first != name:
                raise EarlierError(f"{first} and {name} are the same search: keep only one of them")
            searches.append(_read(name, folder, experiment, fingerprint))
        except UserError as error:
            problems += [f"`search.learn_from`: {sentence}" for sentence in error.sentences]
    if problems:
        raise EarlierError(*problems)
    return searches


def _find(name: str, experiment: Experiment, runs: Path) -> RunFolder:
    """Return the folder of an earlier search."""
    own = (runs / experiment.name).resolve()
    if own in ((runs / name).resolve(), Path(name).resolve()):
        raise EarlierError(f"{name} is this search itself: name an earlier search")
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
    """Raise `EarlierError` unless two searches used the same data and the same metric."""
    problems = []
    if UNKNOWN in (then, fingerprint):
        if then != fingerprint or before.dataset != now.dataset:
            problems.append(f"cannot verify that {name} used the same data (no fingerprint): remove it from the list")
    elif then != fingerprint:
        problems.append(f"{name} used other data (fingerprint {then}, now {fingerprint}): remove it from the list")
    metrics = [" and ".join(f"{o.metric} ({o.mode})" for o in each.search.objectives) for each in (before, now)]
    if metrics[0] != metrics[1]:
        problems.append(
            f"{name} optimised {metrics[0]}, but this search optimises {metrics[1]}: remove it from the list"
        )
    if problems:
        raise EarlierError(*problems)


def _place(trial: TrialRecord, before: Experiment, now: Experiment) -> Placement:
    """Return where an earlier trial lies in the new space. Its seed is ignored unless the seed is searched."""
    values = values_of(with_changes(before.trial, trial.changes), whole=now.space)
    own_seed = {} if SEED in now.space else {SEED: now.trial.seed}
    return place(now, values | own_seed, trial.arm)


def _obstacle(trial: TrialRecord, placed: Placement) -> str | None:
    """Return why an earlier trial cannot be one of the new search, or None if it can.

    The reason names paths without values, so that trials with the same reason are counted together.
    """
    if not has_result(trial):
        return "no result"
    searched = [f"`{path}`" for path in placed.outside if path in placed.nearest]
    others = [f"another `{path}`" for path in placed.outside if path not in placed.nearest]
    outside = [f"{' and '.join(searched)} outside the space"] if searched else []
    return " and ".join([*outside, *others]) or None


def _as_own(trial: TrialRecord, placed: Placement, search: Search) -> TrialRecord:
    """Return an earlier trial as a trial of the new space, with only what a sampler can learn from."""
    best = trial.best_epoch(search.objective.metric)
    keys = ("epoch", "best", *(objective.metric for objective in search.objectives))
    epochs = [{key: e[key] for key in keys} for e in trial.epochs if e is best or e is trial.epochs[-1]]
    return replace(trial, internal=placed.sampled, changes=placed.nearest, epochs=epochs)
