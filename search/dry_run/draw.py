"""Trials of a search before any is trained: the real policy with random results."""

from __future__ import annotations

import random
from typing import Literal

from search.experiment.schema import Experiment
from search.run.trials import TrialRecord
from search.tuner.search_policy import SearchPolicy


def draw_trials(experiment: Experiment) -> list[TrialRecord]:
    """Draw all planned trials in order, each with a random result.

    A sampler that learns from results is replaced by the random sampler.
    """
    search = experiment.search
    sampler: Literal["grid", "qmc", "random"] = search.sampler if search.sampler in ("grid", "qmc") else "random"
    blind = experiment.model_copy(update={"search": search.model_copy(update={"sampler": sampler})})
    policy, rng = SearchPolicy(blind), random.Random(search.seed)
    trials: list[TrialRecord] = []
    for number in range(policy.total):
        trial = TrialRecord(number, **vars(policy.suggest(number)))
        value = rng.random()
        trial.epochs.append(
            dict.fromkeys([objective.metric for objective in search.objectives], value) | {"best": value}
        )
        trial.status = "finished"
        policy.tell(trial)
        trials.append(trial)
    return trials
