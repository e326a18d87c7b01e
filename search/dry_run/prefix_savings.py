"""What the trials of a search have in common before any of them is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ogmge.prefix_keys import keys
from search.experiment.arms import Arm
from search.experiment.schema import Experiment
from search.experiment.space import with_changes
from search.tuner.prefixes.siblings import continuous, preventing
from search.tuner.prefixes.tree import branches
from search.tuner.study import ArmStudy


@dataclass(frozen=True)
class Shared:
    """Of trials that are drawn from a space.

    Args:
        part: of their epochs that another of them trains.
        beginnings: that are kept for it, at most.
        prevented_by: ranges without steps, for which no two trials have any epoch in common.
        limited_by: likewise, none from the opening of their windows on.
    """

    part: float = 0.0
    beginnings: int = 0
    prevented_by: tuple[str, ...] = ()
    limited_by: tuple[str, ...] = ()


def in_common(experiment: Experiment, arms: Sequence[Arm]) -> Shared:
    """Draws as many trials as are planned; those of a sampler that learns are drawn at random in their stead.

    Args:
        experiment: its space, its sampler, its seed.
        arms: of the trials.
    """
    search, trial, space = experiment.search, experiment.trial, experiment.space
    if not search.share_prefixes:
        return Shared()
    sampler: Literal["grid", "qmc", "random"] = search.sampler if search.sampler in ("grid", "qmc") else "random"
    blind = experiment.model_copy(update={"search": search.model_copy(update={"sampler": sampler})})
    studies = {arm: ArmStudy(blind, arm) for arm in set(arms)}
    drawn = [with_changes(trial, studies[arm].suggest(number)[1]) for number, arm in enumerate(arms)]
    each = [keys(config) for config in drawn]
    asked = sum(len(own) - 1 for own in each)
    trained = len({key for own in each for key in own[1:]})
    at = branches(each)
    passed = Counter(own[epochs] for own in each for epochs in at if epochs < len(own))
    left = sum(trials > 1 for trials in passed.values())
    return Shared(1 - trained / asked, left, tuple(preventing(space, trial)), tuple(continuous(space, trial)))
