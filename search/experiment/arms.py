"""The two arms of a search: what is tuned in each, and which trial belongs to which."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

Arm = Literal["baseline", "modulated"]
ARMS: tuple[Arm, Arm] = ("baseline", "modulated")


def other_arm(arm: Arm) -> Arm:
    """The other one."""
    return "baseline" if arm == "modulated" else "modulated"


def arm_of(number: int, baseline_share: float) -> Arm:
    """The arm of trial `number` (from 0), so that after n trials the baseline has had n * share of them, rounded down.

    It depends on nothing else: neither on what a sampler prefers nor on what failed.

    >>> [arm_of(n, 0.5)[0] for n in range(6)]
    ['m', 'b', 'm', 'b', 'm', 'b']
    """
    before, after = (math.floor(n * baseline_share + 1e-9) for n in (number, number + 1))
    return "baseline" if after > before else "modulated"


def plan(trials: int, baseline_share: float, capacity: Mapping[Arm, float], lead: int = 0) -> list[Arm]:
    """The arm of each trial. An arm whose space holds fewer configurations than its share gets no more than these.

    Args:
        trials: of both arms together.
        baseline_share: the baseline's part of them.
        capacity: how many configurations each arm's space holds.
        lead: how many trials the baseline begins with, before the arms alternate; at most two thirds of its own.

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
    """The arm of each trial, were both spaces endless."""
    order = [arm_of(number, baseline_share) for number in range(trials)]
    planned = order.count("baseline")
    if not lead:
        return order
    ahead = min(lead, 2 * planned // 3)
    first: list[Arm] = ["baseline"] * ahead
    share = (planned - ahead) / (trials - ahead)
    return first + [arm_of(number, share) for number in range(trials - ahead)]
