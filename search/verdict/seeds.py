"""Fresh seeds for a confirmation, and the validation splits that they draw."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection, Mapping
from typing import Any, Literal

from search.experiment.schema import Experiment
from search.run.trials import SearchRecord

SEED = "seed"  # path of the seed in a trial
SPLIT_SEED = "split_seed"  # option of a data set that holds out the validation split itself


def used_seeds(experiment: Experiment, record: SearchRecord) -> set[int]:
    """Return the seeds of a search's trials."""
    return {experiment.trial.seed, *(trial.changes.get(SEED, 0) for trial in record)}


def fresh_seeds(
    seed: int, used: Collection[int], count: int, purpose: Literal["confirm", "train"] = "confirm"
) -> list[int]:
    """Return seeds that are not in use. A larger `count` extends the same sequence; each purpose has its own.

    >>> fresh_seeds(0, [], 3)[:2] == fresh_seeds(0, [], 2)
    True
    """
    drawn = (
        int.from_bytes(hashlib.blake2b(f"{seed}/{purpose}/{i}".encode(), digest_size=4).digest()) >> 1
        for i in itertools.count()
    )
    return list(itertools.islice((s for s in drawn if s not in used), count))


def redraws(dataset: Mapping[str, Any]) -> bool:
    """Return whether the validation split is drawn here and can be redrawn with a seed.

    Otherwise the publisher fixes it, with a list or with rows of a table.

    >>> redraws({"name": "digits", "split_seed": 0}), redraws({"name": "ave"})
    (True, False)
    """
    ours = dataset.get("validation_list") is None and dataset.get("validation_fraction", 0) is not None
    return SPLIT_SEED in dataset and ours


def split_options(dataset: Mapping[str, Any], seed: int) -> dict[str, int]:
    """Return the data set options of a training with a fresh seed, which redraws the validation split if it can."""
    return {SPLIT_SEED: seed} if redraws(dataset) else {}
