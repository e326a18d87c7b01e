"""The confirmation: the best configuration of each arm trained again with seeds that the search never saw, in pairs."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.arms import ARMS, Arm
from search.budget import Spent, exhausted
from search.experiment import Experiment
from search.record import SearchRecord, TrialRecord
from search.space import Changes, Internal

SEED = "seed"  # path into a trial
SPLIT_SEED = "split_seed"  # option of a data set that holds out the validation split itself


def fresh_seeds(seed: int, used: Collection[int], count: int) -> list[int]:
    """Seeds that no trial of a search had; a larger `count` adds to the same ones.

    >>> fresh_seeds(0, [], 3)[:2] == fresh_seeds(0, [], 2)
    True
    """
    drawn = (
        int.from_bytes(hashlib.blake2b(f"{seed}/confirm/{i}".encode(), digest_size=4).digest()) >> 1
        for i in itertools.count()
    )
    return list(itertools.islice((s for s in drawn if s not in used), count))


def redraws(dataset: Mapping[str, Any]) -> bool:
    """Whether the validation split is ours, so that a seed can draw it anew; else it is the publisher's."""
    return SPLIT_SEED in dataset and dataset.get("validation_fraction", 0) is not None


@dataclass
class Confirmation:
    """The policy that trains pairs: both of a pair have the same seed, first weights, order of the data and split.

    Args:
        experiment: what was searched.
        best: the configuration of each arm, as changes of the experiment's trial.
        seeds: of the pairs.
        spent: by the search.
    """

    experiment: Experiment
    best: Mapping[Arm, Changes]
    seeds: Sequence[int]
    spent: Spent

    @property
    def arms(self) -> Sequence[Arm]:
        return list(ARMS) * len(self.seeds)

    def restore(self, trial: TrialRecord) -> None:
        """Nothing: what was trained is in the record."""

    def suggest(self, number: int) -> tuple[Internal, Changes]:
        pair, place = divmod(number, len(ARMS))
        return {}, {**self.best[ARMS[place]], SEED: self.seeds[pair]}

    def dataset(self, trial: TrialRecord) -> Mapping[str, Any]:
        return {SPLIT_SEED: trial.changes[SEED]} if redraws(self.experiment.dataset) else {}

    def stop(self, trial: TrialRecord, record: SearchRecord) -> str | None:
        """None: all are trained to the end."""

    def tell(self, trial: TrialRecord) -> None:
        """Nothing: no trial depends on what came of another."""

    def exhausted(self, record: SearchRecord) -> str | None:
        """The budget is that of the search and the confirmation together."""
        return exhausted(self.experiment.search.budget, self.spent + record.spent)
