"""Seeds that a search never saw, and what they draw."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection, Mapping
from typing import Any

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
    """Whether the validation split is ours, so that a seed can draw it anew; else it is the publisher's: a list of its
    own, or rows of a table.

    >>> redraws({"name": "digits", "split_seed": 0}), redraws({"name": "ave"})
    (True, False)
    """
    ours = dataset.get("validation_list") is None and dataset.get("validation_fraction", 0) is not None
    return SPLIT_SEED in dataset and ours


def split_options(dataset: Mapping[str, Any], seed: int) -> dict[str, int]:
    """The options of a data set that a training with a fresh seed has of its own: the seed draws its validation split,
    where that is ours."""
    return {SPLIT_SEED: seed} if redraws(dataset) else {}
