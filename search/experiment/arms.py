"""The two arms of a search, and the assignment of trials to them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

Arm = Literal["baseline", "modulated"]
ARMS: tuple[Arm, Arm] = ("baseline", "modulated")


def other_arm(arm: Arm) -> Arm:
    """Return the other arm."""
    return "baseline" if arm == "modulated" else "modulated"


def arm_of(number: int, baseline_share: float) -> Arm:
    """Return the arm of trial `number`, counted from 0.

    Of the first n trials, floor(n * baseline_share) belong to the baseline. Neither the sampler nor failed trials
    change this.

    >>> [arm_of(n, 0.5)[0] for n in range(6)]
    ['m', 'b', 'm', 'b', 'm', 'b']
    """
    before, after = (math.floor(n * baseline_share + 1e-9) for n in (number, number + 1))
    return "baseline" if after > before else "modulated"


def plan(trials: int, baseline_share: float, capacity: Mapping[Arm, float], lead: int = 0) -> list[Arm]:
    """Return the arm of each trial; an arm gets at most as many trials as its space has configurations.

    Args:
        trials: number of trials of both arms.
        baseline_share: share of the trials that belong to the baseline.
        capacity: number of configurations in each arm's space.
        lead: number of baseline trials before the arms alternate; limited to two thirds of the baseline's trials.

    >>> plan(6, 0.5, {"baseline": 1, "modulated": float("inf")})
    ['modulated', 'baseline', 'modulated', 'modulated']
    >>> [arm[0] for arm in plan(8, 0.5, {"baseline": 4, "modulated": 4}, lead=5)]
    ['b', 'b', 'm', 'm', 'b', 'm', 'm', 'b']
    """
    arms: list[Arm] = []
    for arm in _order(trials, baseline_share, lead):
        if arms.count(arm) < capacity[arm]:
            arms.append(arm)
    return arms


def _order(trials: int, baseline_share: float, lead: int) -> list[Arm]:
    """Return the arm of each trial as if both spaces were unlimited."""
    order = [arm_of(number, baseline_share) for number in range(trials)]
    planned = order.count("baseline")
    if not lead:
        return order
    ahead = min(lead, 2 * planned // 3)
    first: list[Arm] = ["baseline"] * ahead
    share = (planned - ahead) / (trials - ahead)
    return first + [arm_of(number, share) for number in range(trials - ahead)]
