"""What sharing prefixes is expected to save, before any trial is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from ogmge.config import TrialConfig
from ogmge.prefix_keys import keys
from search.experiment.arms import Arm
from search.experiment.schema import Experiment
from search.experiment.space import with_changes
from search.tuner.prefixes.siblings import continuous_paths
from search.tuner.prefixes.tree import Tree
from search.tuner.study import ArmStudy


@dataclass(frozen=True)
class PrefixSavings:
    """Of trials that are drawn from a space.

    Args:
        inherited_share: of their epochs, those that another trial trains.
        prefixes: that are stored for it, at most.
        prevented_by: ranges without steps, because of which no two trials share an epoch.
        limited_by: ranges without steps, because of which no two trials share an epoch once their windows are open.
    """

    inherited_share: float = 0.0
    prefixes: int = 0
    prevented_by: tuple[str, ...] = ()
    limited_by: tuple[str, ...] = ()


def expected_savings(experiment: Experiment, arms: Sequence[Arm]) -> PrefixSavings:
    """Draw as many trials as are planned, and count their shared epochs; in place of a sampler that learns from
    results, draw at random.

    Args:
        experiment: its space, its sampler, its seed.
        arms: of the trials.
    """
    if not experiment.search.share_prefixes:
        return PrefixSavings()
    trainings = list(map(keys, _draw(experiment, arms)))
    tree = Tree([(training, False) for training in trainings])
    epochs = Counter(chain.from_iterable(training[1:] for training in trainings))
    prefixes = Counter(chain.from_iterable(map(tree.prefixes, trainings)))
    return PrefixSavings(
        1 - len(epochs) / epochs.total(),
        sum(trials > 1 for trials in prefixes.values()),
        continuous_paths(experiment.space, experiment.trial, late=False),
        continuous_paths(experiment.space, experiment.trial, late=True),
    )


def _draw(experiment: Experiment, arms: Sequence[Arm]) -> list[TrialConfig]:
    search = experiment.search
    sampler: Literal["grid", "qmc", "random"] = search.sampler if search.sampler in ("grid", "qmc") else "random"
    blind = experiment.model_copy(update={"search": search.model_copy(update={"sampler": sampler})})
    studies = {arm: ArmStudy(blind, arm) for arm in set(arms)}
    return [with_changes(experiment.trial, studies[arm].suggest(number)[1]) for number, arm in enumerate(arms)]
